#include "checkpoint/expected_tensors.h"

#include <fmt/format.h>

namespace octet::checkpoint {

namespace {

class List {
 public:
  List(std::vector<ExpectedTensor>& tensors, TensorClass part) : tensors_(tensors), part_(part) {}
  void add(const std::string& name, Shape shape) {
    tensors_.push_back({name, std::move(shape), part_, false});
  }
  // Linears of the decoder may be quantized; those of the MTP head are kept in 16 bits.
  void linear(const std::string& module, std::int64_t out, std::int64_t in) {
    tensors_.push_back({module + ".weight", {out, in}, part_, part_ == TensorClass::text});
  }

 private:
  std::vector<ExpectedTensor>& tensors_;
  TensorClass part_;
};

void add_mlp_and_norms(List& list, const std::string& p, const TextConfig& c) {
  list.add(p + "input_layernorm.weight", {c.hidden_size});
  list.add(p + "post_attention_layernorm.weight", {c.hidden_size});
  list.linear(p + "mlp.gate_proj", c.intermediate_size, c.hidden_size);
  list.linear(p + "mlp.up_proj", c.intermediate_size, c.hidden_size);
  list.linear(p + "mlp.down_proj", c.hidden_size, c.intermediate_size);
}

void add_attention(List& list, const std::string& p, const TextConfig& c) {
  const std::int64_t kv = c.num_key_value_heads * c.head_dim;
  list.linear(p + "self_attn.q_proj", 2 * c.num_attention_heads * c.head_dim, c.hidden_size);
  list.linear(p + "self_attn.k_proj", kv, c.hidden_size);
  list.linear(p + "self_attn.v_proj", kv, c.hidden_size);
  list.linear(p + "self_attn.o_proj", c.hidden_size, c.num_attention_heads * c.head_dim);
  list.add(p + "self_attn.q_norm.weight", {c.head_dim});
  list.add(p + "self_attn.k_norm.weight", {c.head_dim});
}

void add_linear_attention(List& list, const std::string& p, const TextConfig& c) {
  const std::int64_t heads = c.linear_num_value_heads;
  list.linear(p + "linear_attn.in_proj_qkv", c.conv_dim(), c.hidden_size);
  list.linear(p + "linear_attn.in_proj_z", c.value_dim(), c.hidden_size);
  list.add(p + "linear_attn.in_proj_b.weight", {heads, c.hidden_size});
  list.add(p + "linear_attn.in_proj_a.weight", {heads, c.hidden_size});
  list.add(p + "linear_attn.conv1d.weight", {c.conv_dim(), 1, c.linear_conv_kernel_dim});
  list.add(p + "linear_attn.dt_bias", {heads});
  list.add(p + "linear_attn.A_log", {heads});
  list.add(p + "linear_attn.norm.weight", {c.linear_value_head_dim});
  list.linear(p + "linear_attn.out_proj", c.hidden_size, c.value_dim());
}

void add_vision(List& list, const VisionConfig& v) {
  const std::string root = "model.visual.";
  const auto affine = [&](const std::string& name, const Shape& weight) {
    list.add(name + ".weight", weight);
    list.add(name + ".bias", {weight[0]});
  };
  affine(root + "patch_embed.proj",
         {v.hidden_size, v.in_channels, v.temporal_patch_size, v.patch_size, v.patch_size});
  list.add(root + "pos_embed.weight", {v.num_position_embeddings, v.hidden_size});
  for (std::int64_t i = 0; i < v.depth; ++i) {
    const std::string p = fmt::format("{}blocks.{}.", root, i);
    affine(p + "norm1", {v.hidden_size});
    affine(p + "norm2", {v.hidden_size});
    affine(p + "attn.qkv", {3 * v.hidden_size, v.hidden_size});
    affine(p + "attn.proj", {v.hidden_size, v.hidden_size});
    affine(p + "mlp.linear_fc1", {v.intermediate_size, v.hidden_size});
    affine(p + "mlp.linear_fc2", {v.hidden_size, v.intermediate_size});
  }
  const std::int64_t merged = v.hidden_size * v.spatial_merge_size * v.spatial_merge_size;
  affine(root + "merger.norm", {v.hidden_size});
  affine(root + "merger.linear_fc1", {merged, merged});
  affine(root + "merger.linear_fc2", {v.out_hidden_size, merged});
}

void add_mtp(List& list, const TextConfig& c) {
  list.add("mtp.fc.weight", {c.hidden_size, 2 * c.hidden_size});
  list.add("mtp.pre_fc_norm_embedding.weight", {c.hidden_size});
  list.add("mtp.pre_fc_norm_hidden.weight", {c.hidden_size});
  list.add("mtp.norm.weight", {c.hidden_size});
  for (std::int64_t i = 0; i < c.mtp_num_hidden_layers; ++i) {
    const std::string p = fmt::format("mtp.layers.{}.", i);
    add_mlp_and_norms(list, p, c);
    add_attention(list, p, c);
  }
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config) {
  std::vector<ExpectedTensor> tensors;
  const TextConfig& c = config.text;
  List text(tensors, TensorClass::text);
  text.add("model.language_model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string p = fmt::format("model.language_model.layers.{}.", i);
    add_mlp_and_norms(text, p, c);
    if (c.is_full_attention(i))
      add_attention(text, p, c);
    else
      add_linear_attention(text, p, c);
  }
  text.add("model.language_model.norm.weight", {c.hidden_size});
  if (!c.tie_word_embeddings) text.add("lm_head.weight", {c.vocab_size, c.hidden_size});
  if (config.vision) {
    List vision(tensors, TensorClass::vision);
    add_vision(vision, *config.vision);
  }
  if (c.mtp_num_hidden_layers > 0) {
    List mtp(tensors, TensorClass::mtp);
    add_mtp(mtp, c);
  }
  return tensors;
}

}  // namespace octet::checkpoint
