// How the solver keeps a weight: column by column in visiting order, see kernels.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quantize/kernels.h"
#include "quantize/quantizer.h"

namespace octet::quantize {

inline std::size_t size(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// Gives a vector's memory back: `v = {}` would keep it.
template <typename T>
void release(std::vector<T>& v) {
  std::vector<T>().swap(v);
}

/// Lanes that one task takes: its part of a block of 128 columns stays in the cache.
inline constexpr std::int64_t kStripe = 64;

inline std::int64_t padded_lanes(std::int64_t out_features) {
  return (out_features + kLaneStep - 1) / kLaneStep * kLaneStep;
}

/// Nearest code of w, halves to even, as the kernels choose it.
int nearest_code(float w, float scale, const CodeFormat& format);

/// scale * level as the weight is used: rounded to what it is served as.
float served_value(int level, float scale, ServeType serve);

/// A weight that is being quantized: columns in visiting order, order[new] = old.
struct Columns {
  std::int64_t n = 0, k = 0, ld = 0, group_size = 0;
  std::vector<std::int64_t> order;
  std::vector<std::uint8_t> codes;  ///< [k][ld]
  std::vector<float> scales;        ///< [original group][ld]
  std::int64_t num_groups() const { return k / group_size; }
  /// Original group of the column visited as number c.
  std::int64_t group(std::int64_t c) const { return order[size(c)] / group_size; }
  const float* scales_of(std::int64_t c) const { return scales.data() + group(c) * ld; }
};

/// Scales and nearest codes of the given columns [k][ld] by themselves, one group after the other.
/// importance [k] in visiting order, or empty.
void round_to_nearest(const std::vector<float>& w, std::span<const float> importance,
                      const ScaleRule& rule, const SolverKernels& kernels, ThreadPool& pool,
                      bool codes_too, Columns& to);

/// Back to rows in the original order.
QuantizedMatrix to_matrix(const Columns& columns, std::int64_t bits);

}  // namespace octet::quantize
