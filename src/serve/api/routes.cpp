#include "serve/api/routes.h"

#include "serve/api/body.h"
#include "serve/api/messages.h"
#include "serve/api/metrics_route.h"
#include "serve/api/openapi.h"
#include "serve/api/responses.h"

namespace octet::serve {

void add_openai_routes(Router& router, ServerState& state) {
  add_chat_routes(router, state);
  add_completion_routes(router, state);
  add_model_routes(router, state);
  add_tokenize_routes(router, state);
  add_health_routes(router, state);
  router.add({.method = "POST",
              .pattern = "/v1/embeddings",
              .handler = guarded([](const ExchangePtr&) {
                throw HttpError(501,
                                "embeddings: this model generates text and gives no embeddings");
              })});
}

void add_routes(Router& router, ServerState& state, bool metrics_public) {
  add_openai_routes(router, state);
  const auto post = [&](const char* pattern, std::function<void(const ExchangePtr&)> handle) {
    router.add({.method = "POST",
                .pattern = pattern,
                .handler = guarded(std::move(handle)),
                .worker = true});
  };
  post("/v1/messages",
       [&state](const ExchangePtr& e) { handle_messages(state.service(), state.pinger(), e); });
  post("/v1/messages/count_tokens",
       [&state](const ExchangePtr& e) { handle_count_tokens(state.service(), e); });
  for (const char* pattern : {"/v1/responses", "/responses"})
    post(pattern,
         [&state](const ExchangePtr& e) { handle_responses(state.service(), state.pinger(), e); });
  post("/v1/responses/input_tokens",
       [&state](const ExchangePtr& e) { handle_responses_input_tokens(state.service(), e); });
  router.add({.method = "GET",
              .pattern = "/metrics",
              .handler = guarded([&state](const ExchangePtr& e) {
                // While it drains, too; but not before there is anything to count.
                Service* service = state.find_service();
                if (!service) service = &state.service();
                handle_metrics(*service, state.http_status ? state.http_status() : HttpStatus{}, e);
              }),
              .is_public = metrics_public});
  router.add({.method = "GET", .pattern = "/openapi.json", .handler = guarded(handle_openapi)});
}

}  // namespace octet::serve
