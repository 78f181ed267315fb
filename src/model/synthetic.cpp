#include "model/synthetic.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

namespace octet::model {

namespace {

struct PublishedSize {
  const char* name;
  std::int64_t hidden, intermediate, layers, heads, kv_heads, key_heads, value_heads;
};
// docs/model.md §1.4.
constexpr PublishedSize kSizes[] = {{"0.8b", 1024, 3584, 24, 8, 2, 16, 16},
                                    {"2b", 2048, 6144, 24, 8, 2, 16, 16},
                                    {"4b", 2560, 9216, 32, 16, 4, 16, 32},
                                    {"9b", 4096, 12288, 32, 16, 4, 16, 32},
                                    {"27b", 5120, 17408, 64, 24, 4, 16, 48}};

std::optional<std::int64_t> option(const std::string& name, const std::string& key) {
  const auto at = name.find(":" + key + "=");
  if (at == std::string::npos) return std::nullopt;
  const char* begin = name.c_str() + at + key.size() + 2;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(begin, name.c_str() + name.size(), value);
  if (error != std::errc{} || (*end != '\0' && *end != ':') || value < 1)
    fail(ErrorCode::invalid_argument, "shape {}: {} must be a positive number", name, key);
  return value;
}

// xorshift: fast, and any bits will do.
struct Random {
  std::uint64_t state = 0x9e3779b97f4a7c15u;
  std::uint64_t next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
  void fill(std::vector<std::byte>& bytes) {
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      const std::uint64_t word = next();
      std::memcpy(bytes.data() + i, &word, 8);
    }
  }
};

class Maker {
 public:
  Maker(ops::Backend& backend, const checkpoint::TextConfig& config, std::int64_t bits)
      : backend_(backend), config_(config), bits_(bits) {}

  // Values around +-scale with zero mean, as bfloat16.
  std::vector<std::byte> dense(std::int64_t n, std::int64_t k) {
    std::vector<std::byte> data(static_cast<std::size_t>(n * k) * 2);
    const std::uint16_t magnitude = float_to_bf16(1.0f / std::sqrt(static_cast<float>(k)));
    for (std::size_t i = 0; i < data.size(); i += 2) {
      // Random sign and mantissa, fixed exponent.
      const auto h = static_cast<std::uint16_t>((magnitude & 0x7f80u) | (random_.next() & 0x807fu));
      std::memcpy(data.data() + i, &h, 2);
    }
    return data;
  }

  void add_quantized(std::int64_t n, std::int64_t k) {
    storage_.emplace_back(static_cast<std::size_t>(n * k));
    random_.fill(storage_.back());
    ops::LinearPart part{.out_features = n, .in_features = k, .quantized = true};
    part.codes.codes = storage_.back().data();
    part.codes.group_size = 32;
    if (bits_ < 8) {
      for (std::byte& b : storage_.back()) b &= static_cast<std::byte>((1 << bits_) - 1);
      part.codes.zeros.assign(static_cast<std::size_t>(n * (k / 32)),
                              static_cast<std::uint8_t>(1 << (bits_ - 1)));
    }
    part.codes.scales.assign(
        static_cast<std::size_t>(n * (k / 32)),
        f16_to_float(float_to_f16(2.0f / (static_cast<float>((1 << (bits_ - 1)) - 1) *
                                          std::sqrt(static_cast<float>(k))))));
    parts_.push_back(std::move(part));
  }

  void add_dense(std::int64_t n, std::int64_t k) {
    storage_.push_back(dense(n, k));
    parts_.push_back(
        {.out_features = n, .in_features = k, .dense = {storage_.back().data(), DType::bf16}});
  }

  std::unique_ptr<ops::PackedLinear> pack() {
    auto packed = backend_.pack_linear(parts_);
    parts_.clear();
    storage_.clear();
    return packed;
  }

  Tensor constant(Shape shape, float value) {
    Tensor t = backend_.allocate(DType::f32, std::move(shape));
    const std::vector<float> values(static_cast<std::size_t>(t.view().size()), value);
    backend_.upload(std::as_bytes(std::span(values)), t);
    return t;
  }

