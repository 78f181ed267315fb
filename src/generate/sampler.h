// generate: from logits to tokens: sampling, and the loop that steps many sequences at once.
// Knows no HTTP and no chat format.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace octet::generate {

/// How a token is chosen. The names and meanings are those of OpenAI's and vLLM's parameters.
struct SamplingParams {
  double temperature = 1.0;         ///< 0: the largest logit (greedy)
  std::int64_t top_k = 0;           ///< keep the k most likely; 0: all
  double top_p = 1.0;               ///< keep the fewest that reach this probability
  double min_p = 0.0;               ///< drop what is below min_p times the most likely
  double presence_penalty = 0.0;    ///< subtracted once from tokens of the answer
  double frequency_penalty = 0.0;   ///< subtracted for each occurrence in the answer
  double repetition_penalty = 1.0;  ///< divides (or multiplies negative) logits of seen tokens
  std::uint64_t seed = 0;
};

/// Throws invalid_argument naming the parameter, its value and the accepted range.
void validate(const SamplingParams& params);

/// Chooses tokens for one sequence. Same parameters, seed and logits: same tokens.
class Sampler {
 public:
  /// num_tokens: ids at and above it have no token and are never chosen.
  Sampler(const SamplingParams& params, std::int64_t num_tokens,
          std::span<const std::int32_t> prompt = {});

  /// logits [vocab_size]; changed in place (penalties). Errors: internal if none is finite.
  std::int32_t sample(std::span<float> logits);

 private:
  std::int32_t draw(std::span<float> logits);
  SamplingParams params_;
  std::size_t num_tokens_;
  std::mt19937_64 rng_;
  std::vector<std::int32_t> prompt_, counts_;  // counts_: occurrences in the answer, by id
};

}  // namespace octet::generate
