#include "serve/api/run_job.h"

#include "serve/service.h"

namespace octet::serve {

void attach_jobs(Exchange& exchange, std::vector<std::shared_ptr<RunningJob>> jobs) {
  // Weak: the engine holds jobs, jobs hold their exchange.
  std::vector<std::weak_ptr<RunningJob>> weak(jobs.begin(), jobs.end());
  exchange.on_writable([weak] {
    for (const auto& w : weak)
      if (const auto job = w.lock()) job->wake();
  });
  exchange.on_disconnect([weak] {
    for (const auto& w : weak)
      if (const auto job = w.lock()) job->cancel();
  });
}

void run_job(Service& service, const ExchangePtr& exchange, std::string id, Job job,
             std::shared_ptr<JobListener> listener) {
  attach_jobs(*exchange, {start_job(service, std::move(id), std::move(job), std::move(listener))});
}

bool reader_keeps_up(const Service& service, const Exchange& exchange) {
  return exchange.closed() || exchange.queued_bytes() <= service.options().stream_queue_bytes;
}

}  // namespace octet::serve
