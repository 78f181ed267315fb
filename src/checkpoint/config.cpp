#include "checkpoint/config.h"

#include <algorithm>
#include <cmath>

#include "checkpoint/config_overrides.h"
#include "checkpoint/config_reader.h"

namespace octet::checkpoint {

namespace {

constexpr std::int64_t kLarge = std::int64_t{1} << 28;  // beyond any size of the family

void parse_rope(const ConfigReader& text, RopeParameters& rope) {
  // Older writers: rope_theta and partial_rotary_factor beside rope_scaling.
  text.read("rope_theta", rope.rope_theta, 1, 1e12);
  text.read("partial_rotary_factor", rope.partial_rotary_factor, 0.001, 1);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto reader = text.child(key);
    if (!reader) continue;
    const ConfigReader& r = *reader;
    r.read("type", rope.rope_type);
    r.read("rope_type", rope.rope_type);
    r.read("rope_theta", rope.rope_theta, 1, 1e12);
    r.read("partial_rotary_factor", rope.partial_rotary_factor, 0.001, 1);
    r.read("mrope_interleaved", rope.mrope_interleaved);
    r.read("factor", rope.factor, 1, 1e4);
    r.read("original_max_position_embeddings", rope.original_max_position_embeddings, 1, kLarge);
    r.read("beta_fast", rope.beta_fast, 1e-3, 1e6);
    r.read("beta_slow", rope.beta_slow, 1e-3, 1e6);
    r.read("attention_factor", rope.attention_factor, 1e-3, 1e3);
    if (const json::value* v = r.find("mrope_section")) {
      if (!v->is_array() || v->get_array().size() != 3)
        r.bad("mrope_section", "expected three numbers, found {}", to_json(*v));
      for (std::size_t i = 0; i < 3; ++i) {
        const json::value& item = v->get_array()[i];
        if (!item.is_int64() || item.get_int64() < 0 || item.get_int64() > 4096)
          r.bad("mrope_section", "expected three numbers, found {}", to_json(*v));
        rope.mrope_section[i] = item.get_int64();
      }
    }
  }
  if (rope.rope_type == "mrope") rope.rope_type = "default";  // an older name
  if (rope.rope_type != "default" && rope.rope_type != "yarn")
    text.bad("rope_type", "expected default or yarn, found {}", rope.rope_type);
  if (!rope.mrope_interleaved)
    text.bad("mrope_interleaved", "only interleaved sections are known, found false");
}

void parse_layer_types(const ConfigReader& r, TextConfig& c) {
  const json::value* v = r.find("layer_types");
  if (!v) {
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
      c.layer_types.push_back((i + 1) % c.full_attention_interval == 0
                                  ? LayerType::full_attention
                                  : LayerType::linear_attention);
    return;
  }
  if (!v->is_array() || v->get_array().size() != static_cast<std::size_t>(c.num_hidden_layers))
    r.bad("layer_types", "expected a list of num_hidden_layers = {} entries, found {}",
          c.num_hidden_layers,
          v->is_array() ? fmt::format("{} entries", v->get_array().size()) : to_json(*v));
  for (const json::value& item : v->get_array()) {
    const std::string name = item.is_string() ? std::string(item.get_string()) : to_json(item);
    if (name == "full_attention")
      c.layer_types.push_back(LayerType::full_attention);
    else if (name == "linear_attention")
      c.layer_types.push_back(LayerType::linear_attention);
    else
      r.bad("layer_types", "expected full_attention or linear_attention, found {}", name);
  }
}

// Sizes that must fit each other.
void check_text(const ConfigReader& r, const TextConfig& c) {
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    r.bad("num_attention_heads", "{} can't be shared by num_key_value_heads = {}",
          c.num_attention_heads, c.num_key_value_heads);
  if (c.linear_num_value_heads % c.linear_num_key_heads != 0)
    r.bad("linear_num_value_heads", "{} can't share linear_num_key_heads = {}",
          c.linear_num_value_heads, c.linear_num_key_heads);
  const double rotary = static_cast<double>(c.head_dim) * c.rope_parameters.partial_rotary_factor;
  if (rotary < 2 || c.rotary_dim() % 2 != 0)
    r.bad("partial_rotary_factor", "{} of head_dim {} is not an even number of dimensions",
          c.rope_parameters.partial_rotary_factor, c.head_dim);
  const auto& section = c.rope_parameters.mrope_section;
  if (section[0] + section[1] + section[2] != c.rotary_dim() / 2)
    r.bad("mrope_section", "[{}, {}, {}] must sum to {}, half the rotary dimensions", section[0],
          section[1], section[2], c.rotary_dim() / 2);
  if (c.hidden_act != "silu" && c.hidden_act != "swish")
    r.bad("hidden_act", "expected silu, found {}", c.hidden_act);
  if (c.output_gate_type != "silu" && c.output_gate_type != "sigmoid")
    r.bad("output_gate_type", "expected swish, silu or sigmoid, found {}", c.output_gate_type);
}

void refuse(const ConfigReader& r, const char* key, bool wanted) {
  bool value = wanted;
  r.read(key, value);
  if (value != wanted) r.bad(key, "only {} is supported, found {}", wanted, value);
}

TextConfig parse_text(const ConfigReader& r) {
  TextConfig c;
  r.read("vocab_size", c.vocab_size, 1, kLarge);
  r.read("hidden_size", c.hidden_size, 1, 1 << 20);
  r.read("intermediate_size", c.intermediate_size, 1, 1 << 22);
  r.read("num_hidden_layers", c.num_hidden_layers, 1, 4096);
  r.read("num_attention_heads", c.num_attention_heads, 1, 4096);
  r.read("num_key_value_heads", c.num_key_value_heads, 1, 4096);
  r.read("head_dim", c.head_dim, 2, 4096);
  r.read("max_position_embeddings", c.max_position_embeddings, 1, kLarge);
  r.read("linear_conv_kernel_dim", c.linear_conv_kernel_dim, 2, 64);
  r.read("linear_key_head_dim", c.linear_key_head_dim, 1, 4096);
  r.read("linear_value_head_dim", c.linear_value_head_dim, 1, 4096);
  r.read("linear_num_key_heads", c.linear_num_key_heads, 1, 4096);
  r.read("linear_num_value_heads", c.linear_num_value_heads, 1, 4096);
  r.read("full_attention_interval", c.full_attention_interval, 1, 4096);
  r.read("mtp_num_hidden_layers", c.mtp_num_hidden_layers, 0, 64);
  r.read("rms_norm_eps", c.rms_norm_eps, 0, 1);
  r.read("hidden_act", c.hidden_act);
  r.read("output_gate_type", c.output_gate_type);
  if (c.output_gate_type == "swish") c.output_gate_type = "silu";
  r.read("torch_dtype", c.dtype);
  r.read("dtype", c.dtype);
  r.read("tie_word_embeddings", c.tie_word_embeddings);
  r.read_ids("eos_token_id", c.eos_token_id);
  refuse(r, "attention_bias", false);
  refuse(r, "attn_output_gate", true);
  c.rope_parameters.original_max_position_embeddings = c.max_position_embeddings;
  parse_rope(r, c.rope_parameters);
  parse_layer_types(r, c);
  check_text(r, c);
  return c;
}

VisionConfig parse_vision(const ConfigReader& r) {
  VisionConfig c;
  r.read("depth", c.depth, 1, 4096);
  r.read("hidden_size", c.hidden_size, 1, 1 << 20);
  r.read("intermediate_size", c.intermediate_size, 1, 1 << 22);
  r.read("num_heads", c.num_heads, 1, 4096);
  r.read("num_position_embeddings", c.num_position_embeddings, 1, 1 << 20);
  r.read("out_hidden_size", c.out_hidden_size, 1, 1 << 20);
  r.read("patch_size", c.patch_size, 1, 1024);
  r.read("spatial_merge_size", c.spatial_merge_size, 1, 64);
  r.read("temporal_patch_size", c.temporal_patch_size, 1, 64);
  r.read("in_channels", c.in_channels, 1, 16);
  if (c.hidden_size % c.num_heads != 0)
    r.bad("num_heads", "{} doesn't divide hidden_size {}", c.num_heads, c.hidden_size);
  return c;
}

QuantizationConfig parse_quantization(const ConfigReader& r) {
  QuantizationConfig q;
  r.read("quant_method", q.quant_method);
  if (q.quant_method != "gptq")
    r.bad("quant_method", "expected gptq, found {}; octet reads GPTQ and unquantized checkpoints",
          q.quant_method);
  r.read("checkpoint_format", q.checkpoint_format);
  if (q.checkpoint_format != "gptq" && q.checkpoint_format != "gptq_v2")
    r.bad("checkpoint_format", "expected gptq or gptq_v2, found {}", q.checkpoint_format);
  r.read("bits", q.bits, 2, 8);
  if (q.bits != 2 && q.bits != 3 && q.bits != 4 && q.bits != 8)
    r.bad("bits", "expected 2, 3, 4 or 8, found {}", q.bits);
  r.read("group_size", q.group_size, -1, 1 << 22);
  if (q.group_size == 0) r.bad("group_size", "expected -1 or a positive number, found 0");
  r.read("desc_act", q.desc_act);
  r.read("sym", q.sym);
  if (const json::object* dynamic = r.object("dynamic")) q.dynamic = *dynamic;
  return q;
}

}  // namespace

