// generate: from logits to tokens: sampling, and the loop that steps many sequences at once.
// Knows no HTTP and no chat format.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "generate/sampling_params.h"
#include "generate/token_output.h"

namespace octet::generate {

/// Chooses tokens for one sequence. Same parameters, seed and logits: same tokens.
class Sampler {
 public:
  /// num_tokens: ids at and above it have no token and are never chosen.
  Sampler(const SamplingParams& params, std::int64_t num_tokens,
          std::span<const std::int32_t> prompt = {});

  /// logits [vocab_size]; changed in place (penalties). Errors: internal if none is finite.
  /// mask: bit id % 32 of word id / 32 tells whether id may come; empty: all may.
  TokenOutput sample(std::span<float> logits, std::span<const std::uint32_t> mask = {});
  /// A token that came without being drawn.
  void accept(std::int32_t id);

 private:
  std::int32_t draw(std::span<float> logits);
  SamplingParams params_;
  std::size_t num_tokens_;
  std::uint64_t position_ = 0;                 // in the answer
  std::vector<std::int32_t> prompt_, counts_;  // counts_: occurrences in the answer, by id
};

}  // namespace octet::generate
