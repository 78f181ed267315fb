#include "model/weights.h"

#include <cstring>

namespace octet::model {

ops::LinearPart dense_part(const checkpoint::TensorInfo& t) {
  return {
      .out_features = t.shape[0], .in_features = t.shape[1], .dense = {t.bytes.data(), t.dtype}};
}

ModuleWeight gptq_weight(const checkpoint::GptqLinear& l) {
  ModuleWeight m;
  m.part = {.out_features = l.out_features, .in_features = l.in_features, .quantized = true};
  ops::QuantizedWeight& q = m.part.codes;
  q.group_size = l.group_size;
  q.scales = checkpoint::gptq_scales(l);
  q.zeros = checkpoint::gptq_zeros(l);
  q.group_index = checkpoint::gptq_group_index(l);
  if (checkpoint::gptq_codes_are_direct(l)) {
    q.codes = l.qweight.bytes.data();
  } else {
    m.storage = checkpoint::gptq_codes(l);
    q.codes = m.storage.data();
  }
  return m;
}

ModuleLoader checkpoint_loader(const checkpoint::Checkpoint& checkpoint) {
  return [&checkpoint](const std::string& module, std::int64_t out, std::int64_t in) {
    const auto tensors = checkpoint.linear(module, out, in);
    if (const auto* dense = std::get_if<checkpoint::TensorInfo>(&tensors))
      return ModuleWeight{.part = dense_part(*dense)};
    return gptq_weight(std::get<checkpoint::GptqLinear>(tensors));
  };
}

std::string layer_prefix(std::int64_t layer) {
  return fmt::format("model.language_model.layers.{}.", layer);
}

std::vector<std::vector<LinearModule>> quantized_modules(const checkpoint::TextConfig& c,
                                                         std::int64_t layer) {
  std::vector<std::vector<LinearModule>> groups;
  if (c.is_full_attention(layer)) {
    const std::int64_t q = c.num_attention_heads * c.head_dim,
                       kv = c.num_key_value_heads * c.head_dim;
    groups.push_back({{"self_attn.q_proj", 2 * q, c.hidden_size},
                      {"self_attn.k_proj", kv, c.hidden_size},
                      {"self_attn.v_proj", kv, c.hidden_size}});
    groups.push_back({{"self_attn.o_proj", c.hidden_size, q}});
  } else {
    groups.push_back({{"linear_attn.in_proj_qkv", c.conv_dim(), c.hidden_size},
                      {"linear_attn.in_proj_z", c.value_dim(), c.hidden_size}});
    groups.push_back({{"linear_attn.out_proj", c.hidden_size, c.value_dim()}});
  }
  groups.push_back({{"mlp.gate_proj", c.intermediate_size, c.hidden_size},
                    {"mlp.up_proj", c.intermediate_size, c.hidden_size}});
  groups.push_back({{"mlp.down_proj", c.hidden_size, c.intermediate_size}});
  return groups;
}

Tensor load_f32(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                const std::string& name, const Shape& shape) {
  const auto t = checkpoint.get(name, shape);
  // As one row of a matrix: dequantize() knows every dtype and unaligned bytes.
  const std::int64_t n = num_elements(shape);
  const auto values = ops::dequantize(
      {.out_features = 1, .in_features = n, .dense = {t.bytes.data(), t.dtype}}, {0, 1}, {0, n});
  Tensor tensor = backend.allocate(DType::f32, shape);
  backend.upload(std::as_bytes(std::span(values)), tensor);
  return tensor;
}

namespace {

// conv1d.weight [channels, 1, kernel] as [kernel, channels].
Tensor load_conv(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                 const std::string& name, std::int64_t channels, std::int64_t kernel) {
  const auto t = checkpoint.get(name, {channels, 1, kernel});
  const auto rows = ops::dequantize(
      {.out_features = channels, .in_features = kernel, .dense = {t.bytes.data(), t.dtype}},
      {0, channels}, {0, kernel});
  std::vector<float> columns(rows.size());
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t k = 0; k < kernel; ++k)
      columns[static_cast<std::size_t>(k * channels + c)] =
          rows[static_cast<std::size_t>(c * kernel + k)];
  Tensor tensor = backend.allocate(DType::f32, {kernel, channels});
  backend.upload(std::as_bytes(std::span(columns)), tensor);
  return tensor;
}

// Modules of one input, packed side by side.
std::unique_ptr<ops::PackedLinear> pack(ops::Backend& backend, const ModuleLoader& load,
                                        const std::string& prefix,
                                        const std::vector<LinearModule>& modules, ops::Split split,
                                        WeightCache* cache) {
  const auto now = [&] {
    std::vector<ModuleWeight> weights;
    std::vector<ops::LinearPart> parts;
    for (const LinearModule& m : modules)
      weights.push_back(load(prefix + m.name, m.out_features, m.in_features));
    for (ModuleWeight& w : weights) parts.push_back(std::move(w.part));
    return backend.pack_linear(parts, {.split = split});
  };
  if (!cache) return now();
  std::int64_t out = 0;
  for (const LinearModule& m : modules) out += m.out_features;
  return cache->linear(prefix + modules[0].name, modules[0].in_features, out, now);
}

}  // namespace

