#pragma once

#include "serve/http/exchange.h"
#include "serve/http/server.h"
#include "serve/service.h"

namespace octet::serve {

/// GET /metrics: Prometheus text, or OpenMetrics for those who accept it.
void handle_metrics(Service& service, const HttpStatus& http, const ExchangePtr& exchange);
/// An Accept header names OpenMetrics with a quality above 0.
bool accepts_open_metrics(std::string_view accept);

}  // namespace octet::serve
