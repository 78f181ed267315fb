// evaluate: how good a checkpoint is: perplexity, and divergence from another checkpoint.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "model/text_model.h"
#include "runtime/comm/communicator.h"

namespace octet {
class ThreadPool;
}

namespace octet::evaluate {

struct PerplexityOptions {
  std::int64_t context = 2048;    ///< tokens of a window
  std::int64_t stride = 512;      ///< tokens from one window's begin to the next
  std::int64_t max_windows = 0;   ///< 0: all
  std::int64_t step_rows = 1024;  ///< rows computed at once; changes no result
};

/// One window: tokens [begin, end) are fed from an empty state, the last `target` of them are
/// scored (the first token of the text has nothing before it and is not).
struct Window {
  std::int64_t begin = 0, end = 0, target = 0;
};
/// docs/evaluation: begin = 0, stride, 2 stride, ... until a window reaches the end of the text.
/// Errors: invalid_argument for sizes that make no sense or a text of fewer than 2 tokens.
std::vector<Window> windows(std::int64_t num_tokens, const PerplexityOptions& options);

/// Against another checkpoint, over the same positions.
struct Comparison {
  double perplexity = 0;     ///< of the base
  double nll = 0;            ///< sum, of the base
  double delta_percent = 0;  ///< perplexity against the base's
  double delta_stderr = 0;   ///< of delta_percent, from the paired differences
  double kl_mean = 0, kl_stderr = 0, kl_p99 = 0, kl_max = 0;  ///< KL(base || model), nats
  double same_top = 0;  ///< share of positions with the same most likely token
};

struct PerplexityResult {
  std::int64_t tokens = 0, windows = 0, scored = 0, forwarded = 0;
  double nll = 0;                             ///< sum over scored positions, natural logarithm
  double perplexity = 0;                      ///< exp(nll / scored): variant A
  double stderr_ = 0;                         ///< of the perplexity, positions taken as independent
  double variant_a_prime = 0, variant_b = 0;  ///< older weightings of the first and last window
  double seconds = 0;
  std::optional<Comparison> base;
};

/// Sliding-window perplexity: variant A scores every token once, each with the context of its
/// window. Log-softmax in double precision over the float32 logits of all vocabulary rows.
/// ranks: each computes a part of the windows, all get the same result, to the bits of one rank.
/// base: computed on the same windows, may be null. progress(rows done, rows in all).
/// Errors: invalid_argument; bad_data if a logit is not finite.
PerplexityResult perplexity(model::TextModel& model, model::TextModel* base,
                            std::span<const std::int32_t> tokens, const PerplexityOptions& options,
                            ThreadPool& pool, comm::Communicator& ranks,
                            const std::function<void(std::int64_t, std::int64_t)>& progress = {});

}  // namespace octet::evaluate
