// generate: from logits to tokens: sampling, grammars, and the engine that steps many sequences at
// once. Knows no HTTP and no chat format.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace octet::generate {

/// What reported log-probabilities are taken of: the model's logits, or what is left after masks,
/// penalties, temperature and cuts; the `logits` modes report the numbers before log-softmax.
enum class LogprobsMode { raw_logprobs, processed_logprobs, raw_logits, processed_logits };

/// How a token is chosen. The names and meanings are those of OpenAI's and vLLM's parameters; the
/// order in which they act is vLLM's (sampler.h).
struct SamplingParams {
  double temperature = 1.0;         ///< below 1e-5: greedy, lowest id of equals; else 0.01 at least
  std::int64_t top_k = 0;           ///< keep the k most likely, lowest ids of equals; 0, -1: all
  double top_p = 1.0;               ///< keep the fewest that reach this probability
  double min_p = 0.0;               ///< drop what is below min_p times the most likely
  double presence_penalty = 0.0;    ///< subtracted once from tokens of the answer
  double frequency_penalty = 0.0;   ///< subtracted for each occurrence in the answer
  double repetition_penalty = 1.0;  ///< divides (or multiplies negative) logits of seen tokens
  std::uint64_t seed = 0;
  std::vector<std::pair<std::int32_t, float>> logit_bias;  ///< added, clamped to +-100
  std::vector<std::int32_t> allowed_token_ids;             ///< empty: all
  std::vector<std::vector<std::int32_t>> bad_words;        ///< sequences that are never completed
  std::int64_t min_tokens = 0;  ///< before so many, `min_tokens_stop_ids` can't come
  std::vector<std::int32_t> min_tokens_stop_ids;  ///< what would end the answer
  int num_logprobs = -1;  ///< -1: none; 0: of the chosen token; -2: of the whole vocabulary
  std::vector<std::int32_t> logprob_token_ids;  ///< reported in `top` besides the most likely
  LogprobsMode logprobs_mode = LogprobsMode::raw_logprobs;
};

/// Throws invalid_argument naming the parameter, its value and the accepted range.
/// Ranges: serving.md §3; bounds: logit_bias 4096 entries, bad_words 128 sequences of 1 to 1024
/// tokens, logprob_token_ids 128.
void validate(const SamplingParams& params);
/// The same, and that the ids of logit_bias, allowed_token_ids and logprob_token_ids are below
/// num_tokens. Ids elsewhere that are no tokens have no effect.
void validate(const SamplingParams& params, std::int64_t num_tokens);

}  // namespace octet::generate
