#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quantize/layer_quantizer.h"

namespace octet::quantize {

/// What a run will need, known before it starts.
struct QuantizePlan {
  struct Item {
    std::string what;
    std::uint64_t bytes = 0;
  };
  std::vector<Item> items;        ///< memory at the peak; their sum is peak_bytes
  std::string peak_at;            ///< which part of the work that is
  std::uint64_t peak_bytes = 0;   ///< of resident memory
  std::uint64_t spill_bytes = 0;  ///< of a temporary file, if the rows don't fit
  ArenaPlan arena;
  std::int64_t tokens = 0;
  double forward_flops = 0, statistics_flops = 0, factor_flops = 0, solve_flops = 0;
  double weights = 0;         ///< to be quantized
  double state_elements = 0;  ///< of recurrent states, for all tokens that pass
  double passes = 0;          ///< over the calibration rows, in whole forward passes of the layers
};

/// Plans memory for a checkpoint's configuration and the lengths of the calibration rows: rows and
/// the inputs that can be kept stay in memory if limit_bytes allows it, else the inputs are
/// computed twice, else the rows lie in a file. limit 0: none.
/// Errors: out_of_memory with the table of what needs how much, if even that is too much.
QuantizePlan plan_quantize(const checkpoint::TextConfig& config,
                           const std::vector<std::int64_t>& row_tokens, Method method,
                           const GptqOptions& options, std::uint64_t limit_bytes);

/// Operations per second that this machine does, for estimates; less than a second.
struct MachineRates {
  double f32 = 0, f64 = 0;
};
MachineRates measure_rates(linalg::Linalg& linalg);
/// Seconds that the plan will take.
double estimate_seconds(const QuantizePlan& plan, const MachineRates& rates);

/// The table that is printed before the start.
std::string describe(const QuantizePlan& plan, std::uint64_t output_bytes, double seconds);

}  // namespace octet::quantize