std::int64_t TextConfig::rotary_dim() const {
  return static_cast<std::int64_t>(static_cast<double>(head_dim) *
                                   rope_parameters.partial_rotary_factor);
}

std::int64_t TextConfig::context_length() const {
  if (rope_parameters.rope_type != "yarn") return max_position_embeddings;
  const double stretched = rope_parameters.factor *
                           static_cast<double>(rope_parameters.original_max_position_embeddings);
  return std::max(max_position_embeddings,
                  static_cast<std::int64_t>(std::min(stretched, static_cast<double>(kLarge))));
}

ModelConfig parse_config(const json::value& value, const std::string& where,
                         std::set<std::string>* asked) {
  if (!value.is_object())
    fail(ErrorCode::bad_data, "{}: expected a JSON object, found {}", where, to_json(value));
  ModelConfig config;
  config.raw = value.get_object();
  const ConfigReader r(config.raw, where, asked);
  std::string model_type;
  r.read("model_type", model_type);
  if (const json::value* v = r.find("architectures"))
    if (v->is_array() && !v->get_array().empty() && v->get_array()[0].is_string())
      config.architecture = std::string(v->get_array()[0].get_string());
  const bool multimodal = model_type == "qwen3_5", text_only = model_type == "qwen3_5_text";
  if (!multimodal && !text_only)
    r.bad("model_type",
          "octet supports the dense Qwen3.5 family (qwen3_5, qwen3_5_text), this is `{}` ({})",
          model_type, config.architecture);
  if (config.architecture.empty())
    config.architecture = multimodal ? "Qwen3_5ForConditionalGeneration" : "Qwen3_5ForCausalLM";
  config.text = parse_text(r.child("text_config").value_or(r));
  // The top level decides; the inner copy serves where it is missing.
  r.read("tie_word_embeddings", config.text.tie_word_embeddings);
  if (config.text.dtype.empty()) {
    r.read("torch_dtype", config.text.dtype);
    r.read("dtype", config.text.dtype);
  }
  if (const auto vision = r.child("vision_config")) config.vision = parse_vision(*vision);
  if (config.vision && config.vision->out_hidden_size != config.text.hidden_size)
    r.bad("vision_config", "out_hidden_size {} differs from the text's hidden_size {}",
          config.vision->out_hidden_size, config.text.hidden_size);
  const std::int64_t last = config.text.vocab_size - 1;
  r.read("image_token_id", config.image_token_id, -1, last);
  r.read("video_token_id", config.video_token_id, -1, last);
  r.read("vision_start_token_id", config.vision_start_token_id, -1, last);
  r.read("vision_end_token_id", config.vision_end_token_id, -1, last);
  if (const auto q = r.child("quantization_config")) config.quantization = parse_quantization(*q);
  return config;
}

