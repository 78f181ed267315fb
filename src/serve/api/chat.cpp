#include "serve/api/body.h"
#include "serve/api/chat_response.h"
#include "serve/api/routes.h"
#include "serve/api/run_job.h"
#include "serve/job_prompt.h"

namespace octet::serve {

namespace {

ChatRequest read(Service& service, const HttpRequest& http) {
  ChatRequest request = read_chat_request(parse_body(http), context_of(service));
  note_unknown_fields(http.path, request.unknown);
  request.model = service.served_name(request.model);
  return request;
}

ChatReply reply_of(Service& service, const ChatRequest& request, const ExchangePtr& exchange) {
  const ServiceOptions& o = service.options();
  ChatReply reply;
  reply.envelope = {.id = response_id("chatcmpl-", exchange->request(), request.request_id),
                    .created = static_cast<std::int64_t>(std::time(nullptr)),
                    .model = *request.model,
                    .fingerprint = o.system_fingerprint};
  reply.options = request.reply;
  reply.include_reasoning = request.include_reasoning;
  reply.per_request_metrics = o.per_request_metrics;
  reply.echo = request.echo;
  reply.role = o.response_role;
  reply.reasoning_field = o.reasoning_field;
  reply.n = request.job.n;
  reply.think_begin = service.tokenizer().find("<think>").value_or(-1);
  reply.think_end = service.tokenizer().find("</think>").value_or(-1);
  reply.ready = [&service, exchange] { return reader_keeps_up(service, *exchange); };
  return reply;
}

void chat(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  ChatRequest request = read(service, exchange->request());
  ChatReply reply = reply_of(service, request, exchange);
  const std::string id = reply.envelope.id;
  std::shared_ptr<JobListener> listener;
  if (request.reply.stream) {
    auto stream = std::make_shared<SseStream>(exchange);
    state.pinger().watch(stream, request.reply.ping_seconds);
    listener = make_chat_stream(std::move(stream), service.tokenizer(), std::move(reply));
  } else {
    listener = make_chat_collector(exchange, service.tokenizer(), std::move(reply));
  }
  run_job(service, exchange, id, std::move(request.job), std::move(listener));
}

// What a chat would be as a prompt. serving.md §1, §8.
void render(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  ChatRequest request = read(service, exchange->request());
  const ChatPrompt prompt = make_job_prompt(service, request.job);
  respond_json(*exchange, {{"prompt", prompt.text},
                           {"prompt_token_ids", json::array(prompt.ids.begin(), prompt.ids.end())},
                           {"count", prompt.ids.size()},
                           {"max_model_len", service.max_model_len()},
                           {"model", *request.model}});
}

void apply_template(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  ChatRequest request = read(service, exchange->request());
  respond_json(*exchange, {{"prompt", make_job_prompt(service, request.job).text}});
}

void count_tokens(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  ChatRequest request = read(service, exchange->request());
  respond_json(*exchange, {{"object", "response.input_tokens"},
                           {"input_tokens", make_job_prompt(service, request.job).ids.size()}});
}

// Ends the thinking of an answer that is under way. serving.md §12.6.
void control(ServerState& state, const ExchangePtr& exchange) {
  const json::value value = parse_body(exchange->request());
  FieldReader body(value, "");
  const auto id = body.string("id", 256);
  if (!id) bad_field("id", "id: missing");
  if (!body.one_of("action", {"reasoning_end"})) bad_field("action", "action: missing");
  const auto job = state.service().find_running(*id);
  if (job && job->end_thinking()) return respond_json(*exchange, {{"success", true}});
  respond_json(*exchange,
               {{"success", false},
                {"message", job ? "the answer is not thinking, or its request did not set "
                                  "reasoning_control"
                                : "there is no running answer of this id"}});
}

}  // namespace

void add_chat_routes(Router& router, ServerState& state) {
  const auto post = [&](std::string pattern, void (*handle)(ServerState&, const ExchangePtr&)) {
    router.add({.method = "POST",
                .pattern = std::move(pattern),
                .handler = guarded([&state, handle](const ExchangePtr& e) { handle(state, e); }),
                .worker = true});
  };
  for (const std::string& prefix : {std::string("/v1"), std::string()}) {
    post(prefix + "/chat/completions", chat);
    post(prefix + "/chat/completions/render", render);
    post(prefix + "/chat/completions/input_tokens", count_tokens);
    post(prefix + "/chat/completions/control", control);
  }
  post("/apply-template", apply_template);
}

}  // namespace octet::serve
