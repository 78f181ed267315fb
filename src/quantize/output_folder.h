#pragma once

#include <filesystem>
#include <optional>

#include "checkpoint/checkpoint.h"
#include "quantize/quantize_model.h"
#include "quantize/run_state.h"

namespace octet::quantize {

/// A folder written aside: OUT.partial while it grows, OUT after commit(). If a run ends before,
/// OUT.partial stays once it holds a layer, for the next run to go on; else it goes.
class OutputFolder {
 public:
  /// settings: what the result depends on. An OUT.partial of the same settings is gone on with
  /// (resumed()), unless overwrite.
  /// Errors: invalid_argument if OUT exists and must not be replaced, or is the source, or an
  /// unfinished run with other settings is there; unavailable if the disk has too little room or
  /// another process is writing there.
  OutputFolder(std::filesystem::path output, const std::filesystem::path& source, bool overwrite,
               std::uint64_t needed_bytes, const std::string& settings);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const std::filesystem::path& path() const { return partial_; }
  const std::optional<RunState>& resumed() const { return state_; }
  /// Keeps the folder for a later run from now on.
  void keep() { keep_ = true; }
  void commit();

 private:
  void open_partial(const std::string& settings, bool overwrite);
  std::filesystem::path output_, partial_;
  std::optional<RunState> state_;
  int lock_ = -1;
  bool keep_ = false, done_ = false;
};

/// Everything that the bytes of the result depend on, as JSON text: source, options, calibration
/// tokens, and what computes (machine: backend and instruction set).
std::string run_settings(const checkpoint::Checkpoint& source, const QuantizeOptions& options,
                         const std::string& calibration_sha256, const std::string& machine);

/// Everything beside the tensors: config.json with quantization_config, quantize_config.json,
/// tokenizer, template and processor files as they are.
void write_configuration(const checkpoint::Checkpoint& source, const QuantizeOptions& options,
                         const std::filesystem::path& folder);

/// quantize_report.json, quant_log.csv and README.md.
void write_report(const checkpoint::Checkpoint& source, const QuantizeResult& result,
                  const QuantizeOptions& options, const std::filesystem::path& folder);

}  // namespace octet::quantize
