#include "quantize/quantizer.h"

#include <algorithm>
#include <limits>

#include "runtime/tensor/dtype.h"

namespace octet::quantize {

namespace {

// The smallest float16 is 2^-24: a scale of zero would lose the group.
float stored(float scale, const ScaleRule& rule) {
  if (!rule.to_f16) return scale;
  return std::clamp(f16_to_float(float_to_f16(scale)), 0x1p-24f, 65504.0f);
}

// sum_k importance_k (q_k - w_k)^2. Eight sums side by side, in a fixed order.
float weighted_error(std::span<const float> group, std::span<const float> importance, float scale,
                     std::int64_t bits) {
  constexpr std::size_t kLanes = 8;
  const auto low = static_cast<float>(-(1 << (bits - 1)));
  const float high = -low - 1;
  float sums[kLanes] = {};
  const auto add = [&](std::size_t i, std::size_t lane) {
    float q = group[i] / scale;
    q = q < low ? low : (q > high ? high : q);
    const float e = ((q + 12582912.0f) - 12582912.0f) * scale - group[i];
    sums[lane] += (importance.empty() ? 1.0f : importance[i]) * e * e;
  };
  std::size_t i = 0;
  for (; i + kLanes <= group.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) add(i + lane, lane);
  for (; i < group.size(); ++i) add(i, 0);
  float sum = 0;
  for (const float s : sums) sum += s;
  return sum;
}

}  // namespace

float group_scale(std::span<const float> group, const ScaleRule& rule,
                  std::span<const float> importance) {
  const auto [low, high] = std::ranges::minmax(group);
  const float largest = std::max({-low, high, 0.0f});
  const auto max_code = static_cast<float>((1 << rule.bits) - 1);
  float span = 2 * largest;
  if (largest == 0) span = 2;
  if (rule.reference_quirk && low >= 0 && largest > 0) span = largest;
  const float scale = span / max_code;
  if (!rule.search || largest == 0) return stored(scale, rule);
  const int steps = rule.bits == 8 ? 48 : 60;
  const float from = rule.bits == 8 ? 0.94f : 0.5f, to = rule.bits == 8 ? 1.06f : 1.1f;
  float best = 0, previous = 0, least = std::numeric_limits<float>::infinity();
  for (int i = 0; i <= steps; ++i) {
    const float share = static_cast<float>(i) / static_cast<float>(steps);
    const float candidate = stored(scale * (from + share * (to - from)), rule);
    if (candidate == previous) continue;  // the same number of the file
    previous = candidate;
    const float error = weighted_error(group, importance, candidate, rule.bits);
    if (error < least) least = error, best = candidate;
  }
  return best > 0 ? best : stored(scale, rule);
}

QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t out_features,
                             std::int64_t in_features, std::int64_t group_size,
                             const ScaleRule& rule) {
  QuantizedMatrix q{out_features, in_features, rule.bits, group_size, {}, {}};
  q.codes.reserve(weight.size());
  const int zero = 1 << (rule.bits - 1), max_code = (1 << rule.bits) - 1;
  for (std::size_t at = 0; at < weight.size(); at += static_cast<std::size_t>(group_size)) {
    const auto group = weight.subspan(at, static_cast<std::size_t>(group_size));
    const float scale = group_scale(group, rule);
    q.scales.push_back(scale);
    for (const float w : group)
      q.codes.push_back(static_cast<std::uint8_t>(nearest_code(w, scale, zero, max_code)));
  }
  return q;
}

}  // namespace octet::quantize
