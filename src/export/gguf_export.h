// export: a checkpoint in the file format of another program. Knows files and names; computes
// nothing but the other format's values.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"

namespace octet::exporter {

struct GgufOptions {
  /// The vision tower's file; empty: none.
  std::filesystem::path mmproj;
  bool mtp = true;  ///< the MTP layer too, where the checkpoint has it
  bool overwrite = false;
};

/// A file that was written and read back.
struct GgufFileReport {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  std::map<std::string, std::int64_t> tensors;  ///< number by element type
  std::map<std::string, std::uint64_t> bytes_by_type;
};
struct GgufReport {
  GgufFileReport text;
  std::optional<GgufFileReport> mmproj;
  /// Quantized modules that no 32-weight block can hold as they are; written as F32.
  std::int64_t widened = 0;
};

/// progress(bytes done, bytes in all, tensor).
using ExportProgress = std::function<void(std::uint64_t, std::uint64_t, const std::string&)>;

/// Writes text model, tokenizer, chat template and MTP layer as GGUF for llama.cpp (architecture
/// qwen35), and the vision tower if options.mmproj names a file. Symmetric 8-bit codes become Q8_0
/// and 4-bit codes Q4_0 with the same values, whatever the group; 16-bit matrices stay what they
/// are, vectors become F32. Everything is checked before the first byte is written; the files are
/// written aside, read back and compared, and take their names when both are good.
/// docs/formats/gguf.md
/// Errors: invalid_argument (outputs that exist or aren't files; no vision tower; a configuration
/// that llama.cpp can't express), bad_data (checkpoint), unavailable (disk), interrupted.
GgufReport export_gguf(const checkpoint::Checkpoint& checkpoint,
                       const std::filesystem::path& output, const GgufOptions& options,
                       const ExportProgress& progress = nullptr);

}  // namespace octet::exporter