  LayerWeights layer(std::int64_t i) {
    const auto& c = config_;
    LayerWeights w;
    w.input_layernorm = constant({c.hidden_size}, 0.0f);
    w.post_attention_layernorm = constant({c.hidden_size}, 0.0f);
    if (c.is_full_attention(i)) {
      w.self_attn = std::make_unique<AttentionWeights>();
      add_quantized(2 * c.num_attention_heads * c.head_dim, c.hidden_size);
      add_quantized(c.num_key_value_heads * c.head_dim, c.hidden_size);
      add_quantized(c.num_key_value_heads * c.head_dim, c.hidden_size);
      w.self_attn->qkv = pack();
      add_quantized(c.hidden_size, c.num_attention_heads * c.head_dim);
      w.self_attn->o_proj = pack();
      w.self_attn->q_norm = constant({c.head_dim}, 0.0f);
      w.self_attn->k_norm = constant({c.head_dim}, 0.0f);
    } else {
      w.linear_attn = std::make_unique<LinearAttentionWeights>();
      add_quantized(c.conv_dim(), c.hidden_size);
      add_quantized(c.value_dim(), c.hidden_size);
      add_dense(c.linear_num_value_heads, c.hidden_size);
      add_dense(c.linear_num_value_heads, c.hidden_size);
      w.linear_attn->in_proj = pack();
      add_quantized(c.hidden_size, c.value_dim());
      w.linear_attn->out_proj = pack();
      w.linear_attn->conv1d = constant({c.linear_conv_kernel_dim, c.conv_dim()}, 0.25f);
      w.linear_attn->dt_bias = constant({c.linear_num_value_heads}, 0.0f);
      w.linear_attn->A_log = constant({c.linear_num_value_heads}, 0.0f);
      w.linear_attn->norm = constant({c.linear_value_head_dim}, 1.0f);
    }
    add_quantized(c.intermediate_size, c.hidden_size);
    add_quantized(c.intermediate_size, c.hidden_size);
    w.gate_up = pack();
    add_quantized(c.hidden_size, c.intermediate_size);
    w.down_proj = pack();
    return w;
  }

 private:
  ops::Backend& backend_;
  const checkpoint::TextConfig& config_;
  std::int64_t bits_;
  Random random_;
  std::vector<ops::LinearPart> parts_;
  std::vector<std::vector<std::byte>> storage_;
};

}  // namespace

checkpoint::TextConfig published_shape(const std::string& name) {
  const std::string size = name.substr(0, name.find(':'));
  for (const PublishedSize& s : kSizes) {
    if (size != s.name) continue;
    checkpoint::TextConfig c;  // the defaults are those that all sizes share
    c.hidden_size = s.hidden;
    c.intermediate_size = s.intermediate;
    c.num_hidden_layers = option(name, "layers").value_or(s.layers);
    c.vocab_size = option(name, "vocab").value_or(248320);
    c.num_attention_heads = s.heads;
    c.num_key_value_heads = s.kv_heads;
    c.linear_num_key_heads = s.key_heads;
    c.linear_num_value_heads = s.value_heads;
    c.max_position_embeddings = 262144;
    c.rope_parameters.rope_theta = 1e7;
    c.rope_parameters.mrope_section = {11, 11, 10};
    c.layer_types.clear();
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
      c.layer_types.push_back(i % 4 == 3 ? checkpoint::LayerType::full_attention
                                         : checkpoint::LayerType::linear_attention);
    return c;
  }
  fail(ErrorCode::invalid_argument,
       "shape {}: unknown shape; expected 0.8b, 2b, 4b, 9b or 27b, with :layers=N to cut the "
       "depth",
       name);
}

std::int64_t synthetic_bits(const std::string& name) {
  const std::int64_t bits = option(name, "bits").value_or(8);
  if (bits < 2 || bits > 8)
    fail(ErrorCode::invalid_argument, "shape {}: bits must be 2 to 8", name);
  return bits;
}

TextModel::Parts synthetic_parts(ops::Backend& backend, const checkpoint::TextConfig& config,
                                 std::int64_t bits) {
  Maker maker(backend, config, bits);
  TextModel::Parts parts;
  parts.config = config;
  parts.storage = maker.dense(config.vocab_size, config.hidden_size);
  parts.embed_tokens = {
      parts.storage.data(), DType::bf16, {config.vocab_size, config.hidden_size}, Device{}};
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
    parts.layers.push_back(maker.layer(i));
  parts.norm = maker.constant({config.hidden_size}, 0.0f);
  maker.add_dense(config.vocab_size, config.hidden_size);
  parts.lm_head = maker.pack();
  return parts;
}

}  // namespace octet::model
