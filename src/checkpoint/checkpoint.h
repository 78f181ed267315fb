#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "checkpoint/config.h"
#include "checkpoint/expected_tensors.h"
#include "checkpoint/gptq_format.h"
#include "checkpoint/safetensors.h"

namespace octet::checkpoint {

/// A linear module as it lies in the files: one weight, or GPTQ's tensors.
using LinearTensors = std::variant<TensorInfo, GptqLinear>;

/// A model folder, opened: configuration and every tensor by name. Tensors are asked for by their
/// canonical name, that of the published multimodal files (model.language_model.*, model.visual.*,
/// mtp.*, lm_head.weight); files with the text-only prefix (model.layers.*) or model.mtp.* are
/// found under the same names. Constant after open(); threads may share it.
class Checkpoint {
 public:
  /// Reads config, index and headers. Shards are those that the index names; without an index the
  /// folder must hold exactly one .safetensors file (model.safetensors if there are several).
  /// overrides: merged into config.json (config.h). Errors: not_found, bad_data, each with the
  /// file; invalid_argument if the overrides can't be.
  static Checkpoint open(const std::filesystem::path& folder, const json::object& overrides = {});

  const std::filesystem::path& folder() const { return folder_; }
  const ModelConfig& config() const { return config_; }

  /// By canonical name; nullptr if absent. lm_head.weight of a tied checkpoint is the embedding.
  const TensorInfo* find(const std::string& name) const;
  /// The same; errors: bad_data if absent or of another shape.
  TensorInfo get(const std::string& name, const Shape& shape) const;
  /// A linear by module name (without ".weight"). Validates dtypes and shapes of all its tensors.
  LinearTensors linear(const std::string& module, std::int64_t out, std::int64_t in) const;
  /// True if GPTQ replaced the module's weight.
  bool is_quantized(const std::string& module) const;

  /// Every tensor with the name it has in its file, in the order of files and data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// Canonical name of a stored name.
  static std::string canonical_name(const std::string& stored);
  /// Bytes of all files.
  std::uint64_t file_bytes() const;

  /// Canonical names that the configuration expects and the files lack.
  std::vector<std::string> missing(TensorClass part) const;
  bool has_vision() const { return config_.vision && missing(TensorClass::vision).empty(); }
  bool has_mtp() const {
    return config_.text.mtp_num_hidden_layers > 0 && missing(TensorClass::mtp).empty();
  }
  /// Errors: bad_data naming the first text tensors that are missing.
  void require_text() const;

 private:
  const TensorInfo& require(const std::string& name) const;
  GptqLinear gptq(const std::string& module, std::int64_t out, std::int64_t in) const;
  std::filesystem::path folder_;
  ModelConfig config_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, std::size_t> by_name_;  // canonical name -> tensors_
};

}  // namespace octet::checkpoint
