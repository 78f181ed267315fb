#include "export/gguf_metadata.h"

#include <cmath>

#include "runtime/base/error.h"

namespace octet::exporter {

namespace {

using checkpoint::GgmlType;
using checkpoint::GgufMetadata;
using checkpoint::TextConfig;

std::uint32_t u32(std::int64_t n) {
  return static_cast<std::uint32_t>(n);
}
float f32(double x) {
  return static_cast<float>(x);
}

// llama.cpp's number for the type that most weights have.
std::uint32_t file_type(GgmlType type) {
  switch (type) {
    case GgmlType::f32:
      return 0;
    case GgmlType::f16:
      return 1;
    case GgmlType::q4_0:
      return 2;
    case GgmlType::q8_0:
      return 7;
    case GgmlType::bf16:
      return 32;
  }
  return 0;
}

void require_expressible(const checkpoint::Checkpoint& checkpoint) {
  const TextConfig& c = checkpoint.config().text;
  const auto refuse = [&](const char* key, const std::string& expected, const std::string& found) {
    fail(ErrorCode::invalid_argument,
         "{}: llama.cpp's qwen35 can't express this model: {}: expected {}, found {}",
         checkpoint.folder().string(), key, expected, found);
  };
  if (c.linear_key_head_dim != c.linear_value_head_dim)
    refuse("linear_value_head_dim", fmt::format("{}", c.linear_key_head_dim),
           fmt::format("{}", c.linear_value_head_dim));
  if (c.output_gate_type != "silu" && c.output_gate_type != "swish")
    refuse("output_gate_type", "silu", c.output_gate_type);
  if (c.hidden_act != "silu") refuse("hidden_act", "silu", c.hidden_act);
}

// A layer is full attention every `interval`-th time, or the list says which ones are not.
void add_layer_kinds(const TextConfig& c, GgufMetadata& m) {
  m.emplace_back("qwen35.full_attention_interval", u32(c.full_attention_interval));
  std::vector<bool> recurrent;
  bool regular = true;
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    recurrent.push_back(!c.is_full_attention(i));
    regular &= c.is_full_attention(i) == ((i + 1) % c.full_attention_interval == 0);
  }
  if (!regular) m.emplace_back("qwen35.attention.recurrent_layers", std::move(recurrent));
}

void add_rope(const TextConfig& c, GgufMetadata& m) {
  const auto& r = c.rope_parameters;
  m.emplace_back("qwen35.rope.dimension_count", u32(c.rotary_dim()));
  m.emplace_back("qwen35.rope.dimension_sections",
                 std::vector<std::int32_t>{static_cast<std::int32_t>(r.mrope_section[0]),
                                           static_cast<std::int32_t>(r.mrope_section[1]),
                                           static_cast<std::int32_t>(r.mrope_section[2]), 0});
  m.emplace_back("qwen35.rope.freq_base", f32(r.rope_theta));
  if (r.rope_type != "yarn") return;
  m.emplace_back("qwen35.rope.scaling.type", std::string("yarn"));
  m.emplace_back("qwen35.rope.scaling.factor", f32(r.factor));
  m.emplace_back("qwen35.rope.scaling.original_context_length",
                 u32(r.original_max_position_embeddings));
  m.emplace_back("qwen35.rope.scaling.yarn_beta_fast", f32(r.beta_fast));
  m.emplace_back("qwen35.rope.scaling.yarn_beta_slow", f32(r.beta_slow));
  if (r.attention_factor != 0)
    m.emplace_back("qwen35.rope.scaling.yarn_attn_factor",
                   f32(r.attention_factor / (0.1 * std::log(r.factor) + 1)));
}

void add_sampling(const checkpoint::Checkpoint& checkpoint, GgufMetadata& m) {
  const auto g = checkpoint::read_generation_config(checkpoint.folder(), checkpoint.config());
  if (!g.do_sample) return;
  if (g.top_k > 0) m.emplace_back("general.sampling.top_k", static_cast<std::int32_t>(g.top_k));
  m.emplace_back("general.sampling.top_p", f32(g.top_p));
  m.emplace_back("general.sampling.temp", f32(g.temperature));
}

std::string name_of(const checkpoint::Checkpoint& checkpoint) {
  auto path = std::filesystem::absolute(checkpoint.folder()).lexically_normal();
  if (path.filename().empty()) path = path.parent_path();
  return path.filename().string();
}

}  // namespace

