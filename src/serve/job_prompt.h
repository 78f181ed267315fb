#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "serve/job.h"

namespace octet::serve {

class Service;

/// The prompt's ids and where they are stable: rendered, or the job's own, cut as it asks. Takes
/// what it needs out of the job. Errors: HttpError 400.
ChatPrompt make_job_prompt(Service& service, Job& job);

struct TokenRoom {
  std::int64_t max_tokens = 0;
  bool clamped = false;  ///< the request wanted more than the context leaves
};

/// How long the answer may be. Errors: HttpError 400 if the prompt (or, strictly, prompt and
/// max_tokens) is longer than the context; n_prompt_tokens and n_ctx are among its keys.
TokenRoom token_room(const Service& service, const Job& job, std::int64_t prompt_tokens);

/// What a failure of start_job is to a client; ours go to the log under the response's id.
HttpError job_error(std::exception_ptr error, const std::string& id);

/// A line of the log with a job's numbers, without anything that somebody wrote.
void log_job(const std::string& id, const Job& job, std::int64_t prompt_tokens,
             std::int64_t max_tokens);

}  // namespace octet::serve
