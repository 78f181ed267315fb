// Products and factorizations against plain loops, on every instruction set, to the last bit for
// any number of threads.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "runtime/base/cpu_features.h"
#include "runtime/base/thread_pool.h"
#include "runtime/linalg/factor.h"

namespace octet::linalg {
namespace {

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

template <typename T>
std::vector<T> random_values(std::int64_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal;
  std::vector<T> v(at(n));
  for (T& x : v) x = static_cast<T>(normal(rng));
  return v;
}

template <typename A, typename B, typename C>
void check_gemm(const std::string& isa, std::int64_t m, std::int64_t n, std::int64_t k,
                bool transpose, Region region) {
  SCOPED_TRACE(isa + " " + std::to_string(m) + " " + std::to_string(n) + " " + std::to_string(k));
  const auto a = random_values<A>(m * k, 1);
  const auto b = random_values<B>(k * n, 2);
  const auto c = random_values<C>(m * (n + 3), 3);
  // The same numbers, stored by rows or by columns.
  const Operand<A> left = transpose ? Operand<A>{a.data(), 1, m} : Operand<A>{a.data(), k, 1};
  const Operand<B> right = transpose ? Operand<B>{b.data(), 1, k} : Operand<B>{b.data(), n, 1};
  std::vector<std::vector<C>> results;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    Linalg linalg(pool, isa);
    results.push_back(c);
    linalg.gemm(m, n, k, -0.5, left, right, results.back().data(), n + 3, region);
  }
  const double tolerance = sizeof(A) + sizeof(B) == 16 ? 1e-13 : 2e-6;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n + 3; ++j) {
      const C before = c[at(i * (n + 3) + j)], got = results[0][at(i * (n + 3) + j)];
      if (region == Region::upper && j < i) continue;
      ASSERT_EQ(got, results[1][at(i * (n + 3) + j)]);
      if (j >= n) {
        ASSERT_EQ(got, before);
        continue;
      }
      double sum = 0, size = std::fabs(static_cast<double>(before));
      for (std::int64_t t = 0; t < k; ++t) {
        const double product =
            static_cast<double>(left.data[i * left.row_stride + t * left.column_stride]) *
            static_cast<double>(right.data[t * right.row_stride + j * right.column_stride]);
        sum += product;
        size += std::fabs(product);
      }
      ASSERT_NEAR(got, static_cast<double>(before) - 0.5 * sum, tolerance * size) << i << " " << j;
    }
}

TEST(Linalg, GemmEqualsPlainLoops) {
  for (const auto& isa : available_isas()) {
    for (const bool transpose : {false, true}) {
      check_gemm<float, float, float>(isa, 1, 1, 1, transpose, Region::full);
      check_gemm<float, float, float>(isa, 130, 70, 600, transpose, Region::full);
      check_gemm<float, float, double>(isa, 97, 301, 40, transpose, Region::full);
      check_gemm<double, float, float>(isa, 50, 33, 130, transpose, Region::full);
      check_gemm<double, double, double>(isa, 100, 270, 300, transpose, Region::full);
    }
    check_gemm<float, float, double>(isa, 300, 300, 40, false, Region::upper);
    check_gemm<double, double, double>(isa, 290, 290, 20, false, Region::upper);
  }
}

TEST(Linalg, FactorAndInverse) {
  for (const auto& isa : available_isas())
    for (const std::int64_t n : {1, 5, 128, 129, 400}) {
      SCOPED_TRACE(isa + " " + std::to_string(n));
      const auto x = random_values<double>((n + 10) * n, 4);
      std::vector<std::vector<double>> inverses;
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        Linalg linalg(pool, isa);
        std::vector<double> h(at(n * n));
        linalg.gemm(n, n, n + 10, 1.0, Operand<double>{x.data(), 1, n},
                    Operand<double>{x.data(), n, 1}, h.data(), n);
        std::vector<double> r = h;
        double smallest = 0;
        ASSERT_TRUE(reverse_cholesky(linalg, r.data(), n, &smallest));
        EXPECT_GT(smallest, 0);
        double error = 0, scale = 0;
        for (std::int64_t i = 0; i < n; ++i)
          for (std::int64_t j = i; j < n; ++j) {
            double sum = 0;
            for (std::int64_t k = j; k < n; ++k) sum += r[at(i * n + k)] * r[at(j * n + k)];
            error = std::max(error, std::fabs(sum - h[at(i * n + j)]));
            scale = std::max(scale, std::fabs(h[at(i * n + j)]));
          }
        EXPECT_LT(error, 1e-12 * scale);
        std::vector<double> u = r;
        invert_upper(linalg, u.data(), n);
        for (std::int64_t i = 0; i < n; ++i)
          for (std::int64_t j = 0; j < n; ++j) {
            double sum = 0;
            if (j < i) {
              EXPECT_EQ(u[at(i * n + j)], 0);
            }
            for (std::int64_t k = i; k <= j; ++k) sum += r[at(i * n + k)] * u[at(k * n + j)];
            EXPECT_NEAR(sum, i == j, 1e-8);
          }
        inverses.push_back(std::move(u));
      }
      EXPECT_EQ(inverses[0], inverses[1]);
    }
}

TEST(Linalg, IndefiniteIsRefused) {
  ThreadPool pool(2);
  Linalg linalg(pool);
  std::vector<double> h{1, 2, 2, 1};
  EXPECT_FALSE(reverse_cholesky(linalg, h.data(), 2));
  std::vector<double> nan{NAN};
  EXPECT_FALSE(reverse_cholesky(linalg, nan.data(), 1));
}

}  // namespace
}  // namespace octet::linalg
