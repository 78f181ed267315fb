#include <fmt/chrono.h>

#include "serve/api/body.h"
#include "serve/api/routes.h"

namespace octet::serve {

namespace {

json::object permission(std::int64_t created, const std::string& name) {
  return {{"id", "modelperm-" + name},
          {"object", "model_permission"},
          {"created", created},
          {"allow_create_engine", false},
          {"allow_sampling", true},
          {"allow_logprobs", true},
          {"allow_search_indices", false},
          {"allow_view", true},
          {"allow_fine_tuning", false},
          {"organization", "*"},
          {"group", nullptr},
          {"is_blocking", false}};
}

json::object model_json(Service& service, const std::string& name) {
  json::array permissions;
  permissions.emplace_back(permission(service.created(), name));
  json::array capabilities{"completion", "tools", "reasoning"};
  return {{"id", name},
          {"object", "model"},
          {"created", service.created()},
          {"owned_by", "octet"},
          {"root", service.options().model_root},
          {"parent", nullptr},
          {"max_model_len", service.max_model_len()},
          {"capabilities", std::move(capabilities)},
          {"meta",
           {{"vocab_type", 2},
            {"n_vocab", service.vocab_size()},
            {"n_ctx", service.max_model_len()},
            {"n_ctx_train", service.max_model_len()}}},
          {"permission", std::move(permissions)}};
}

// The same for Anthropic's clients, who say of themselves what they are. Claude Code shows the
// name.
json::object anthropic_model(Service& service, const std::string& name) {
  const auto created = static_cast<std::time_t>(service.created());
  return {{"type", "model"},
          {"id", name},
          {"display_name", name},
          {"created_at", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(created))},
          {"lifecycle", "active"},
          {"max_input_tokens", service.max_model_len()},
          {"max_tokens", service.max_model_len()}};
}

bool of_anthropic(const Exchange& exchange) {
  return !exchange.request().header("anthropic-version").empty();
}

void list(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  json::array data;
  if (of_anthropic(*exchange)) {
    const std::vector<std::string>& names = service.options().served_model_names;
    for (const std::string& name : names) data.emplace_back(anthropic_model(service, name));
    respond_json(*exchange, {{"data", std::move(data)},
                             {"has_more", false},
                             {"first_id", names.front()},
                             {"last_id", names.back()}});
    return;
  }
  for (const std::string& name : service.options().served_model_names)
    data.emplace_back(model_json(service, name));
  respond_json(*exchange, {{"object", "list"}, {"data", std::move(data)}});
}

void retrieve(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  const auto& parameters = exchange->request().parameters;
  const std::string name = parameters.empty() ? std::string() : parameters.front();
  if (name.empty()) throw HttpError(404, "no model is named in the path");
  const std::string served = service.served_name(name);
  respond_json(*exchange, of_anthropic(*exchange) ? anthropic_model(service, served)
                                                  : model_json(service, served));
}

// What llama-server's web page asks for.
void props(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  const auto& d = service.defaults();
  const json::object params{{"temperature", d.do_sample ? d.temperature : 0.0},
                            {"top_k", d.top_k},
                            {"top_p", d.top_p},
                            {"min_p", d.min_p},
                            {"repeat_penalty", d.repetition_penalty},
                            {"max_tokens", d.max_new_tokens > 0 ? d.max_new_tokens : -1},
                            {"stream", true}};
  respond_json(*exchange, {{"default_generation_settings",
                            {{"n_ctx", service.max_model_len()}, {"params", params}}},
                           {"total_slots", service.engine().options().max_sequences},
                           {"model_alias", service.options().served_model_names.front()},
                           {"model_path", service.options().model_root},
                           {"modalities", {{"vision", false}, {"audio", false}}},
                           {"build_info", "octet " OCTET_VERSION}});
}

void slots(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  if (!service.options().slots)
    throw HttpError(501, "/slots: the server was not started with --slots");
  const generate::EngineStatus status = service.engine().status();
  json::array out;
  for (std::int64_t i = 0; i < service.engine().options().max_sequences; ++i)
    out.push_back(
        {{"id", i}, {"n_ctx", service.max_model_len()}, {"is_processing", i < status.running}});
  respond_json(*exchange, std::move(out));
}

}  // namespace

void add_model_routes(Router& router, ServerState& state) {
  const auto get = [&](const char* pattern, void (*handle)(ServerState&, const ExchangePtr&)) {
    router.add({.method = "GET",
                .pattern = pattern,
                .handler = guarded([&state, handle](const ExchangePtr& e) { handle(state, e); })});
  };
  for (const char* pattern : {"/v1/models", "/models"}) get(pattern, list);
  for (const char* pattern : {"/v1/models/{}", "/models/{}"}) get(pattern, retrieve);
  get("/props", props);
  get("/slots", slots);
}

}  // namespace octet::serve
