#pragma once

#include <filesystem>

#include "checkpoint/config.h"

namespace octet::checkpoint {

/// Writes a 16-bit checkpoint of a configuration with random weights (config.json and shards, no
/// tokenizer): what the quantizer reads, at the size of a real model. Weights are normal numbers
/// of standard deviation 1 / sqrt(inputs), so that activations stay of the size of real ones.
/// Errors: unavailable (disk).
void write_synthetic_checkpoint(const TextConfig& config, const std::filesystem::path& folder);

}  // namespace octet::checkpoint
