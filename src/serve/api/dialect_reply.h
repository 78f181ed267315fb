#pragma once

#include <optional>

#include "serve/http/exchange.h"
#include "serve/job.h"

namespace octet::serve {

/// Headers of an answer whose max_tokens was lowered; none otherwise.
Headers clamp_headers(std::int64_t max_tokens, bool clamped);
/// The failure that a finish reason stands for: `error` and `abort`.
std::optional<HttpError> failure_of(const ChoiceEnd& end);
/// May the answer go on, by what the client has not taken yet? One that is gone holds up nothing.
bool keeps_up(const Exchange& exchange, std::size_t queue_bytes);

}  // namespace octet::serve
