#include "checkpoint/synthetic_checkpoint.h"

#include <cmath>

#include "checkpoint/expected_tensors.h"
#include "checkpoint/safetensors_writer.h"
#include "runtime/base/output_file.h"

namespace octet::checkpoint {

namespace {

json::object config_json(const TextConfig& c) {
  json::array types;
  for (const LayerType t : c.layer_types)
    types.push_back(t == LayerType::full_attention ? "full_attention" : "linear_attention");
  const RopeParameters& rope = c.rope_parameters;
  const json::object text{
      {"model_type", "qwen3_5_text"},
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.hidden_size},
      {"intermediate_size", c.intermediate_size},
      {"num_hidden_layers", c.num_hidden_layers},
      {"num_attention_heads", c.num_attention_heads},
      {"num_key_value_heads", c.num_key_value_heads},
      {"head_dim", c.head_dim},
      {"max_position_embeddings", c.max_position_embeddings},
      {"linear_conv_kernel_dim", c.linear_conv_kernel_dim},
      {"linear_key_head_dim", c.linear_key_head_dim},
      {"linear_value_head_dim", c.linear_value_head_dim},
      {"linear_num_key_heads", c.linear_num_key_heads},
      {"linear_num_value_heads", c.linear_num_value_heads},
      {"rms_norm_eps", c.rms_norm_eps},
      {"hidden_act", c.hidden_act},
      {"dtype", "bfloat16"},
      {"layer_types", std::move(types)},
      {"tie_word_embeddings", false},
      {"rope_parameters",
       {{"rope_type", "default"},
        {"rope_theta", rope.rope_theta},
        {"partial_rotary_factor", rope.partial_rotary_factor},
        {"mrope_section", json::array(rope.mrope_section.begin(), rope.mrope_section.end())}}}};
  return {{"architectures", {"Qwen3_5ForConditionalGeneration"}},
          {"model_type", "qwen3_5"},
          {"tie_word_embeddings", false},
          {"text_config", text}};
}

// Sums of random bytes are near enough to normal, and fast.
class Random {
 public:
  float next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    int sum = 0;
    for (int i = 0; i < 8; ++i) sum += static_cast<int>(state_ >> (8 * i) & 255);
    return static_cast<float>(sum - 1020) / 209.0f;  // eight bytes: deviation 73.9 * sqrt(8)
  }

 private:
  std::uint64_t state_ = 0x9e3779b97f4a7c15u;
};

}  // namespace

void write_synthetic_checkpoint(const TextConfig& config, const std::filesystem::path& folder) {
  const auto tensors =
      expected_tensors({.architecture = "Qwen3_5ForConditionalGeneration", .text = config});
  std::vector<TensorPlan> plan;
  for (const auto& t : tensors) plan.push_back({t.name, DType::bf16, t.shape});
  ShardWriter writer(folder, plan, 4'000'000'000);
  Random random;
  std::vector<std::uint16_t> values;
  for (const TensorPlan& t : plan) {
    values.resize(static_cast<std::size_t>(num_elements(t.shape)));
    // Norms, biases and A_log are small numbers around zero; matrices by their inputs.
    const float scale =
        t.shape.size() < 2 ? 0.1f : 1.0f / std::sqrt(static_cast<float>(t.shape.back()));
    for (auto& v : values) v = float_to_bf16(scale * random.next());
    writer.add(t.name, std::as_bytes(std::span(values)));
  }
  writer.finish();
  write_file(folder / "config.json", to_json(config_json(config), 2) + "\n");
}

}  // namespace octet::checkpoint
