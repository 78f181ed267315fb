#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "quantize/layer_quantizer.h"

namespace octet::quantize {

struct QuantizeOptions {
  Method method = Method::gptq;
  GptqOptions gptq{};
  CalibrationOptions calibration{};
  std::uint64_t shard_bytes = 4'000'000'000;
  ArenaPlan arena;
  bool overwrite = false;  ///< replace OUT if it exists
};

/// One module's line of the report.
struct ModuleLine {
  std::string name;
  GptqReport report;
  std::int64_t num_tokens = 0;
  double seconds = 0;
};

struct QuantizeResult {
  std::filesystem::path output;
  std::vector<ModuleLine> modules;
  std::uint64_t source_bytes = 0, output_bytes = 0;  ///< of tensors
  std::int64_t calibration_rows = 0, calibration_tokens = 0;
  std::string calibration_sha256;
  double seconds = 0;
  PhaseSeconds phases;
};

/// progress(layers done, layers in all, what is being done).
using QuantizeProgress = std::function<void(std::int64_t, std::int64_t, const std::string&)>;

/// Quantizes a checkpoint into the published layout: every linear of the text layers as GPTQ
/// tensors, everything else byte for byte, configuration with quantization_config, other files
/// copied, quantize_report.json and quant_log.csv. Works in OUT.partial and renames it at the end:
/// OUT is complete or not there.
/// Errors: invalid_argument (options, OUT exists), bad_data (source), unavailable (disk),
/// interrupted.
QuantizeResult quantize_model(const checkpoint::Checkpoint& source,
                              const tokenizer::Tokenizer& tokenizer,
                              const std::filesystem::path& output, const QuantizeOptions& options,
                              ops::Backend& backend, linalg::Linalg& linalg,
                              const QuantizeProgress& progress);

}  // namespace octet::quantize
