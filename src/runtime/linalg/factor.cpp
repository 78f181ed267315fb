#include "runtime/linalg/factor.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/base/thread_pool.h"

namespace octet::linalg {

namespace {

constexpr std::int64_t kBlock = 128;

// R of a diagonal block, column by column from the last.
bool factor_block(double* a, std::int64_t n, std::int64_t lda, double* smallest) {
  for (std::int64_t j = n - 1; j >= 0; --j) {
    double pivot = a[j * lda + j];
    for (std::int64_t k = j + 1; k < n; ++k) pivot -= a[j * lda + k] * a[j * lda + k];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    if (smallest) *smallest = std::min(*smallest, pivot);
    const double root = std::sqrt(pivot);
    a[j * lda + j] = root;
    for (std::int64_t i = 0; i < j; ++i) {
      double s = a[i * lda + j];
      for (std::int64_t k = j + 1; k < n; ++k) s -= a[i * lda + k] * a[j * lda + k];
      a[i * lda + j] = s / root;
    }
  }
  return true;
}

// The inverse of an upper triangular block, in place.
void invert_block(double* a, std::int64_t n, std::int64_t lda) {
  for (std::int64_t i = n - 1; i >= 0; --i) {
    const double scale = 1 / a[i * lda + i];
    double line[kBlock] = {};
    for (std::int64_t k = i + 1; k < n; ++k)
      for (std::int64_t j = k; j < n; ++j) line[j] += a[i * lda + k] * a[k * lda + j];
    a[i * lda + i] = scale;
    for (std::int64_t j = i + 1; j < n; ++j) a[i * lda + j] = -scale * line[j];
  }
}

}  // namespace

bool reverse_cholesky(Linalg& linalg, double* h, std::int64_t n, double* smallest_pivot) {
  if (smallest_pivot) *smallest_pivot = INFINITY;
  std::vector<double> inverse(static_cast<std::size_t>(kBlock * kBlock));
  std::vector<double> panel;
  for (std::int64_t end = n; end > 0;) {
    const std::int64_t begin = std::max<std::int64_t>(0, (end - 1) / kBlock * kBlock);
    const std::int64_t width = end - begin;
    double* diagonal = h + begin * n + begin;
    if (!factor_block(diagonal, width, n, smallest_pivot)) return false;
    if (begin > 0) {
      // The block column above: R_above = H_above R_block^-T.
      std::ranges::fill(inverse, 0.0);
      for (std::int64_t i = 0; i < width; ++i)
        std::copy_n(diagonal + i * n + i, width - i, inverse.data() + i * width + i);
      invert_block(inverse.data(), width, width);
      panel.assign(static_cast<std::size_t>(begin * width), 0.0);
      linalg.gemm(begin, width, width, 1.0, Operand<double>{h + begin, n, 1},
                  Operand<double>{inverse.data(), width, 1}.transposed(), panel.data(), width);
      for (std::int64_t i = 0; i < begin; ++i)
        std::copy_n(panel.data() + i * width, width, h + i * n + begin);
      const Operand<double> left{panel.data(), width, 1};
      linalg.gemm(begin, begin, width, -1.0, left, left.transposed(), h, n, Region::upper);
    }
    end = begin;
  }
  return true;
}

void invert_upper(Linalg& linalg, double* r, std::int64_t n) {
  std::vector<double> line(static_cast<std::size_t>(kBlock * n)),
      product(static_cast<std::size_t>(kBlock * n));
  for (std::int64_t end = n; end > 0;) {
    const std::int64_t begin = (end - 1) / kBlock * kBlock, width = end - begin, right = n - end;
    double* diagonal = r + begin * n + begin;
    invert_block(diagonal, width, n);
    if (right > 0) {
      // Row block: X = -R_ii^-1 (R_i,right X_right), columns in stretches: X_right is triangular.
      for (std::int64_t i = 0; i < width; ++i)
        std::copy_n(r + (begin + i) * n + end, right, line.data() + i * right);
      constexpr std::int64_t kStretch = 1024;
      std::fill_n(product.data(), width * right, 0.0);
      for (std::int64_t j = 0; j < right; j += kStretch) {
        const std::int64_t columns = std::min(kStretch, right - j);
        linalg.gemm(width, columns, j + columns, 1.0, Operand<double>{line.data(), right, 1},
                    Operand<double>{r + end * n + end + j, n, 1}, product.data() + j, right);
      }
      for (std::int64_t i = 0; i < width; ++i) std::fill_n(r + (begin + i) * n + end, right, 0.0);
      std::vector<double> inverse(static_cast<std::size_t>(width * width));
      for (std::int64_t i = 0; i < width; ++i)
        std::copy_n(diagonal + i * n + i, width - i, inverse.data() + i * width + i);
      linalg.gemm(width, right, width, -1.0, Operand<double>{inverse.data(), width, 1},
                  Operand<double>{product.data(), right, 1}, diagonal + width, n);
    }
    for (std::int64_t i = 0; i < width; ++i) std::fill_n(r + (begin + i) * n, begin + i, 0.0);
    end = begin;
  }
}

}  // namespace octet::linalg
