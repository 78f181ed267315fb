// quantize: from a 16-bit checkpoint to a GPTQ one. The mathematics (quantizer, Hessian, factor,
// GPTQ) knows no model; quantize_model walks through one, a layer at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octet::quantize {

/// A quantized weight: w[n, k] = scale[n, group] * (code[n, k] - 2^(bits - 1)).
struct QuantizedMatrix {
  std::int64_t out_features = 0, in_features = 0, bits = 8, group_size = 32;
  std::vector<std::uint8_t> codes;  ///< [out, in], 0 .. 2^bits - 1
  std::vector<float> scales;        ///< [out, groups]
  std::int64_t num_groups() const { return in_features / group_size; }
  float value(std::int64_t n, std::int64_t k) const {
    const auto at = static_cast<std::size_t>(n * in_features + k);
    return scales[static_cast<std::size_t>(n * num_groups() + k / group_size)] *
           static_cast<float>(static_cast<int>(codes[at]) - (1 << (bits - 1)));
  }
};

/// How a scale follows from a group's weights.
struct ScaleRule {
  std::int64_t bits = 8;
  /// Round the scale to float16 before the codes are chosen: then the file's scale is the one that
  /// the codes were chosen for. Off: float32 as in the reference, rounded when it is written.
  bool to_f16 = true;
  /// A group without negative weights gets half the scale, as in the reference, which clips its
  /// upper half. docs/quantization.md
  bool reference_quirk = false;
  /// Try scales around the one that the largest weight asks for and take the one of least weighted
  /// error: at 8 bits 0.94 to 1.06 times, at 4 bits and below 0.5 to 1.1 times.
  bool search = true;
};

/// Symmetric scale of a group: 2 max|w| / (2^bits - 1), 2 / (2^bits - 1) if all are zero; or, with
/// rule.search, what near it minimizes sum_k importance_k (q_k - w_k)^2. importance: one for each
/// weight (diag(H)), or empty: all the same.
float group_scale(std::span<const float> group, const ScaleRule& rule,
                  std::span<const float> importance = {});

/// Nearest code of w, halves to even, clamped to 0 .. 2^bits - 1.
inline int nearest_code(float w, float scale, int zero, int max_code) {
  // The quotient is a float32 division: it decides ties as the reference does. Adding and taking
  // away 1.5 * 2^23 rounds halves to even for quotients below 2^22; larger ones are clamped first.
  float q = w / scale;
  q = q > 4e6f ? 4e6f : (q < -4e6f ? -4e6f : q);
  const int code = static_cast<int>((q + 12582912.0f) - 12582912.0f) + zero;
  return code < 0 ? 0 : (code > max_code ? max_code : code);
}

/// Round to nearest, group by group: no calibration. weight [out, in]; group_size divides in.
QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t out_features,
                             std::int64_t in_features, std::int64_t group_size,
                             const ScaleRule& rule);

}  // namespace octet::quantize