void load_linears(ops::Backend& backend, const checkpoint::TextConfig& c, const ModuleLoader& load,
                  std::int64_t layer, std::size_t group, LayerWeights& w, WeightCache* cache) {
  const std::string p = layer_prefix(layer);
  auto modules = quantized_modules(c, layer)[group];
  // What reads the layer's input gives complete outputs on a rank; what reads those is summed.
  const auto split = group == 1 || group == 3 ? ops::Split::columns : ops::Split::rows;
  const bool full = c.is_full_attention(layer);
  if (group == 0 && !full) {
    modules.push_back({"linear_attn.in_proj_b", c.linear_num_value_heads, c.hidden_size});
    modules.push_back({"linear_attn.in_proj_a", c.linear_num_value_heads, c.hidden_size});
  }
  auto packed = pack(backend, load, p, modules, split, cache);
  switch (group) {
    case 0:
      (full ? w.self_attn->qkv : w.linear_attn->in_proj) = std::move(packed);
      break;
    case 1:
      (full ? w.self_attn->o_proj : w.linear_attn->out_proj) = std::move(packed);
      break;
    case 2:
      w.gate_up = std::move(packed);
      break;
    default:
      w.down_proj = std::move(packed);
  }
}

LayerWeights load_layer(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
                        const ModuleLoader& load, std::int64_t layer, WeightCache* cache) {
  const checkpoint::TextConfig& c = checkpoint.config().text;
  const std::string p = layer_prefix(layer);
  const auto norm = [&](const char* name, std::int64_t n) {
    return load_f32(backend, checkpoint, p + name, {n});
  };
  LayerWeights w;
  w.input_layernorm = norm("input_layernorm.weight", c.hidden_size);
  w.post_attention_layernorm = norm("post_attention_layernorm.weight", c.hidden_size);
  if (c.is_full_attention(layer)) {
    w.self_attn = std::make_unique<AttentionWeights>();
    w.self_attn->q_norm = norm("self_attn.q_norm.weight", c.head_dim);
    w.self_attn->k_norm = norm("self_attn.k_norm.weight", c.head_dim);
  } else {
    w.linear_attn = std::make_unique<LinearAttentionWeights>();
    w.linear_attn->conv1d = load_conv(backend, checkpoint, p + "linear_attn.conv1d.weight",
                                      c.conv_dim(), c.linear_conv_kernel_dim);
    w.linear_attn->dt_bias = norm("linear_attn.dt_bias", c.linear_num_value_heads);
    w.linear_attn->A_log = norm("linear_attn.A_log", c.linear_num_value_heads);
    w.linear_attn->norm = norm("linear_attn.norm.weight", c.linear_value_head_dim);
  }
  for (std::size_t group = 0; group < 4; ++group)
    load_linears(backend, c, load, layer, group, w, cache);
  return w;
}

}  // namespace octet::model
