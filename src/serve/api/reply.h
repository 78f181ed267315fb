#pragma once

#include <string>

#include "serve/api/chat_request.h"
#include "serve/job.h"

namespace octet::serve {

class Service;

/// What all frames and responses of one request begin with.
struct Envelope {
  std::string id, object;
  std::int64_t created = 0;
  std::string model, fingerprint;  ///< fingerprint empty: null

  /// {"id", "object", "created", "model"}.
  json::object head() const;
};

/// OpenAI's usage. serving.md §5.
json::object usage_json(const Usage& usage);
/// llama-server's timings.
json::object timings_json(const generate::AnswerSummary& summary);
/// vLLM's per-request metrics.
json::object metrics_json(const generate::AnswerSummary& summary);
/// {"prompt_progress": ...} of llama-server.
json::object progress_json(const generate::PromptProgress& progress);

/// "x-octet-clamped-max-tokens", if the context left less than was asked for.
Headers clamp_headers(std::int64_t max_tokens, bool clamped);

}  // namespace octet::serve
