#pragma once

#include <memory>

#include "checkpoint/config.h"
#include "runtime/ops/backend.h"

namespace octet::model {

/// Weights of a full-attention mixer, packed for a backend. Norms are float32 [head_dim].
struct AttentionWeights {
  std::unique_ptr<ops::PackedLinear> qkv;  ///< q_proj (query | gate by head), k_proj, v_proj
  std::unique_ptr<ops::PackedLinear> o_proj;
  Tensor q_norm, k_norm;
};

/// Weights of a Gated DeltaNet mixer.
struct LinearAttentionWeights {
  std::unique_ptr<ops::PackedLinear> in_proj;  ///< in_proj_qkv, in_proj_z, in_proj_b, in_proj_a
  std::unique_ptr<ops::PackedLinear> out_proj;
  Tensor conv1d;   ///< [kernel, conv_dim] f32, oldest tap first
  Tensor dt_bias;  ///< [value_heads] f32
  Tensor A_log;    ///< [value_heads] f32
  Tensor norm;     ///< [value_head_dim] f32
};

/// Weights of a decoder layer; one of the two mixers is set.
struct LayerWeights {
  Tensor input_layernorm, post_attention_layernorm;  ///< [hidden_size] f32
  std::unique_ptr<AttentionWeights> self_attn;
  std::unique_ptr<LinearAttentionWeights> linear_attn;
  std::unique_ptr<ops::PackedLinear> gate_up;  ///< gate_proj, up_proj
  std::unique_ptr<ops::PackedLinear> down_proj;
  /// What one pass over the layer's linears reads.
  std::size_t bytes() const;
};

/// Intermediate tensors of a layer, for at most the rows they were made for.
class LayerWorkspace {
 public:
  LayerWorkspace(ops::Backend& backend, const checkpoint::TextConfig& config);
  /// Makes room for steps of `rows` rows.
  void reserve(std::int64_t rows);
  /// What that takes.
  static std::size_t bytes(const checkpoint::TextConfig& config, std::int64_t rows);

 private:
  friend class LayerStep;
  ops::Backend& backend_;
  std::int64_t projected_width_, mixed_width_, core_width_, intermediate_size_, hidden_size_;
  std::int64_t rows_ = 0;
  Tensor projected_, mixed_, core_, gate_up_, delta_, normed_, act_;
};

/// What all layers of a step share.
struct StepContext {
  ops::Backend& backend;
  const checkpoint::TextConfig& config;
  const ops::RaggedBatch& batch;
  TensorView cos_sin;  ///< [rows, rotary_dim]
  ops::KvCache& kv;
  ops::StateCache& states;
};

/// One decoder layer over the rows of a step, cut at the inputs of its linears, so that the
/// quantizer can stop at each of them with the same code that serves. docs/model.md §3.
///
/// x [rows, hidden_size] is the residual stream. Reading order:
///   normed = mixer_input(x)        -> input of q, k, v or in_proj_*
///   core   = mixer(normed)         -> input of o_proj or out_proj
///   x     += mixer_output(core)
///   normed = mlp_input(x)          -> input of gate_proj, up_proj
///   act    = mlp(normed)           -> input of down_proj
///   x     += mlp_output(act)
/// Tensors returned lie in the workspace and hold until the same function is called again.
class LayerStep {
 public:
  /// cache_layer: the layer's number among those of its kind in the caches.
  LayerStep(const StepContext& context, const LayerWeights& weights, LayerWorkspace& workspace,
            std::int64_t cache_layer)
      : c_(context), w_(weights), s_(workspace), cache_layer_(cache_layer) {}

  TensorView mixer_input(TensorView x);
  TensorView mixer(TensorView normed);
  void mixer_output(TensorView core, TensorView x);
  TensorView mlp_input(TensorView x);
  TensorView mlp(TensorView normed);
  void mlp_output(TensorView act, TensorView x);

  /// All of it: x becomes the layer's output.
  void run(TensorView x);

 private:
  TensorView attention(TensorView normed);
  TensorView delta_net(TensorView normed);
  const StepContext& c_;
  const LayerWeights& w_;
  LayerWorkspace& s_;
  std::int64_t cache_layer_;
};

}  // namespace octet::model
