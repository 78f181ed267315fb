#include "quantize/factor.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {

constexpr std::int64_t kBlock = 64;

// Lower Cholesky in place, blocked: factor a diagonal block, solve the rows below, update the rest.
bool cholesky(std::vector<double>& a, std::int64_t n, ThreadPool& pool) {
  std::vector<double> transposed(static_cast<std::size_t>(kBlock * n));
  for (std::int64_t k0 = 0; k0 < n; k0 += kBlock) {
    const std::int64_t k1 = std::min(k0 + kBlock, n), nk = k1 - k0;
    for (std::int64_t j = k0; j < k1; ++j) {
      double* row = a.data() + j * n;
      for (std::int64_t i = k0; i < j; ++i) {
        double s = row[i];
        const double* other = a.data() + i * n;
        for (std::int64_t k = k0; k < i; ++k) s -= row[k] * other[k];
        row[i] = s / other[i];
      }
      double pivot = row[j];
      for (std::int64_t k = k0; k < j; ++k) pivot -= row[k] * row[k];
      if (!(pivot > 0) || !std::isfinite(pivot)) return false;
      row[j] = std::sqrt(pivot);
    }
    pool.parallel_for(n - k1, 16, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = k1 + begin; i < k1 + end; ++i) {
        double* row = a.data() + i * n;
        for (std::int64_t j = k0; j < k1; ++j) {
          double s = row[j];
          const double* other = a.data() + j * n;
          for (std::int64_t k = k0; k < j; ++k) s -= row[k] * other[k];
          row[j] = s / other[j];
          transposed[static_cast<std::size_t>((j - k0) * n + i)] = row[j];
        }
      }
    });
    // a[i][j] -= sum_k l[i][k] l[j][k], j <= i, by stretches of j that stay in the cache.
    pool.parallel_for(n - k1, 8, [&](std::int64_t begin, std::int64_t end, int) {
      constexpr std::int64_t kStretch = 256;
      for (std::int64_t j0 = k1; j0 < k1 + end; j0 += kStretch)
        for (std::int64_t i = k1 + begin; i < k1 + end; ++i) {
          double* row = a.data() + i * n;
          const std::int64_t j1 = std::min(j0 + kStretch, i + 1);
          for (std::int64_t k = 0; k < nk; ++k) {
            const double factor = row[k0 + k];
            const double* column = transposed.data() + k * n;
            for (std::int64_t j = j0; j < j1; ++j) row[j] -= factor * column[j];
          }
        }
    });
  }
  return true;
}

// Inverse of a lower triangle; stretches of columns are independent of each other.
std::vector<double> invert_lower(const std::vector<double>& l, std::int64_t n, ThreadPool& pool) {
  std::vector<double> x(l.size());
  constexpr std::int64_t kStretch = 64;
  pool.parallel_for(
      (n + kStretch - 1) / kStretch, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t j0 = begin * kStretch; j0 < std::min(end * kStretch, n); j0 += kStretch) {
          const std::int64_t j1 = std::min(j0 + kStretch, n);
          for (std::int64_t i = j0; i < n; ++i) {
            double* row = x.data() + i * n;
            if (i < j1) row[i] = 1;
            const double* factors = l.data() + i * n;
            for (std::int64_t k = j0; k < i; ++k) {
              const double factor = factors[k];
              const double* other = x.data() + k * n;
              for (std::int64_t j = j0; j < j1; ++j) row[j] -= factor * other[j];
            }
            const double scale = 1 / factors[i];
            for (std::int64_t j = j0; j < j1; ++j) row[j] *= scale;
          }
        }
      });
  return x;
}

}  // namespace

std::optional<std::vector<double>> inverse_factor(std::vector<double> h, std::int64_t n,
                                                  ThreadPool& pool) {
  // Reversing rows and columns turns the reverse factorization into the ordinary one: a reversal
  // of both is a reversal of the whole array.
  std::ranges::reverse(h);
  if (!cholesky(h, n, pool)) return std::nullopt;
  std::vector<double> u = invert_lower(h, n, pool);
  std::ranges::reverse(u);
  return u;
}

}  // namespace octet::quantize
