#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace octet::checkpoint {

// Members carry the names of config.json's keys; defaults are those of the reference's classes
// (docs/model.md §1.2), which a file may leave out.

struct RopeParameters {
  std::string rope_type = "default";  ///< default or yarn
  double rope_theta = 10000000;
  double partial_rotary_factor = 0.25;
  std::array<std::int64_t, 3> mrope_section{11, 11, 10};
  bool mrope_interleaved = true;
  // yarn
  double factor = 1;
  std::int64_t original_max_position_embeddings = 262144;  ///< absent: max_position_embeddings
  double beta_fast = 32, beta_slow = 1;
  double attention_factor = 0;  ///< 0: 0.1 ln(factor) + 1
};

enum class LayerType { linear_attention, full_attention };

struct TextConfig {
  std::int64_t vocab_size = 248320;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 12288;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 16;
  std::int64_t num_key_value_heads = 4;
  std::int64_t head_dim = 256;
  std::int64_t max_position_embeddings = 32768;
  std::int64_t linear_conv_kernel_dim = 4;
  std::int64_t linear_key_head_dim = 128;
  std::int64_t linear_value_head_dim = 128;
  std::int64_t linear_num_key_heads = 16;
  std::int64_t linear_num_value_heads = 32;
  std::int64_t full_attention_interval = 4;
  std::int64_t mtp_num_hidden_layers = 0;
  double rms_norm_eps = 1e-6;
  std::string hidden_act = "silu";
  std::string output_gate_type = "silu";  ///< silu (also written swish) or sigmoid
  std::string dtype;                      ///< as written: "bfloat16", ...; empty if absent
  std::vector<LayerType> layer_types;     ///< one for each layer
  RopeParameters rope_parameters;
  bool tie_word_embeddings = false;
  std::vector<std::int64_t> eos_token_id;

  bool is_full_attention(std::int64_t layer) const {
    return layer_types[static_cast<std::size_t>(layer)] == LayerType::full_attention;
  }
  std::int64_t key_dim() const { return linear_num_key_heads * linear_key_head_dim; }
  std::int64_t value_dim() const { return linear_num_value_heads * linear_value_head_dim; }
  std::int64_t conv_dim() const { return 2 * key_dim() + value_dim(); }
  /// Elements of a head that rotate; even.
  std::int64_t rotary_dim() const;
  /// Tokens that the model is made for: max_position_embeddings, or what YaRN stretches to
  /// (factor times the original) if that is more.
  std::int64_t context_length() const;
};

struct VisionConfig {
  std::int64_t depth = 27;
  std::int64_t hidden_size = 1152;
  std::int64_t intermediate_size = 4304;
  std::int64_t num_heads = 16;
  std::int64_t num_position_embeddings = 2304;
  std::int64_t out_hidden_size = 3584;
  std::int64_t patch_size = 16;
  std::int64_t spatial_merge_size = 2;
  std::int64_t temporal_patch_size = 2;
  std::int64_t in_channels = 3;
};

/// quantization_config of a GPTQ folder.
struct QuantizationConfig {
  std::string quant_method = "gptq";
  std::string checkpoint_format = "gptq";  ///< gptq: zeros are stored minus one; gptq_v2: as is
  std::int64_t bits = 8;                   ///< 2, 3, 4 or 8
  std::int64_t group_size = 128;           ///< -1: a whole row
  bool desc_act = false, sym = true;
  json::object dynamic;  ///< rules by module name, as written
};

/// What --hf-overrides did to a configuration.
struct OverrideReport {
  std::vector<std::string> unread;  ///< keys that octet does not look for: "text_config.rope_x"
  std::vector<std::string> known;   ///< if there are any: all keys that it looks for
  /// The tensors' names or shapes, or how they are to be read, are not those of the file alone:
  /// nothing that was made of this checkpoint without the overrides may be used, or the reverse.
  bool changes_tensors = false;
};

struct ModelConfig {
  std::string architecture;  ///< "Qwen3_5ForConditionalGeneration" or "Qwen3_5ForCausalLM"
  TextConfig text;
  std::optional<VisionConfig> vision;
  std::optional<QuantizationConfig> quantization;
  std::int64_t image_token_id = -1, video_token_id = -1;
  std::int64_t vision_start_token_id = -1, vision_end_token_id = -1;
  json::object raw;  ///< all of config.json with the overrides, unknown keys too
  OverrideReport overrides;
};

/// generation_config.json; what the file leaves out keeps these values.
struct GenerationConfig {
  std::vector<std::int64_t> eos_token_id;
  bool do_sample = true;
  double temperature = 1.0, top_p = 1.0, min_p = 0.0, repetition_penalty = 1.0;
  std::int64_t top_k = 0;
  std::int64_t max_new_tokens = 0;  ///< 0: what the context leaves
};

/// Reads config.json (and quantize_config.json beside it, where config.json doesn't tell how the
/// folder is quantized). Multimodal files and text-only ones, rope_parameters and the older
/// rope_scaling + rope_theta. Unknown keys are kept in `raw` and ignored.
/// overrides: merged into config.json first (config_overrides.h).
/// Errors: not_found; bad_data with file, key, expected and found; invalid_argument that names
/// --hf-overrides where config.json alone has no error.
ModelConfig read_config(const std::filesystem::path& folder, const json::object& overrides = {});
/// The same from a parsed file; `where` goes into messages. asked: gets the path of every key that
/// was looked for ("text_config.head_dim").
ModelConfig parse_config(const json::value& config, const std::string& where,
                         std::set<std::string>* asked = nullptr);

/// eos ids fall back to the model configuration's. Errors: bad_data. A missing file is no error.
GenerationConfig read_generation_config(const std::filesystem::path& folder,
                                        const ModelConfig& config);

}  // namespace octet::checkpoint
