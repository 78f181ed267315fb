#include "runtime/linalg/gemm.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "runtime/base/cpu_features.h"
#include "runtime/base/thread_pool.h"

namespace octet::linalg {

namespace {

// Terms that are summed in registers before they are added to c: 512 floats or 256 doubles, so
// that a strip of a (12 wide) is 24 KiB and a block of b (256 wide) 512 KiB.
template <typename T>
constexpr std::int64_t kDepth = 2048 / static_cast<std::int64_t>(sizeof(T));
constexpr std::int64_t kBlockRows = 96, kBlockColumns = 256;  // of a task; multiples of every tile

std::size_t size(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

}  // namespace

const LinalgKernels& choose_kernels(const std::string& isa) {
  [[maybe_unused]] const std::string name = choose_isa(isa);
#if defined(__x86_64__)
  if (name == "avx512" || name == "amx") return avx512_kernels();
  if (name == "avx2" || name == "avx_vnni") return avx2_kernels();
#endif
  return generic_kernels();
}

Linalg::Linalg(ThreadPool& pool, const std::string& isa)
    : pool_(pool), kernels_(choose_kernels(isa)) {}

// from [rows, depth] as strips [rows / strip][depth][strip], padded by zeros.
template <typename T, typename S>
void Linalg::pack(Operand<S> from, std::int64_t rows, std::int64_t depth, std::int64_t strip,
                  std::vector<T>& to) {
  if (to.size() < size(round_up(rows, strip) * depth))
    to.resize(size(round_up(rows, strip) * depth));
  const std::int64_t strips = (rows + strip - 1) / strip;
  pool_.parallel_for(strips, 8, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t s = begin; s < end; ++s) {
      T* out = to.data() + s * strip * depth;
      const std::int64_t valid = std::min(strip, rows - s * strip);
      const S* in = from.data + s * strip * from.row_stride;
      if (from.row_stride == 1) {
        for (std::int64_t k = 0; k < depth; ++k) {
          const S* line = in + k * from.column_stride;
          for (std::int64_t i = 0; i < valid; ++i) out[k * strip + i] = static_cast<T>(line[i]);
          for (std::int64_t i = valid; i < strip; ++i) out[k * strip + i] = 0;
        }
      } else {
        for (std::int64_t i = 0; i < strip; ++i)
          for (std::int64_t k = 0; k < depth; ++k)
            out[k * strip + i] =
                i < valid ? static_cast<T>(in[i * from.row_stride + k * from.column_stride]) : T{0};
      }
    }
  });
}

template <typename A, typename B, typename C>
void Linalg::gemm(std::int64_t m, std::int64_t n, std::int64_t k, double alpha, Operand<A> a,
                  Operand<B> b, C* c, std::int64_t ldc, Region region) {
  constexpr bool kDouble = std::is_same_v<A, double> && std::is_same_v<B, double>;
  using T = std::conditional_t<kDouble, double, float>;
  std::vector<T>*left, *right;
  GemmFunction<T, C> kernel;
  std::int64_t strip_rows, strip_columns;
  if constexpr (kDouble) {
    left = &left_f64_, right = &right_f64_, kernel = kernels_.gemm_f64;
    strip_rows = kernels_.f64_rows, strip_columns = kernels_.f64_columns;
  } else {
    left = &left_f32_, right = &right_f32_;
    strip_rows = kernels_.f32_rows, strip_columns = kernels_.f32_columns;
    if constexpr (std::is_same_v<C, double>)
      kernel = kernels_.gemm_f32_f64;
    else
      kernel = kernels_.gemm_f32;
  }
  const std::int64_t row_blocks = (m + kBlockRows - 1) / kBlockRows;
  const std::int64_t column_blocks = (n + kBlockColumns - 1) / kBlockColumns;
  for (std::int64_t k0 = 0; k0 < k; k0 += kDepth<T>) {
    const std::int64_t depth = std::min(kDepth<T>, k - k0);
    pack<T>(Operand<A>{a.data + k0 * a.column_stride, a.row_stride, a.column_stride}, m, depth,
            strip_rows, *left);
    pack<T>(Operand<B>{b.data + k0 * b.row_stride, b.column_stride, b.row_stride}, n, depth,
            strip_columns, *right);
    pool_.parallel_for(row_blocks * column_blocks, 1,
                       [&](std::int64_t begin, std::int64_t end, int) {
                         for (std::int64_t t = begin; t < end; ++t) {
                           const std::int64_t row = t % row_blocks * kBlockRows,
                                              column = t / row_blocks * kBlockColumns;
                           const std::int64_t columns = std::min(kBlockColumns, n - column);
                           if (region == Region::upper && column + columns <= row) continue;
                           kernel({.a = left->data() + row * depth,
                                   .b = right->data() + column * depth,
                                   .depth = depth,
                                   .rows = std::min(kBlockRows, m - row),
                                   .columns = columns,
                                   .c = c + row * ldc + column,
                                   .ldc = ldc,
                                   .alpha = static_cast<T>(alpha),
                                   .diagonal = region == Region::upper
                                                   ? row - column
                                                   : std::numeric_limits<std::int64_t>::min() / 2});
                         }
                       });
  }
}

template void Linalg::gemm<float, float, float>(std::int64_t, std::int64_t, std::int64_t, double,
                                                Operand<float>, Operand<float>, float*,
                                                std::int64_t, Region);
template void Linalg::gemm<float, float, double>(std::int64_t, std::int64_t, std::int64_t, double,
                                                 Operand<float>, Operand<float>, double*,
                                                 std::int64_t, Region);
template void Linalg::gemm<double, float, float>(std::int64_t, std::int64_t, std::int64_t, double,
                                                 Operand<double>, Operand<float>, float*,
                                                 std::int64_t, Region);
template void Linalg::gemm<double, double, double>(std::int64_t, std::int64_t, std::int64_t, double,
                                                   Operand<double>, Operand<double>, double*,
                                                   std::int64_t, Region);

}  // namespace octet::linalg
