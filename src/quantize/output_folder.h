#pragma once

#include <filesystem>

#include "checkpoint/checkpoint.h"
#include "quantize/quantize_model.h"

namespace octet::quantize {

/// A folder written aside: OUT.partial while it grows, OUT after commit(). Without commit() the
/// destructor removes it.
class OutputFolder {
 public:
  /// Errors: invalid_argument if OUT exists and must not be replaced, or is the source;
  /// unavailable if the disk has too little room.
  OutputFolder(std::filesystem::path output, const std::filesystem::path& source, bool overwrite,
               std::uint64_t needed_bytes);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const std::filesystem::path& path() const { return partial_; }
  void commit();

 private:
  std::filesystem::path output_, partial_;
  bool overwrite_, done_ = false;
};

/// Everything beside the tensors: config.json with quantization_config, quantize_config.json,
/// tokenizer, template and processor files as they are.
void write_configuration(const checkpoint::Checkpoint& source, const QuantizeOptions& options,
                         const std::filesystem::path& folder);

/// quantize_report.json and quant_log.csv.
void write_report(const QuantizeResult& result, const QuantizeOptions& options,
                  const std::filesystem::path& folder);

}  // namespace octet::quantize
