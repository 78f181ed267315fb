#include <atomic>
#include <mutex>

#include "serve/api/body.h"
#include "serve/api/completion_request.h"
#include "serve/api/completion_response.h"
#include "serve/api/routes.h"
#include "serve/api/run_job.h"
#include "serve/job_prompt.h"

namespace octet::serve {

namespace {

// The jobs of one request, for ending them together. A job that starts after cancel() ends at once.
class JobGroup {
 public:
  void add(const std::shared_ptr<RunningJob>& job) {
    bool cancelled = false;
    {
      const std::scoped_lock lock(mutex_);
      jobs_.push_back(job);
      cancelled = cancelled_;
    }
    if (cancelled) job->cancel();
  }
  void cancel() {
    std::vector<std::weak_ptr<RunningJob>> jobs;
    {
      const std::scoped_lock lock(mutex_);
      cancelled_ = true;
      jobs = jobs_;
    }
    for (const auto& weak : jobs)
      if (const auto job = weak.lock()) job->cancel();
  }
  bool cancelled() const {
    const std::scoped_lock lock(mutex_);
    return cancelled_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<RunningJob>> jobs_;
  bool cancelled_ = false;
};

void complete(ServerState& state, const ExchangePtr& exchange) {
  Service& service = state.service();
  const ServiceOptions& o = service.options();
  CompletionRequest request =
      read_completion_request(parse_body(exchange->request()), context_of(service));
  note_unknown_fields(exchange->request().path, request.unknown);
  const std::string model = service.served_name(request.model);
  // Before any of them starts: an error is a response then, not the end of a stream.
  if (request.job.truncate_prompt_tokens == 0)
    for (const auto& prompt : request.prompts)
      token_room(service, request.job, static_cast<std::int64_t>(prompt.size()));

  const auto group = std::make_shared<JobGroup>();
  CompletionReply reply;
  reply.envelope = {.id = response_id("cmpl-", exchange->request(), request.request_id),
                    .created = static_cast<std::int64_t>(std::time(nullptr)),
                    .model = model,
                    .fingerprint = o.system_fingerprint};
  reply.options = request.reply;
  reply.echo = request.echo;
  reply.prompt_logprobs = request.prompt_logprobs;
  reply.per_request_metrics = o.per_request_metrics;
  reply.n = request.job.n;
  reply.prompts = static_cast<std::int64_t>(request.prompts.size());
  reply.ready = [&service, exchange] { return reader_keeps_up(service, *exchange); };
  reply.cancel = [group] { group->cancel(); };
  std::shared_ptr<SseStream> stream;
  if (request.reply.stream) {
    stream = std::make_shared<SseStream>(exchange);
    state.pinger().watch(stream, request.reply.ping_seconds);
  }
  const std::string id = reply.envelope.id;
  const auto listeners =
      make_completion_listeners(exchange, std::move(stream), service.tokenizer(), std::move(reply));
  std::vector<std::shared_ptr<RunningJob>> jobs;
  for (std::size_t p = 0; p < request.prompts.size() && !group->cancelled(); ++p) {
    Job job = request.job;
    job.prompt = std::move(request.prompts[p]);
    jobs.push_back(start_job(service, p == 0 ? id : fmt::format("{}-{}", id, p), std::move(job),
                             listeners[p]));
    group->add(jobs.back());
  }
  attach_jobs(*exchange, std::move(jobs));
}

}  // namespace

void add_completion_routes(Router& router, ServerState& state) {
  for (const char* pattern : {"/v1/completions", "/completions"})
    router.add({.method = "POST",
                .pattern = pattern,
                .handler = guarded([&state](const ExchangePtr& e) { complete(state, e); }),
                .worker = true});
}

}  // namespace octet::serve
