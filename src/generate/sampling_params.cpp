#include "generate/sampling_params.h"

#include <cmath>
#include <limits>

#include "runtime/base/error.h"

namespace octet::generate {

namespace {

constexpr std::size_t kMaxLogitBias = 4096, kMaxBadWords = 128, kMaxBadWordTokens = 1024,
                      kMaxLogprobIds = 128;

void require(bool good, const char* name, double value, const char* range) {
  if (!good || std::isnan(value))
    fail(ErrorCode::invalid_argument, "{} = {}: expected {}", name, value, range);
}

void require_count(const char* name, std::size_t count, std::size_t most) {
  if (count > most)
    fail(ErrorCode::invalid_argument, "{}: {} entries, expected at most {}", name, count, most);
}

void require_token(const char* name, std::int32_t id, std::int64_t num_tokens) {
  if (id < 0 || id >= num_tokens)
    fail(ErrorCode::invalid_argument, "{}: {} is no token, expected 0 to {}", name, id,
         num_tokens - 1);
}

}  // namespace

void validate(const SamplingParams& p) {
  require(p.temperature >= 0 && p.temperature <= 2, "temperature", p.temperature, "0 to 2");
  require(p.top_k >= -1, "top_k", static_cast<double>(p.top_k), "0 or -1 (all), or more");
  require(p.top_p > 0 && p.top_p <= 1, "top_p", p.top_p, "above 0, at most 1");
  require(p.min_p >= 0 && p.min_p <= 1, "min_p", p.min_p, "0 to 1");
  require(std::fabs(p.presence_penalty) <= 2, "presence_penalty", p.presence_penalty, "-2 to 2");
  require(std::fabs(p.frequency_penalty) <= 2, "frequency_penalty", p.frequency_penalty, "-2 to 2");
  // A factor of logits in single precision: outside its range there is nothing to divide by.
  require(p.repetition_penalty >= std::numeric_limits<float>::min() &&
              p.repetition_penalty <= std::numeric_limits<float>::max(),
          "repetition_penalty", p.repetition_penalty, "above 0, finite");
  require(p.min_tokens >= 0, "min_tokens", static_cast<double>(p.min_tokens), "0 or more");
  require(p.num_logprobs >= -2, "logprobs", p.num_logprobs, "0 or more, or -2 (all)");
  require_count("logit_bias", p.logit_bias.size(), kMaxLogitBias);
  for (const auto& [id, bias] : p.logit_bias)
    if (std::isnan(bias))
      fail(ErrorCode::invalid_argument, "logit_bias of {}: expected a number", id);
  require_count("bad_words", p.bad_words.size(), kMaxBadWords);
  for (const auto& word : p.bad_words)
    if (word.empty() || word.size() > kMaxBadWordTokens)
      fail(ErrorCode::invalid_argument, "bad_words: a sequence of {} tokens, expected 1 to {}",
           word.size(), kMaxBadWordTokens);
  require_count("logprob_token_ids", p.logprob_token_ids.size(), kMaxLogprobIds);
  if (!p.logprob_token_ids.empty() && p.num_logprobs == -1)
    fail(ErrorCode::invalid_argument, "logprob_token_ids: expected together with logprobs");
}

void validate(const SamplingParams& p, std::int64_t num_tokens) {
  validate(p);
  for (const auto& [id, bias] : p.logit_bias) require_token("logit_bias", id, num_tokens);
  for (const std::int32_t id : p.allowed_token_ids)
    require_token("allowed_token_ids", id, num_tokens);
  for (const std::int32_t id : p.logprob_token_ids)
    require_token("logprob_token_ids", id, num_tokens);
}

}  // namespace octet::generate
