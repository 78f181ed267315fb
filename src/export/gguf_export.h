// export: a checkpoint in the file format of another program. Knows files and names; computes
// nothing but the other format's values.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
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
struct GgufReport {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  std::map<std::string, std::int64_t> tensors;  ///< number by element type
  std::map<std::string, std::uint64_t> bytes_by_type;
  /// Quantized modules that no 32-weight block can hold as they are; written as F32.
  std::int64_t widened = 0;
};

/// progress(bytes done, bytes in all, tensor).
using ExportProgress = std::function<void(std::uint64_t, std::uint64_t, const std::string&)>;

/// Writes text model, tokenizer, chat template and MTP layer as GGUF for llama.cpp (architecture
/// qwen35). Symmetric 8-bit codes become Q8_0 and 4-bit codes Q4_0 with the same values, whatever
/// the group; 16-bit matrices stay what they are, vectors become F32. The file is read back and
/// compared, then renamed. docs/formats/gguf.md
/// Errors: invalid_argument (output exists; a configuration that llama.cpp can't express),
/// bad_data (checkpoint), unavailable (disk).
GgufReport export_text(const checkpoint::Checkpoint& checkpoint,
                       const std::filesystem::path& output, const GgufOptions& options,
                       const ExportProgress& progress);
/// The vision tower as options.mmproj. Errors: the same; invalid_argument if there is none.
GgufReport export_vision(const checkpoint::Checkpoint& checkpoint, const GgufOptions& options,
                         const ExportProgress& progress);

}  // namespace octet::exporter
