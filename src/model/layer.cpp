#include "model/layer.h"

#include <algorithm>

namespace octet::model {

namespace {

std::int64_t attention_columns(const checkpoint::TextConfig& c) {
  return 2 * (c.num_attention_heads + c.num_key_value_heads) * c.head_dim;
}

std::int64_t delta_net_columns(const checkpoint::TextConfig& c) {
  return c.conv_dim() + c.value_dim() + 2 * c.linear_num_value_heads;
}

std::int64_t projected_columns(const checkpoint::TextConfig& c) {
  return std::max(attention_columns(c), delta_net_columns(c));
}

std::int64_t mixed_columns(const checkpoint::TextConfig& c) {
  return std::max(c.conv_dim(), c.num_attention_heads * c.head_dim);
}

std::int64_t core_columns(const checkpoint::TextConfig& c) {
  return std::max(c.value_dim(), c.num_attention_heads * c.head_dim);
}

// The first `rows` rows of a workspace tensor as [rows, width]; its block may be wider.
TensorView part(const Tensor& block, std::int64_t rows, std::int64_t width) {
  return {block.view().data(), DType::f32, {rows, width}, block.view().device()};
}

}  // namespace

std::size_t LayerWeights::bytes() const {
  std::size_t n = gate_up->bytes() + down_proj->bytes();
  if (self_attn) n += self_attn->qkv->bytes() + self_attn->o_proj->bytes();
  if (linear_attn) n += linear_attn->in_proj->bytes() + linear_attn->out_proj->bytes();
  return n;
}

LayerWorkspace::LayerWorkspace(ops::Backend& backend, const checkpoint::TextConfig& c)
    : backend_(backend),
      projected_width_(projected_columns(c)),
      mixed_width_(mixed_columns(c)),
      core_width_(core_columns(c)),
      intermediate_size_(c.intermediate_size),
      hidden_size_(c.hidden_size) {}

std::size_t LayerWorkspace::bytes(const checkpoint::TextConfig& c, std::int64_t rows) {
  return static_cast<std::size_t>(rows *
                                  (projected_columns(c) + mixed_columns(c) + core_columns(c) +
                                   3 * c.intermediate_size + 2 * c.hidden_size)) *
         sizeof(float);
}

void LayerWorkspace::reserve(std::int64_t rows) {
  if (rows <= rows_) return;
  const auto make = [&](std::int64_t width) {
    return backend_.allocate(DType::f32, {rows, width});
  };
  projected_ = make(projected_width_);
  mixed_ = make(mixed_width_);
  core_ = make(core_width_);
  gate_up_ = make(2 * intermediate_size_);
  act_ = make(intermediate_size_);
  normed_ = make(hidden_size_);
  delta_ = make(hidden_size_);
  rows_ = rows;
}

TensorView LayerStep::mixer_input(TensorView x) {
  const TensorView normed = part(s_.normed_, x.dim(0), x.dim(1));
  c_.backend.rms_norm(x, w_.input_layernorm, static_cast<float>(c_.config.rms_norm_eps), normed);
  return normed;
}

TensorView LayerStep::mixer(TensorView normed) {
  return w_.self_attn ? attention(normed) : delta_net(normed);
}

TensorView LayerStep::attention(TensorView normed) {
  const auto& config = c_.config;
  const ops::AttentionShape shape{.num_heads = config.num_attention_heads,
                                  .num_kv_heads = config.num_key_value_heads,
                                  .head_dim = config.head_dim,
                                  .rotary_dim = config.rotary_dim(),
                                  .rms_norm_eps = static_cast<float>(config.rms_norm_eps)};
  const std::int64_t rows = normed.dim(0), width = shape.num_heads * shape.head_dim;
  const TensorView projected = part(s_.projected_, rows, shape.columns());
  const TensorView query = part(s_.mixed_, rows, width), core = part(s_.core_, rows, width);
  c_.backend.linear(normed, *w_.self_attn->qkv, projected);
  c_.backend.attention_inputs(shape, projected, w_.self_attn->q_norm, w_.self_attn->k_norm,
                              c_.cos_sin, c_.batch, c_.kv, cache_layer_, query);
  c_.backend.attention(shape, query, projected, c_.batch, c_.kv, cache_layer_, core);
  return core;
}

TensorView LayerStep::delta_net(TensorView normed) {
  const auto& config = c_.config;
  const LinearAttentionWeights& w = *w_.linear_attn;
  const std::int64_t rows = normed.dim(0), heads = config.linear_num_value_heads;
  const std::int64_t conv_dim = config.conv_dim(), value_dim = config.value_dim();
  const TensorView projected = part(s_.projected_, rows, delta_net_columns(config));
  const TensorView mixed = part(s_.mixed_, rows, conv_dim), core = part(s_.core_, rows, value_dim);
  c_.backend.linear(normed, *w.in_proj, projected);
  c_.backend.causal_conv1d({projected, 0, conv_dim}, w.conv1d, c_.batch, c_.states, cache_layer_,
                           mixed);
  const std::int64_t b = conv_dim + value_dim;
  c_.backend.gated_delta_rule(
      {mixed, {projected, b, heads}, {projected, b + heads, heads}, w.A_log, w.dt_bias}, c_.batch,
      c_.states, cache_layer_, core);
  c_.backend.gated_rms_norm(core, {projected, conv_dim, value_dim}, w.norm,
                            static_cast<float>(config.rms_norm_eps),
                            config.output_gate_type == "sigmoid" ? ops::GateActivation::sigmoid
                                                                 : ops::GateActivation::silu,
                            core);
  return core;
}

void LayerStep::mixer_output(TensorView core, TensorView x) {
  const TensorView delta = part(s_.delta_, x.dim(0), x.dim(1));
  c_.backend.linear(core, w_.self_attn ? *w_.self_attn->o_proj : *w_.linear_attn->out_proj, delta);
  c_.backend.add(x, delta);
}

TensorView LayerStep::mlp_input(TensorView x) {
  const TensorView normed = part(s_.normed_, x.dim(0), x.dim(1));
  c_.backend.rms_norm(x, w_.post_attention_layernorm, static_cast<float>(c_.config.rms_norm_eps),
                      normed);
  return normed;
}

TensorView LayerStep::mlp(TensorView normed) {
  const std::int64_t rows = normed.dim(0), width = c_.config.intermediate_size;
  const TensorView gate_up = part(s_.gate_up_, rows, 2 * width), act = part(s_.act_, rows, width);
  c_.backend.linear(normed, *w_.gate_up, gate_up);
  c_.backend.silu_mul(gate_up, act);
  return act;
}

void LayerStep::mlp_output(TensorView act, TensorView x) {
  const TensorView delta = part(s_.delta_, x.dim(0), x.dim(1));
  c_.backend.linear(act, *w_.down_proj, delta);
  c_.backend.add(x, delta);
}

void LayerStep::run(TensorView x) {
  mixer_output(mixer(mixer_input(x)), x);
  mlp_output(mlp(mlp_input(x)), x);
}

}  // namespace octet::model
