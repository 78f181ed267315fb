#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/config.h"

namespace octet::model {

/// Multi-axis rotary positions of the text model. docs/model.md §3.5.
class Rope {
 public:
  /// Frequencies with the reference's own bits: a last-bit difference moves cos and sin by up to
  /// 7e-3 at position 262143. YaRN is applied if the configuration asks for it.
  explicit Rope(const checkpoint::TextConfig& config);

  std::int64_t rotary_dim() const { return 2 * static_cast<std::int64_t>(inv_freq_.size()); }
  const std::vector<float>& inv_freq() const { return inv_freq_; }
  /// Axis (0 time, 1 height, 2 width) of each frequency.
  const std::vector<int>& axes() const { return axes_; }

  /// positions [3][rows]: time, height, width of each row (all equal for text).
  /// out [rows][2][rotary_dim / 2]: cosines, sines, times the YaRN factor.
  void cos_sin(std::span<const std::int32_t> positions, std::int64_t rows, float* out) const;

 private:
  std::vector<float> inv_freq_;
  std::vector<int> axes_;
  float factor_ = 1.0f;
};

}  // namespace octet::model
