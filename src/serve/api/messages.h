#pragma once

#include "serve/api/sse.h"
#include "serve/http/exchange.h"
#include "serve/service.h"

namespace octet::serve {

/// POST /v1/messages: Anthropic's Messages API. serving.md §16. Worker thread. Errors: HttpError.
void handle_messages(Service& service, SsePinger& pinger, const ExchangePtr& exchange);
/// POST /v1/messages/count_tokens.
void handle_count_tokens(Service& service, const ExchangePtr& exchange);

}  // namespace octet::serve
