#include "checkpoint/inventory.h"

namespace octet::checkpoint {

Inventory take_inventory(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  const TextConfig& c = config.text;
  Inventory i;
  i.architecture = config.architecture;
  i.dtype = c.dtype;
  if (config.quantization) {
    i.bits = config.quantization->bits;
    i.group_size = config.quantization->group_size;
    i.sym = config.quantization->sym;
    i.desc_act = config.quantization->desc_act;
    i.checkpoint_format = config.quantization->checkpoint_format;
  }
  for (std::int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
    ++(c.is_full_attention(layer) ? i.full_layers : i.linear_layers);
  i.context = c.context_length();
  i.file_bytes = checkpoint.file_bytes();
  for (const TensorInfo& t : checkpoint.tensors()) {
    const std::string name = Checkpoint::canonical_name(t.name);
    const auto bytes = static_cast<std::uint64_t>(t.bytes.size());
    ++i.total_tensors;
    ++i.tensors_by_dtype[std::string(to_string(t.dtype))];
    const auto ends_with = [&](const char* s) { return name.ends_with(s); };
    if (ends_with(".qweight")) ++i.quantized_modules;
    if (name.starts_with("model.visual.")) {
      ++i.vision_tensors;
      i.vision_bytes += bytes;
    } else if (name.starts_with("mtp.")) {
      ++i.mtp_tensors;
      i.mtp_bytes += bytes;
    } else if (name == "lm_head.weight" || name == "model.language_model.embed_tokens.weight") {
      i.embedding_bytes += bytes;
    } else if (ends_with(".qweight") || ends_with(".qzeros") || ends_with(".scales") ||
               ends_with(".g_idx")) {
      i.quantized_bytes += bytes;
    } else {
      i.other_bytes += bytes;
    }
  }
  i.text_weight_bytes = i.quantized_bytes + i.embedding_bytes + i.other_bytes;
  i.kv_bytes_per_token =
      static_cast<std::uint64_t>(i.full_layers * 2 * c.num_key_value_heads * c.head_dim * 2);
  i.state_bytes_per_sequence = static_cast<std::uint64_t>(
      i.linear_layers * 4 *
      (c.linear_num_value_heads * c.linear_key_head_dim * c.linear_value_head_dim +
       c.conv_dim() * (c.linear_conv_kernel_dim - 1)));
  for (const TensorClass part : {TensorClass::text, TensorClass::vision, TensorClass::mtp})
    for (std::string& name : checkpoint.missing(part)) i.missing.push_back(std::move(name));
  return i;
}

}  // namespace octet::checkpoint
