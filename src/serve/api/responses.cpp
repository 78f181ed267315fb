#include "serve/api/responses.h"

#include <ctime>
#include <utility>

#include "serve/api/body.h"
#include "serve/api/request_context.h"
#include "serve/api/responses_request.h"
#include "serve/api/responses_response.h"
#include "serve/api/run_job.h"
#include "serve/job_prompt.h"

namespace octet::serve {

namespace {

ResponsesRequest read(Service& service, const Exchange& exchange) {
  ResponsesRequest request =
      read_responses_request(parse_body(exchange.request()), context_of(service));
  note_unknown_fields(exchange.request().path, request.unused);
  return request;
}

}  // namespace

void handle_responses(Service& service, SsePinger& pinger, const ExchangePtr& exchange) {
  ResponsesRequest request = read(service, *exchange);
  ResponseHead head;
  head.id = response_id("resp_", exchange->request());
  head.model = service.served_name(request.model);
  head.created = std::time(nullptr);
  head.echo = std::move(request.echo);
  head.tools = std::move(request.tools);
  head.logprobs = request.logprobs;
  const std::string id = head.id;
  const ServiceOptions& options = service.options();
  std::shared_ptr<JobListener> listener;
  if (request.stream) {
    auto stream = std::make_shared<SseStream>(exchange);
    pinger.watch(stream, options.sse_ping_seconds);
    listener = std::make_shared<ResponseStream>(stream, std::move(head), service.tokenizer(),
                                                options.stream_queue_bytes);
  } else {
    listener = std::make_shared<ResponseWriter>(exchange, std::move(head), service.tokenizer());
  }
  run_job(service, exchange, id, std::move(request.job), std::move(listener));
}

void handle_responses_input_tokens(Service& service, const ExchangePtr& exchange) {
  ResponsesRequest request = read(service, *exchange);
  service.served_name(request.model);  // a model that isn't here is an error here, too
  const ChatPrompt prompt = make_job_prompt(service, request.job);
  respond_json(*exchange, json::object{{"object", "response.input_tokens"},
                                       {"input_tokens", prompt.ids.size()}});
}

}  // namespace octet::serve
