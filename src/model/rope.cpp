#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace octet::model {

Rope::Rope(const checkpoint::TextConfig& config) {
  const auto& rope = config.rope_parameters;
  const std::int64_t dim = config.rotary_dim(), half = dim / 2;
  const double theta = rope.rope_theta;
  for (std::int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    inv_freq_.push_back(1.0f / power);
  }
  if (rope.rope_type == "yarn") {
    // docs/model.md §3.5.1: slow frequencies are stretched by the factor, fast ones left alone.
    const auto length = static_cast<double>(rope.original_max_position_embeddings);
    const auto correction = [&](double rotations) {
      return static_cast<double>(dim) * std::log(length / (rotations * 2 * std::numbers::pi)) /
             (2 * std::log(theta));
    };
    const double low = std::max(std::floor(correction(rope.beta_fast)), 0.0);
    double high = std::min(std::ceil(correction(rope.beta_slow)), static_cast<double>(dim - 1));
    if (high == low) high += 0.001;
    for (std::int64_t i = 0; i < half; ++i) {
      const auto ramp =
          static_cast<float>(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
      float& f = inv_freq_[static_cast<std::size_t>(i)];
      f = f / static_cast<float>(rope.factor) * ramp + f * (1.0f - ramp);
    }
    factor_ = rope.attention_factor > 0 ? static_cast<float>(rope.attention_factor)
                                        : static_cast<float>(0.1 * std::log(rope.factor) + 1.0);
  }
  // Every third frequency turns with height, every third with width, as far as their sections go.
  axes_.assign(static_cast<std::size_t>(half), 0);
  for (int axis = 1; axis <= 2; ++axis) {
    const std::int64_t end =
        std::min<std::int64_t>(3 * rope.mrope_section[static_cast<std::size_t>(axis)], half);
    for (std::int64_t j = axis; j < end; j += 3) axes_[static_cast<std::size_t>(j)] = axis;
  }
}

void Rope::cos_sin(std::span<const std::int32_t> positions, std::int64_t rows, float* out) const {
  const auto half = static_cast<std::int64_t>(inv_freq_.size());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < half; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const auto position =
          static_cast<float>(positions[static_cast<std::size_t>(axes_[at] * rows + r)]);
      // One float32 product, as the reference; the library's cosine reduces its argument exactly.
      const float angle = position * inv_freq_[at];
      out[r * 2 * half + i] = std::cos(angle) * factor_;
      out[r * 2 * half + half + i] = std::sin(angle) * factor_;
    }
}

}  // namespace octet::model
