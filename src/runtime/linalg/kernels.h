// linalg: dense products, factorization and inverse for the quantizer. kernels.inl is compiled once
// for each instruction set, as in ops/cpu.
#pragma once

#include <cstdint>
#include <string>

namespace octet::linalg {

/// Which elements of a result are wanted; the others may or may not be computed.
enum class Region { full, upper };

/// One rectangle of a product: c += alpha * a b over `depth` terms, summed in order of k in the
/// type of a and b, then added once.
template <typename T, typename C>
struct GemmBlock {
  const T* a;  ///< strips of kernel.rows rows: [strip][depth][rows]
  const T* b;  ///< strips of kernel.columns columns: [strip][depth][columns]
  std::int64_t depth, rows, columns;
  C* c;
  std::int64_t ldc;
  T alpha;
  /// Tiles wholly below the diagonal are skipped: wanted are columns >= rows + diagonal.
  /// INT64_MIN / 2: all.
  std::int64_t diagonal;
};

template <typename T, typename C>
using GemmFunction = void (*)(const GemmBlock<T, C>&);

struct LinalgKernels {
  const char* isa;
  std::int64_t f32_rows, f32_columns, f64_rows, f64_columns;  ///< of the strips
  GemmFunction<float, float> gemm_f32;
  GemmFunction<float, double> gemm_f32_f64;
  GemmFunction<double, double> gemm_f64;
};

const LinalgKernels& generic_kernels();
const LinalgKernels& avx2_kernels();
const LinalgKernels& avx512_kernels();

/// The kernels for "auto" or a named instruction set (runtime/base/cpu_features.h).
/// Errors: as choose_isa.
const LinalgKernels& choose_kernels(const std::string& isa);

}  // namespace octet::linalg
