#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/linalg/gemm.h"

namespace octet::quantize {

/// What GPTQ knows about the inputs of a linear. Matrices are [in, in], row-major.
struct InputStatistics {
  std::int64_t in_features = 0, num_rows = 0, held_out_rows = 0;
  std::vector<float> hessian;  ///< (2 / rows) x^T x, symmetric
  /// (2 / rows) (y - x)^T x with y the inputs of the unquantized model; empty if not wanted.
  std::vector<float> shift;
  /// (2 / rows) (s - r)^T x [out, in] with r the residual stream that the linear's output is added
  /// to, s that of the unquantized model; empty if not wanted.
  std::vector<float> residual;
  std::vector<float> held_out;  ///< the Hessian of rows kept apart for judging; empty if none
};

/// Sums the statistics over calibration tokens. The result is the same bits for any number of
/// threads: each element is summed in order of the rows, 512 of them in float32, the sums of those
/// in double (the others: in float32).
class InputSums {
 public:
  /// residual_features: width of the residual stream if its difference is wanted, else 0.
  /// Memory: in^2 doubles, and in^2 floats each for shift and held-out.
  InputSums(std::int64_t in_features, bool with_shift, bool with_held_out,
            std::int64_t residual_features = 0);

  /// x [rows, in_features]; y the same rows in the unquantized model, or empty. y is overwritten.
  /// residual [rows, residual_features]: the unquantized model's residual stream less this one's.
  /// Cost: rows * in^2 operations, three times that with y.
  void add(std::span<const float> x, std::span<float> y, linalg::Linalg& linalg,
           std::span<const float> residual = {});
  void add_held_out(std::span<const float> x, linalg::Linalg& linalg);
  std::int64_t num_rows() const { return num_rows_; }

  /// The raw sums, for adding those of other processes (hessian: upper triangle).
  std::vector<double>& hessian_sums() { return hessian_; }
  std::vector<float>& shift_sums() { return shift_; }
  std::vector<float>& residual_sums() { return residual_; }
  std::vector<float>& held_out_sums() { return held_out_; }
  void set_rows(std::int64_t rows, std::int64_t held_out) {
    num_rows_ = rows;
    held_out_rows_ = held_out;
  }
  std::int64_t held_out_rows() const { return held_out_rows_; }

  /// The statistics; the object is empty afterwards.
  /// Errors: invalid_argument without rows; bad_data if they are not finite.
  InputStatistics take();

 private:
  std::int64_t in_features_, residual_features_, num_rows_ = 0, held_out_rows_ = 0;
  std::vector<double> hessian_;
  std::vector<float> shift_, residual_, held_out_;
};

}  // namespace octet::quantize