GgufMetadata text_metadata(const checkpoint::Checkpoint& checkpoint, bool mtp,
                           GgmlType most_tensors) {
  require_expressible(checkpoint);
  const TextConfig& c = checkpoint.config().text;
  const std::int64_t mtp_layers = mtp ? c.mtp_num_hidden_layers : 0;
  GgufMetadata m;
  m.emplace_back("general.architecture", std::string("qwen35"));
  m.emplace_back("general.type", std::string("model"));
  m.emplace_back("general.name", name_of(checkpoint));
  add_sampling(checkpoint, m);
  if (most_tensors == GgmlType::q8_0 || most_tensors == GgmlType::q4_0)
    m.emplace_back("general.quantization_version", u32(2));
  m.emplace_back("general.file_type", file_type(most_tensors));
  m.emplace_back("qwen35.block_count", u32(c.num_hidden_layers + mtp_layers));
  m.emplace_back("qwen35.context_length", u32(c.max_position_embeddings));
  m.emplace_back("qwen35.embedding_length", u32(c.hidden_size));
  m.emplace_back("qwen35.feed_forward_length", u32(c.intermediate_size));
  m.emplace_back("qwen35.attention.head_count", u32(c.num_attention_heads));
  m.emplace_back("qwen35.attention.head_count_kv", u32(c.num_key_value_heads));
  m.emplace_back("qwen35.attention.key_length", u32(c.head_dim));
  m.emplace_back("qwen35.attention.value_length", u32(c.head_dim));
  m.emplace_back("qwen35.attention.layer_norm_rms_epsilon", f32(c.rms_norm_eps));
  add_rope(c, m);
  m.emplace_back("qwen35.ssm.conv_kernel", u32(c.linear_conv_kernel_dim));
  m.emplace_back("qwen35.ssm.state_size", u32(c.linear_key_head_dim));
  m.emplace_back("qwen35.ssm.group_count", u32(c.linear_num_key_heads));
  m.emplace_back("qwen35.ssm.time_step_rank", u32(c.linear_num_value_heads));
  m.emplace_back("qwen35.ssm.inner_size", u32(c.value_dim()));
  add_layer_kinds(c, m);
  if (mtp_layers > 0) m.emplace_back("qwen35.nextn_predict_layers", u32(mtp_layers));
  return m;
}

GgufMetadata vision_metadata(const checkpoint::Checkpoint& checkpoint) {
  const auto& config = checkpoint.config();
  OCTET_CHECK(config.vision, "no vision tower");
  const checkpoint::VisionConfig& v = *config.vision;
  const std::filesystem::path path = checkpoint.folder() / "preprocessor_config.json";
  const json::value file = read_json(path);
  const auto three = [&](const char* key) {
    std::vector<float> values;
    const json::value* list = file.is_object() ? file.get_object().if_contains(key) : nullptr;
    if (list && list->is_array())
      for (const json::value& x : list->get_array())
        if (x.is_number()) values.push_back(x.to_number<float>());
    if (values.size() != 3)
      fail(ErrorCode::bad_data, "{}: {}: expected three numbers, found {}", path.string(), key,
           list ? to_json(*list) : "nothing");
    return values;
  };
  const auto side = std::llround(std::sqrt(static_cast<double>(v.num_position_embeddings)));
  GgufMetadata m;
  m.emplace_back("general.architecture", std::string("clip"));
  m.emplace_back("general.type", std::string("mmproj"));
  m.emplace_back("general.name", name_of(checkpoint));
  m.emplace_back("general.file_type", file_type(GgmlType::bf16));
  m.emplace_back("clip.has_vision_encoder", true);
  m.emplace_back("clip.projector_type", std::string("qwen3vl_merger"));
  m.emplace_back("clip.use_gelu", true);
  m.emplace_back("clip.vision.projection_dim", u32(config.text.hidden_size));
  m.emplace_back("clip.vision.image_size", u32(side * v.patch_size));
  m.emplace_back("clip.vision.patch_size", u32(v.patch_size));
  m.emplace_back("clip.vision.embedding_length", u32(v.hidden_size));
  m.emplace_back("clip.vision.feed_forward_length", u32(v.intermediate_size));
  m.emplace_back("clip.vision.block_count", u32(v.depth));
  m.emplace_back("clip.vision.attention.head_count", u32(v.num_heads));
  m.emplace_back("clip.vision.attention.layer_norm_epsilon", f32(config.text.rms_norm_eps));
  m.emplace_back("clip.vision.spatial_merge_size", u32(v.spatial_merge_size));
  m.emplace_back("clip.vision.image_mean", three("image_mean"));
  m.emplace_back("clip.vision.image_std", three("image_std"));
  m.emplace_back("clip.vision.is_deepstack_layers",
                 std::vector<bool>(static_cast<std::size_t>(v.depth), false));
  return m;
}

}  // namespace octet::exporter
