// quantize: from a 16-bit checkpoint to a GPTQ one. The mathematics (quantizer, input statistics,
// GPTQ) knows no model; quantize_model walks through one, a layer at a time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quantize/kernels.h"

namespace octet {
class ThreadPool;
}

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

/// Which scales are tried.
enum class ScaleSearch {
  none,  ///< only the one that the largest weight asks for, 2 max|w| / (2^bits - 1)
  mse,   ///< 1.00, 0.99 ... 0.21 times that: the reference's `mse`
  fine,  ///< around it: 0.94 to 1.06 times at 8 bits, 0.5 to 1.1 times below
};

/// How a scale follows from a group's weights.
struct ScaleRule {
  std::int64_t bits = 8;
  ScaleGrid grid = ScaleGrid::f16;
  ScaleSearch search = ScaleSearch::fine;
  /// A group without negative weights gets half the scale, as in the reference, which clips its
  /// upper half. docs/quantization.md
  bool reference_quirk = false;
  ServeType serve = ServeType::f32;

  CodeFormat format() const { return {1 << (bits - 1), (1 << bits) - 1, serve}; }
  /// Multiples of the largest weight's scale, in the order in which they are tried.
  std::vector<float> shares() const;
};

/// Round to nearest, group by group: no calibration. weight [out, in]; group_size divides in.
/// Same bits for any number of threads.
QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t out_features,
                             std::int64_t in_features, std::int64_t group_size,
                             const ScaleRule& rule, const SolverKernels& kernels, ThreadPool& pool);

}  // namespace octet::quantize
