#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace octet::checkpoint {

/// What is in a checkpoint: for `octet inspect`.
struct Inventory {
  std::string architecture, dtype;
  std::int64_t bits = 16, group_size = 0;  ///< 16 and 0: not quantized
  bool sym = true, desc_act = false;
  std::string checkpoint_format;
  std::int64_t linear_layers = 0, full_layers = 0;
  std::int64_t quantized_modules = 0, vision_tensors = 0, mtp_tensors = 0, total_tensors = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t quantized_bytes = 0, vision_bytes = 0, mtp_bytes = 0, embedding_bytes = 0,
                other_bytes = 0;
  std::map<std::string, std::int64_t> tensors_by_dtype;
  std::int64_t context = 0;
  std::uint64_t text_weight_bytes = 0;         ///< what the text model reads, as stored
  std::uint64_t kv_bytes_per_token = 0;        ///< with 16-bit keys and values
  std::uint64_t state_bytes_per_sequence = 0;  ///< recurrent and convolution states, float32
  std::vector<std::string> missing;            ///< expected tensors that are absent
};

Inventory take_inventory(const Checkpoint& checkpoint);

}  // namespace octet::checkpoint
