#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "quantize/layer_quantizer.h"
#include "quantize/plan.h"
#include "quantize/run_state.h"

namespace octet::quantize {

struct QuantizeOptions {
  Method method = Method::gptq;
  GptqOptions gptq{};
  std::uint64_t shard_bytes = 4'000'000'000;
  /// A checkpoint that has the mtp.* tensors which the source lacks; empty: none.
  std::filesystem::path mtp_from;
  std::uint64_t max_memory = 0;  ///< bytes; 0: no limit
  /// Told of each layer's modules when they are done, for a table that grows.
  std::function<void(std::span<const ModuleLine>)> on_layer;
  bool overwrite = false;  ///< replace OUT if it exists
};

struct QuantizeResult {
  std::filesystem::path output;
  std::vector<ModuleLine> modules;
  std::uint64_t source_bytes = 0, output_bytes = 0;  ///< of tensors
  std::int64_t calibration_rows = 0, calibration_tokens = 0;
  std::string calibration_sha256;
  std::uint64_t calibration_seed = 0;
  std::vector<CalibrationSet::Part> calibration_parts;
  std::uint64_t planned_bytes = 0;  ///< of memory
  std::int64_t resumed_layers = 0;  ///< that an earlier run had done
  double seconds = 0;
  PhaseSeconds phases;
};

/// What a run with these options would need. Errors: as quantize_model's about options and source;
/// out_of_memory.
struct QuantizeForecast {
  QuantizePlan plan;
  std::uint64_t output_bytes = 0;  ///< of tensors
};
QuantizeForecast forecast(const checkpoint::Checkpoint& source, const CalibrationSet& calibration,
                          const QuantizeOptions& options);

/// progress(layers done, layers in all, what is being done).
using QuantizeProgress = std::function<void(std::int64_t, std::int64_t, const std::string&)>;

/// Quantizes a checkpoint into the published layout: every linear of the text layers as GPTQ
/// tensors, everything else byte for byte, configuration with quantization_config, other files
/// copied, quantize_report.json and quant_log.csv. Works in OUT.partial and renames it at the end:
/// OUT is complete or not there. After each layer the state is on the disk: a later call with the
/// same settings goes on from there, to the same bytes.
/// ranks: each calls this with the same arguments; the first writes, all return its result.
/// calibration: not looked at with Method::rtn.
/// Errors: invalid_argument (options, OUT exists), bad_data (source), unavailable (disk),
/// interrupted.
QuantizeResult quantize_model(const checkpoint::Checkpoint& source,
                              const CalibrationSet& calibration,
                              const std::filesystem::path& output, const QuantizeOptions& options,
                              ops::Backend& backend, linalg::Linalg& linalg,
                              comm::Communicator& ranks, const QuantizeProgress& progress);

}  // namespace octet::quantize
