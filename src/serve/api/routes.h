#pragma once

#include "serve/http/router.h"
#include "serve/server_state.h"

namespace octet::serve {

/// Everything that the server answers. metrics_public: /metrics needs no key.
void add_routes(Router& router, ServerState& state, bool metrics_public);

/// OpenAI's endpoints with vLLM's and llama-server's extensions, and the small ones: serving.md §1.
/// state outlives the router.
void add_openai_routes(Router& router, ServerState& state);

// The parts of them.
void add_chat_routes(Router& router, ServerState& state);
void add_completion_routes(Router& router, ServerState& state);
void add_model_routes(Router& router, ServerState& state);
void add_tokenize_routes(Router& router, ServerState& state);
void add_health_routes(Router& router, ServerState& state);

}  // namespace octet::serve
