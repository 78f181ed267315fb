#include "export/gguf_tensors.h"

#include <algorithm>

namespace octet::exporter {

namespace {

using checkpoint::ExpectedTensor;
using checkpoint::GgmlType;
using checkpoint::TextConfig;

// Names inside a layer.
constexpr Rename kLayerNames[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"linear_attn.in_proj_qkv.weight", "attn_qkv.weight"},
    {"linear_attn.in_proj_z.weight", "attn_gate.weight"},
    {"linear_attn.in_proj_b.weight", "ssm_beta.weight"},
    {"linear_attn.in_proj_a.weight", "ssm_alpha.weight"},
    {"linear_attn.conv1d.weight", "ssm_conv1d.weight"},
    {"linear_attn.dt_bias", "ssm_dt.bias"},
    {"linear_attn.A_log", "ssm_a"},
    {"linear_attn.norm.weight", "ssm_norm.weight"},
    {"linear_attn.out_proj.weight", "ssm_out.weight"},
};
constexpr Rename kMtpNames[] = {
    {"mtp.fc.weight", "nextn.eh_proj.weight"},
    {"mtp.pre_fc_norm_embedding.weight", "nextn.enorm.weight"},
    {"mtp.pre_fc_norm_hidden.weight", "nextn.hnorm.weight"},
    {"mtp.norm.weight", "nextn.shared_head_norm.weight"},
};
constexpr Rename kOuterNames[] = {
    {"model.language_model.embed_tokens.weight", "token_embd.weight"},
    {"model.language_model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

std::string renamed(std::span<const Rename> names, const std::string& name) {
  const auto it = std::ranges::find_if(names, [&](const Rename& r) { return name == r.from; });
  OCTET_CHECK(it != names.end(), "no GGUF name for {}", name);
  return it->to;
}

// "model.language_model.layers.7.mlp.up_proj.weight" -> 7 and the rest.
std::pair<std::int64_t, std::string> split_layer(const std::string& name, std::size_t prefix) {
  const std::size_t dot = name.find('.', prefix);
  return {std::stoll(name.substr(prefix, dot - prefix)), name.substr(dot + 1)};
}

std::string gguf_name(const std::string& name, const TextConfig& c) {
  constexpr std::string_view kLayers = "model.language_model.layers.", kMtp = "mtp.layers.";
  if (name.starts_with(kLayers)) {
    const auto [layer, rest] = split_layer(name, kLayers.size());
    return fmt::format("blk.{}.{}", layer, renamed(kLayerNames, rest));
  }
  if (name.starts_with(kMtp)) {
    const auto [layer, rest] = split_layer(name, kMtp.size());
    return fmt::format("blk.{}.{}", c.num_hidden_layers + layer, renamed(kLayerNames, rest));
  }
  if (name.starts_with("mtp."))
    return fmt::format("blk.{}.{}", c.num_hidden_layers, renamed(kMtpNames, name));
  return renamed(kOuterNames, name);
}

// Value heads lie grouped by key head in the checkpoint; llama.cpp repeats the key heads as a
// whole, so there value head h belongs to key head h mod (number of key heads).
std::vector<std::int64_t> tiled_heads(const TextConfig& c) {
  const std::int64_t keys = c.linear_num_key_heads, shared = c.linear_num_value_heads / keys;
  std::vector<std::int64_t> order;
  if (shared == 1) return order;
  for (std::int64_t r = 0; r < shared; ++r)
    for (std::int64_t k = 0; k < keys; ++k) order.push_back(k * shared + r);
  return order;
}

// Rows of heads of `width` after `before` rows that stay.
std::vector<std::int64_t> head_rows(const std::vector<std::int64_t>& heads, std::int64_t width,
                                    std::int64_t before) {
  std::vector<std::int64_t> rows;
  if (heads.empty()) return rows;
  for (std::int64_t i = 0; i < before; ++i) rows.push_back(i);
  for (const std::int64_t head : heads)
    for (std::int64_t i = 0; i < width; ++i) rows.push_back(before + head * width + i);
  return rows;
}

void order_heads(SourceTensor& t, const std::string& name, const TextConfig& c) {
  const auto heads = tiled_heads(c);
  const std::int64_t width = c.linear_value_head_dim;
  const auto ends = [&](const char* end) { return name.ends_with(end); };
  if (ends("linear_attn.in_proj_qkv.weight") || ends("linear_attn.conv1d.weight")) {
    t.rows = head_rows(heads, width, 2 * c.key_dim());
  } else if (ends("linear_attn.in_proj_z.weight")) {
    t.rows = head_rows(heads, width, 0);
  } else if (ends("linear_attn.in_proj_a.weight") || ends("linear_attn.in_proj_b.weight")) {
    t.rows = heads;
  } else if (ends("linear_attn.dt_bias") || ends("linear_attn.A_log")) {
    t.columns = heads;  // a vector is one row
  } else if (ends("linear_attn.out_proj.weight")) {
    t.columns = heads;
    t.column_block = width;
  }
}

bool is_norm(const std::string& name) {
  return name.find("norm") != std::string::npos && name.ends_with(".weight");
}

GgmlType dense_type(const checkpoint::TensorInfo& t) {
  switch (t.dtype) {
    case DType::bf16:
      return GgmlType::bf16;
    case DType::f16:
      return GgmlType::f16;
    case DType::f32:
      return GgmlType::f32;
    default:
      fail(ErrorCode::bad_data, "tensor {}: {} has no counterpart in GGUF", t.name,
           to_string(t.dtype));
  }
}

}  // namespace

GgmlType exact_type(const checkpoint::LinearTensors& tensors) {
  if (const auto* dense = std::get_if<checkpoint::TensorInfo>(&tensors)) return dense_type(*dense);
  const auto& l = std::get<checkpoint::GptqLinear>(tensors);
  const auto scales = checkpoint::gptq_scales(l);
  const auto zeros = checkpoint::gptq_zeros(l);
  const bool plain =
      checkpoint::gptq_group_index(l).empty() && l.group_size % 32 == 0 &&
      std::ranges::all_of(scales, [](float s) { return f16_to_float(float_to_f16(s)) == s; });
  if (!plain) return GgmlType::f32;
  if (l.bits == 4 && std::ranges::all_of(zeros, [](std::uint8_t z) { return z == 8; }))
    return GgmlType::q4_0;
  // Every code minus its zero point must be an int8.
  const std::int64_t top = (std::int64_t{1} << l.bits) - 1;
  const bool fits =
      std::ranges::all_of(zeros, [&](std::uint8_t z) { return z <= 128 && top - z <= 127; });
  return fits ? GgmlType::q8_0 : GgmlType::f32;
}

std::vector<SourceTensor> text_tensors(const checkpoint::Checkpoint& checkpoint, bool mtp) {
  const TextConfig& c = checkpoint.config().text;
  std::vector<SourceTensor> tensors;
  for (const ExpectedTensor& e : checkpoint::expected_tensors(checkpoint.config())) {
    if (e.part == checkpoint::TensorClass::vision) continue;
    if (e.part == checkpoint::TensorClass::mtp && !mtp) continue;
    SourceTensor t;
    t.name = e.name;
    t.linear = e.quantizable;
    t.shape = e.shape;
    t.target.name = gguf_name(e.name, c);
    t.target.shape = e.shape;
    order_heads(t, e.name, c);
    if (is_norm(e.name) && !e.name.ends_with("linear_attn.norm.weight"))
      t.transform = Transform::plus_one;
    if (e.name.ends_with("A_log")) t.transform = Transform::minus_exp;
    if (e.shape.size() == 3) t.target.shape = {e.shape[0], e.shape[2]};
    if (e.quantizable) {
      t.name.resize(t.name.size() - std::string_view(".weight").size());
      t.target.type = exact_type(checkpoint.linear(t.name, e.shape[0], e.shape[1]));
      // Columns that move in stretches that cut blocks leave no exact block.
      const bool blocks = t.target.type == GgmlType::q8_0 || t.target.type == GgmlType::q4_0;
      if (blocks && !t.columns.empty() && t.column_block % 32 != 0) t.target.type = GgmlType::f32;
    } else if (e.shape.size() == 2) {
      t.target.type = dense_type(checkpoint.get(e.name, e.shape));
    }
    tensors.push_back(std::move(t));
  }
  return tensors;
}

}  // namespace octet::exporter
