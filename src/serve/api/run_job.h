#pragma once

#include <memory>
#include <string>
#include <vector>

#include "serve/http/exchange.h"
#include "serve/job.h"

namespace octet::serve {

/// Ties jobs to the exchange that they answer: when the client goes they are cancelled, when its
/// queue has room again they go on. Once for an exchange, after the jobs have started.
void attach_jobs(Exchange& exchange, std::vector<std::shared_ptr<RunningJob>> jobs);

/// start_job and attach_jobs.
void run_job(Service& service, const ExchangePtr& exchange, std::string id, Job job,
             std::shared_ptr<JobListener> listener);

/// May the answers go on, by what the client has not taken yet?
bool reader_keeps_up(const Service& service, const Exchange& exchange);

}  // namespace octet::serve
