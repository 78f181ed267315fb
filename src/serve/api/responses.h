#pragma once

#include "serve/api/sse.h"
#include "serve/http/exchange.h"
#include "serve/service.h"

namespace octet::serve {

/// POST /v1/responses: OpenAI's Responses API. serving.md §15. Nothing is stored. Worker thread.
/// Errors: HttpError.
void handle_responses(Service& service, SsePinger& pinger, const ExchangePtr& exchange);
/// POST /v1/responses/input_tokens: tokens of the prompt that the same body would make.
void handle_responses_input_tokens(Service& service, const ExchangePtr& exchange);

}  // namespace octet::serve
