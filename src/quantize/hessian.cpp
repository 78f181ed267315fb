#include "quantize/hessian.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {
constexpr std::int64_t kRows = 256;  // summed in float32
constexpr std::int64_t kTileRows = 32, kTileColumns = 128;
}  // namespace

Hessian::Hessian(std::int64_t in_features)
    : in_features_(in_features), sums_(static_cast<std::size_t>(in_features * in_features)) {}

void Hessian::add(std::span<const float> x, ThreadPool& pool) {
  const std::int64_t k = in_features_, rows = static_cast<std::int64_t>(x.size()) / k;
  OCTET_CHECK(static_cast<std::int64_t>(x.size()) == rows * k, "{} inputs for {} features",
              x.size(), k);
  num_rows_ += rows;
  const std::int64_t tile_rows = (k + kTileRows - 1) / kTileRows;
  pool.parallel_for(tile_rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    float tile[kTileRows][kTileColumns];
    for (std::int64_t i0 = begin * kTileRows; i0 < std::min(end * kTileRows, k); i0 += kTileRows) {
      const std::int64_t ni = std::min(kTileRows, k - i0);
      for (std::int64_t j0 = i0 / kTileColumns * kTileColumns; j0 < k; j0 += kTileColumns) {
        const std::int64_t nj = std::min(kTileColumns, k - j0);
        for (std::int64_t r0 = 0; r0 < rows; r0 += kRows) {
          for (auto& line : tile) std::fill_n(line, kTileColumns, 0.0f);
          for (std::int64_t r = r0; r < std::min(r0 + kRows, rows); ++r) {
            const float* row = x.data() + r * k;
            for (std::int64_t i = 0; i < ni; ++i) {
              const float a = row[i0 + i];
              for (std::int64_t j = 0; j < nj; ++j) tile[i][j] += a * row[j0 + j];
            }
          }
          for (std::int64_t i = 0; i < ni; ++i) {
            double* sums = sums_.data() + (i0 + i) * k + j0;
            for (std::int64_t j = 0; j < nj; ++j) sums[j] += tile[i][j];
          }
        }
      }
    }
  });
}

std::vector<double> Hessian::take() {
  if (num_rows_ == 0) fail(ErrorCode::invalid_argument, "no calibration tokens reached the module");
  std::vector<double> h = std::move(sums_);
  const std::int64_t k = in_features_;
  const double scale = 2.0 / static_cast<double>(num_rows_);
  for (std::int64_t i = 0; i < k; ++i)
    for (std::int64_t j = i; j < k; ++j) {
      double& upper = h[static_cast<std::size_t>(i * k + j)];
      upper *= scale;
      if (!std::isfinite(upper))
        fail(ErrorCode::bad_data,
             "the inputs of a module are not finite: the checkpoint's weights are damaged or "
             "overflow");
      h[static_cast<std::size_t>(j * k + i)] = upper;
    }
  num_rows_ = 0;
  return h;
}

}  // namespace octet::quantize
