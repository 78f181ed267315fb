#include "serve/api/messages.h"

#include <utility>

#include "serve/api/body.h"
#include "serve/api/messages_request.h"
#include "serve/api/messages_response.h"
#include "serve/api/request_context.h"
#include "serve/api/run_job.h"
#include "serve/job_prompt.h"

namespace octet::serve {

namespace {

MessagesRequest read(Service& service, const Exchange& exchange, bool counting) {
  MessagesRequest request =
      read_messages_request(parse_body(exchange.request()), context_of(service), counting);
  note_unknown_fields(exchange.request().path, request.unused);
  return request;
}

// Claude Code asks for Claude; an alias stands for the model that is here.
std::string model_name(const Service& service, const std::optional<std::string>& asked) {
  try {
    return service.served_name(asked);
  } catch (const HttpError&) {
    if (!asked || !matches_alias(*asked, service.options().anthropic_model_aliases)) throw;
  }
  return service.served_name(std::nullopt);
}

}  // namespace

void handle_messages(Service& service, SsePinger& pinger, const ExchangePtr& exchange) {
  MessagesRequest request = read(service, *exchange, false);
  const std::string model = model_name(service, request.model);
  const std::string id = response_id("msg_", exchange->request());
  const ServiceOptions& options = service.options();
  std::shared_ptr<JobListener> listener;
  if (request.stream) {
    auto stream = std::make_shared<SseStream>(exchange);
    pinger.watch(stream, options.sse_ping_seconds);
    listener = std::make_shared<MessageStream>(stream, id, model, options.stream_queue_bytes);
  } else {
    listener = std::make_shared<MessageWriter>(exchange, id, model);
  }
  run_job(service, exchange, id, std::move(request.job), std::move(listener));
}

void handle_count_tokens(Service& service, const ExchangePtr& exchange) {
  MessagesRequest request = read(service, *exchange, true);
  model_name(service, request.model);  // a model that isn't here is an error here, too
  const ChatPrompt prompt = make_job_prompt(service, request.job);
  respond_json(*exchange, json::object{{"input_tokens", prompt.ids.size()}});
}

}  // namespace octet::serve
