#pragma once

#include <cstdint>
#include <span>

#include "generate/sampling_params.h"
#include "generate/token_output.h"

namespace octet::generate {

/// How likely a row of logits held a token that was given, and the `top` most likely ones (at most
/// logits.size()). Prompts are not sampled, so nothing is masked or penalised: the processed modes
/// equal the raw ones. Equal logits rank by id. logits: those of ids that have a token.
/// Errors: internal if they are not finite. Cost: two passes over the logits.
TokenOutput prompt_logprob(std::span<const float> logits, std::int32_t id, int top,
                           LogprobsMode mode);

}  // namespace octet::generate
