#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octet {
class ThreadPool;
}

namespace octet::quantize {

/// Sums x^T x over the inputs of a linear. The result is the same for any number of threads: each
/// element is summed in order of the rows, 256 of them in float32, the sums of those in double.
class Hessian {
 public:
  explicit Hessian(std::int64_t in_features);

  std::int64_t in_features() const { return in_features_; }
  std::int64_t num_rows() const { return num_rows_; }
  /// x [rows, in_features]. Cost: rows * in_features^2 operations.
  void add(std::span<const float> x, ThreadPool& pool);
  /// (2 / rows) x^T x, symmetric [in, in]; the object is empty afterwards.
  /// Errors: invalid_argument without rows; bad_data if it is not finite.
  std::vector<double> take();

 private:
  std::int64_t in_features_, num_rows_ = 0;
  std::vector<double> sums_;  // upper triangle, by tiles
};

}  // namespace octet::quantize
