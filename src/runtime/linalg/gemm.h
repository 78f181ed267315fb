#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/linalg/kernels.h"

namespace octet {
class ThreadPool;
}

namespace octet::linalg {

/// A matrix operand: element (i, j) = data[i * row_stride + j * column_stride].
template <typename T>
struct Operand {
  const T* data;
  std::int64_t row_stride, column_stride;
  Operand transposed() const { return {data, column_stride, row_stride}; }
};

/// Products and factorizations on a pool. Results are the same bits for any number of threads:
/// each element is summed over stretches of k of a fixed length in order.
/// Threads: one at a time per object, as the pool.
class Linalg {
 public:
  /// isa: "auto", "generic", "avx2", "avx512". Errors: as choose_kernels.
  explicit Linalg(ThreadPool& pool, const std::string& isa = "auto");

  ThreadPool& pool() const { return pool_; }
  const char* isa() const { return kernels_.isa; }

  /// c [m, n] += alpha a [m, k] b [k, n], c row-major with rows ldc apart. Computes in double if a
  /// and b are double, else in float (a double operand is rounded). Instances: (A, B, C) = (float,
  /// float, float), (float, float, double), (double, float, float), (double, double, double).
  /// Cost: 2 m n k operations (half for upper); memory: (m + n) * 512 elements.
  template <typename A, typename B, typename C>
  void gemm(std::int64_t m, std::int64_t n, std::int64_t k, double alpha, Operand<A> a,
            Operand<B> b, C* c, std::int64_t ldc, Region region = Region::full);

 private:
  template <typename T, typename S>
  void pack(Operand<S> from, std::int64_t rows, std::int64_t depth, std::int64_t strip,
            std::vector<T>& to);
  ThreadPool& pool_;
  const LinalgKernels& kernels_;
  std::vector<float> left_f32_, right_f32_;
  std::vector<double> left_f64_, right_f64_;
};

}  // namespace octet::linalg
