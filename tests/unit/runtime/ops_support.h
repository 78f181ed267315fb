// Shared by the tests of the operations: backends under test, random tensors, derived tolerances.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/base/cpu_features.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"

namespace octet::ops::test {

/// Names for make(): "generic", "avx2", ... as this machine has them.
inline std::vector<std::string> isas() {
  return available_isas();
}

struct Bench {
  explicit Bench(const std::string& isa, int threads = 2)
      : Bench(isa == "reference" ? BackendOptions{.backend = "reference"}
                                 : BackendOptions{.backend = "cpu", .isa = isa},
              threads) {}
  explicit Bench(const BackendOptions& options, int threads)
      : pool(threads), backend(make_backend(options, pool)) {}
  ThreadPool pool;
  std::unique_ptr<Backend> backend;

  Tensor put(const std::vector<float>& values, Shape shape) {
    Tensor t = backend->allocate(DType::f32, std::move(shape));
    backend->upload(std::as_bytes(std::span(values)), t);
    return t;
  }
  Tensor empty(Shape shape) { return backend->allocate(DType::f32, std::move(shape)); }
  std::vector<float> get(TensorView t) {
    std::vector<float> values(static_cast<std::size_t>(t.size()));
    backend->download(t, std::as_writable_bytes(std::span(values)));
    return values;
  }
};

inline std::vector<float> random_values(std::int64_t n, unsigned seed, float scale = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = normal(rng);
  return v;
}

/// Largest |a - b| over (|b| + floor).
inline double worst_relative(const std::vector<float>& a, const std::vector<float>& b,
                             double floor) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = std::fabs(static_cast<double>(a[i]) - b[i]) / (std::fabs(b[i]) + floor);
    worst = std::isnan(error) ? 1e30 : std::max(worst, error);
  }
  return worst;
}

}  // namespace octet::ops::test
