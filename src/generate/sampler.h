// generate: from logits to tokens: sampling, grammars, and the engine that steps many sequences at
// once. Knows no HTTP and no chat format.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "generate/sampling_params.h"
#include "generate/token_output.h"

namespace octet::generate {

class LogitScan;

/// Chooses the tokens of one answer, in the order of vLLM's sampler:
///  1. raw logits or log-probabilities are what the model gave;
///  2. allowed_token_ids, bad_words, the constraint's mask; 3. min_tokens (unless the mask leaves
///  nothing but the answer's end), logit_bias;
///  4. penalties: repetition (prompt and answer), frequency, presence (answer), in single
///  precision;
///  5. greedy, if temperature is below 1e-5; else 6. logits / temperature, 7. min_p,
///  8. top_k, then top_p of what it left, at least one token, equal logits by id;
///  9. a race of the rest (token_race.h).
/// Processed logits are those after step 8 (greedy: 4).
///
/// Same parameters, prompt, logits and number of tokens before: same token, bit for bit on one
/// build, whatever was drawn before or beside. So a draft is verified by sampling its rows one
/// after the other and stopping at the first token that differs. Threads: one at a time for a
/// sampler, different ones at once. A thread keeps scratch of 1 MB, up to 4 MB where a cut keeps
/// most of a vocabulary of 250,000.
class Sampler {
 public:
  /// num_tokens: ids at and above it have no token and are never chosen.
  /// Errors: as validate(params, num_tokens).
  Sampler(const SamplingParams& params, std::int64_t num_tokens,
          std::span<const std::int32_t> prompt = {});

  /// The next token; it is booked as by accept(). logits [vocab_size] is changed in place. mask:
  /// bit id % 32 of word id / 32 set: allowed (TokenConstraint); empty: all are. Errors: internal
  /// if a logit is NaN or infinite; invalid_argument if the parameters leave nothing to choose
  /// from. Cost at 248,320 tokens, one core: docs/performance.md.
  TokenOutput sample(std::span<float> logits, std::span<const std::uint32_t> mask = {});

  /// A token that must come, whatever parameters say of it; reported as a drawn one would be: how
  /// likely the model held it, or in the processed modes, that there was no other. Booked. Errors:
  /// internal if a logit is NaN or infinite.
  TokenOutput take(std::span<float> logits, std::int32_t id);

  /// A token that came without a draw: forced, or of an answer that goes on after preemption.
  /// Counts as sample() does for penalties, bad_words, min_tokens and the position of later draws.
  void accept(std::int32_t id);

  /// Tokens of the answer so far.
  std::int64_t position() const { return position_; }

  /// How likely `id` is in a row of logits, and the most likely tokens below num_tokens:
  /// num_logprobs of them, or all if it is -2; then those of `also` that aren't among them. Ranks
  /// count equal logits by id, so that every token has its own. The distribution is over the whole
  /// row. For the `logits` modes the numbers are the logits.
  /// id outside the row: no `chosen`. Errors: internal if a logit is NaN or infinite.
  static TokenOutput token_logprobs(std::span<const float> logits, std::int32_t id,
                                    int num_logprobs, std::int64_t num_tokens,
                                    LogprobsMode mode = LogprobsMode::raw_logprobs,
                                    std::span<const std::int32_t> also = {});

 private:
  bool greedy() const { return params_.temperature < 1e-5; }
  bool raw_mode() const;
  bool penalizes() const;
  bool has_masks() const;
  double temperature() const;
  void mask_tokens(std::span<float> logits, std::span<const std::uint32_t> mask) const;
  void mask_bad_words(std::span<float> logits) const;
  void add_bias(std::span<float> logits) const;
  void penalize(std::span<float> logits) const;
  TokenOutput report_of(std::span<const float> row, std::int32_t id) const;
  std::int32_t choose(std::span<float> logits, bool processed) const;
  [[noreturn]] void nothing_left(bool constrained) const;

  SamplingParams params_;
  std::size_t num_tokens_;
  std::int64_t position_ = 0;
  std::vector<std::uint32_t> allowed_;  // a mask; empty: all
  struct Seen {
    std::int32_t id, count;  // count: in the answer; 0: only in the prompt
  };
  std::vector<Seen> seen_;  // in order of appearance
  std::unordered_map<std::int32_t, std::size_t> seen_at_;
  std::vector<std::int32_t> history_;  // the end of the answer, as long as bad_words need it
  std::size_t history_length_ = 0;
};

}  // namespace octet::generate
