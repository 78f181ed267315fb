#include "quantize/input_statistics.h"

#include <algorithm>
#include <cmath>

#include "quantize/columns.h"
#include "runtime/base/error.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {

using linalg::Operand;
using linalg::Region;

[[noreturn]] void not_finite() {
  fail(ErrorCode::bad_data,
       "the inputs of a module are not finite: the checkpoint's weights are damaged or overflow");
}

// to = scale times a symmetric matrix of which the upper triangle is given; `to` may be `upper`.
// In squares, so that the columns written below the diagonal stay in the cache.
template <typename T>
void mirror(const std::vector<T>& upper, double scale, std::int64_t k, std::vector<float>& to,
            bool& finite) {
  constexpr std::int64_t kSquare = 64;
  for (std::int64_t i0 = 0; i0 < k; i0 += kSquare)
    for (std::int64_t j0 = i0; j0 < k; j0 += kSquare)
      for (std::int64_t i = i0; i < std::min(i0 + kSquare, k); ++i)
        for (std::int64_t j = std::max(i, j0); j < std::min(j0 + kSquare, k); ++j) {
          const auto value = static_cast<float>(upper[size(i * k + j)] * scale);
          finite &= std::isfinite(value);
          to[size(i * k + j)] = value;
          to[size(j * k + i)] = value;
        }
}

void scale_by(std::vector<float>& values, double scale, bool& finite) {
  for (float& v : values) {
    v = static_cast<float>(v * scale);
    finite &= std::isfinite(v);
  }
}

}  // namespace

InputSums::InputSums(std::int64_t in_features, bool with_shift, bool with_held_out,
                     std::int64_t residual_features)
    : in_features_(in_features),
      residual_features_(residual_features),
      hessian_(size(in_features * in_features)),
      residual_(size(in_features * residual_features)) {
  if (with_shift) shift_.resize(hessian_.size());
  if (with_held_out) held_out_.resize(hessian_.size());
}

void InputSums::add(std::span<const float> x, std::span<float> y, linalg::Linalg& linalg,
                    std::span<const float> residual) {
  const std::int64_t k = in_features_, rows = static_cast<std::int64_t>(x.size()) / k;
  OCTET_CHECK(
      static_cast<std::int64_t>(x.size()) == rows * k && (y.empty() || y.size() == x.size()),
      "{} inputs for {} features", x.size(), k);
  num_rows_ += rows;
  const Operand<float> left{x.data(), 1, k}, right{x.data(), k, 1};
  linalg.gemm(k, k, rows, 1.0, left, right, hessian_.data(), k, Region::upper);
  if (residual_features_ > 0 && !residual.empty()) {
    OCTET_CHECK(static_cast<std::int64_t>(residual.size()) == rows * residual_features_,
                "{} differences for {} rows of {}", residual.size(), rows, residual_features_);
    linalg.gemm(residual_features_, k, rows, 1.0,
                Operand<float>{residual.data(), 1, residual_features_}, right, residual_.data(), k);
  }
  if (shift_.empty() || y.empty()) return;
  linalg.pool().parallel_for(rows, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin * k; i < end * k; ++i) y[size(i)] -= x[size(i)];
  });
  linalg.gemm(k, k, rows, 1.0, Operand<float>{y.data(), 1, k}, right, shift_.data(), k);
}

void InputSums::add_held_out(std::span<const float> x, linalg::Linalg& linalg) {
  const std::int64_t k = in_features_, rows = static_cast<std::int64_t>(x.size()) / k;
  held_out_rows_ += rows;
  linalg.gemm(k, k, rows, 1.0, Operand<float>{x.data(), 1, k}, Operand<float>{x.data(), k, 1},
              held_out_.data(), k, Region::upper);
}

InputStatistics InputSums::take() {
  if (num_rows_ == 0) fail(ErrorCode::invalid_argument, "no calibration tokens reached the module");
  const std::int64_t k = in_features_;
  InputStatistics s{.in_features = k, .num_rows = num_rows_, .held_out_rows = held_out_rows_};
  s.hessian.resize(hessian_.size());
  const double scale = 2.0 / static_cast<double>(num_rows_);
  bool finite = true;
  mirror(hessian_, scale, k, s.hessian, finite);
  release(hessian_);
  scale_by(shift_, scale, finite);
  scale_by(residual_, scale, finite);
  s.shift = std::move(shift_);
  s.residual = std::move(residual_);
  if (held_out_rows_ > 0) {
    mirror(held_out_, 2.0 / static_cast<double>(held_out_rows_), k, held_out_, finite);
    s.held_out = std::move(held_out_);
  }
  release(held_out_);
  if (!finite) not_finite();
  return s;
}

}  // namespace octet::quantize