ModelConfig read_config(const std::filesystem::path& folder, const json::object& overrides) {
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path))
    fail(ErrorCode::not_found, "{} has no config.json: not a model folder", folder.string());
  ModelConfig config = overrides.empty()
                           ? parse_config(read_json(path), path.string())
                           : parse_overridden(read_json(path), path.string(), overrides);
  const auto beside = folder / "quantize_config.json";
  if (!config.quantization && std::filesystem::exists(beside)) {
    const json::value value = read_json(beside);
    if (!value.is_object())
      fail(ErrorCode::bad_data, "{}: expected a JSON object", beside.string());
    config.quantization = parse_quantization(ConfigReader(value.get_object(), beside.string()));
  }
  return config;
}

GenerationConfig read_generation_config(const std::filesystem::path& folder,
                                        const ModelConfig& config) {
  GenerationConfig g;
  g.eos_token_id = config.text.eos_token_id;
  const auto path = folder / "generation_config.json";
  if (!std::filesystem::exists(path)) return g;
  const json::value value = read_json(path);
  if (!value.is_object()) fail(ErrorCode::bad_data, "{}: expected a JSON object", path.string());
  const ConfigReader r(value.get_object(), path.string());
  r.read_ids("eos_token_id", g.eos_token_id);
  r.read("do_sample", g.do_sample);
  r.read("temperature", g.temperature, 0, 100);
  r.read("top_p", g.top_p, 1e-6, 1);
  r.read("min_p", g.min_p, 0, 1);
  r.read("repetition_penalty", g.repetition_penalty, 1e-6, 100);
  r.read("top_k", g.top_k, 0, 1 << 20);
  r.read("max_new_tokens", g.max_new_tokens, 0, std::int64_t{1} << 40);
  return g;
}

}  // namespace octet::checkpoint
