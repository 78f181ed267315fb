#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "serve/api/reply.h"
#include "serve/api/sse.h"
#include "serve/api/token_text.h"

namespace octet::serve {

struct CompletionReply {
  Envelope envelope;  ///< object is set by the writer
  ReplyOptions options;
  bool echo = false, prompt_logprobs = false, per_request_metrics = false;
  std::int64_t n = 1, prompts = 1;
  std::function<bool()> ready;   ///< the client keeps up; empty: always
  std::function<void()> cancel;  ///< ends all jobs, after one of them failed; may be empty
};

/// Where the jobs of one /v1/completions request meet: a job for each prompt, n choices each.
/// Streams if a stream is given, else gathers and responds once. serving.md §7.
/// Returns the listeners, one for each prompt.
std::vector<std::shared_ptr<JobListener>> make_completion_listeners(
    ExchangePtr exchange, std::shared_ptr<SseStream> stream, const tokenizer::Tokenizer& tokenizer,
    CompletionReply reply);

}  // namespace octet::serve
