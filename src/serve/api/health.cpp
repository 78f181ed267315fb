#include "serve/api/body.h"
#include "serve/api/routes.h"

namespace octet::serve {

namespace {

void health(ServerState& state, const ExchangePtr& exchange) {
  const bool well = state.state() == Service::State::ready;
  respond_json(*exchange, state.health(), well ? 200 : 503,
               well ? Headers{} : Headers{{"Retry-After", "5"}});
}

void live(ServerState&, const ExchangePtr& exchange) {
  respond_json(*exchange, {{"status", "ok"}});
}

void version(ServerState&, const ExchangePtr& exchange) {
  respond_json(*exchange, {{"version", OCTET_VERSION}});
}

// Requests under way, as vLLM counts them.
void load(ServerState& state, const ExchangePtr& exchange) {
  std::int64_t load = 0;
  if (Service* service = state.find_service()) {
    const generate::EngineStatus status = service->engine().status();
    load = status.running + status.waiting + status.paused;
  }
  respond_json(*exchange, {{"server_load", load}});
}

}  // namespace

void add_health_routes(Router& router, ServerState& state) {
  const auto add = [&](const char* method, const char* pattern, bool is_public,
                       void (*handle)(ServerState&, const ExchangePtr&)) {
    router.add({.method = method,
                .pattern = pattern,
                .handler = guarded([&state, handle](const ExchangePtr& e) { handle(state, e); }),
                .is_public = is_public});
  };
  for (const char* pattern : {"/health", "/v1/health", "/ping"}) add("GET", pattern, true, health);
  add("POST", "/ping", true, health);
  add("GET", "/health/live", true, live);
  add("GET", "/version", true, version);
  add("GET", "/load", false, load);
}

}  // namespace octet::serve
