#pragma once

#include "runtime/base/json.h"
#include "serve/http/exchange.h"

namespace octet::serve {

/// The endpoints as OpenAPI 3.1: requests with the types and ranges of their fields, good enough
/// to make requests from. Made once. Fields that aren't listed are accepted and ignored.
const json::object& openapi();
/// GET /openapi.json.
void handle_openapi(const ExchangePtr& exchange);

}  // namespace octet::serve
