#include "serve/api/routes.h"

#include "serve/api/body.h"

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
                throw HttpError(501, "embeddings: this model generates text and gives no embeddings");
              })});
}

}  // namespace octet::serve
