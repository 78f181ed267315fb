#include "quantize/quantizer.h"

#include <algorithm>

#include "runtime/tensor/dtype.h"

namespace octet::quantize {

float group_scale(std::span<const float> group, const ScaleRule& rule) {
  const auto [low, high] = std::ranges::minmax(group);
  const float largest = std::max({-low, high, 0.0f});
  const auto max_code = static_cast<float>((1 << rule.bits) - 1);
  float span = 2 * largest;
  if (largest == 0) span = 2;
  if (rule.reference_quirk && low >= 0 && largest > 0) span = largest;
  const float scale = span / max_code;
  if (!rule.to_f16) return scale;
  // The smallest float16 is 2^-24: a scale of zero would lose the group.
  return std::clamp(f16_to_float(float_to_f16(scale)), 0x1p-24f, 65504.0f);
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
