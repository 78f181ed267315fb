#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace octet::generate {

/// What limits the next token of one answer: a grammar, a budget for thinking, a tool's schema. It
/// follows the answer token by token and knows nothing of logits.
/// What it throws ends the answer as failed; invalid_argument: by what was asked for.
/// Threads: the engine's only.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  /// The one token that must come next, if there is only one: it is taken without sampling, and
  /// counts as a token of the answer.
  virtual std::optional<std::int32_t> forced() { return std::nullopt; }
  /// Which tokens may come next: bit id % 32 of word id / 32; mask has (vocab_size + 31) / 32 words
  /// and is all ones. Clears bits. False: the mask was left alone, everything may come.
  /// Tokens that end an answer (stop ids) are tokens like others here: allowed only where the
  /// constraint is satisfied.
  virtual bool fill_mask(std::span<std::uint32_t> mask) = 0;
  /// The token that came. It was allowed, forced, or no mask was made.
  virtual void accept(std::int32_t id) = 0;
  /// Takes back the last `tokens` accepts: drafts that were refused. At most 16.
  virtual void rollback(int tokens) = 0;
};

}  // namespace octet::generate
