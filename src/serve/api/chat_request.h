#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/api/request_context.h"
#include "serve/field_reader.h"
#include "serve/job.h"

namespace octet::serve {

/// How a client wants to be answered, beyond the job.
struct ReplyOptions {
  bool stream = false, include_usage = false, continuous_usage = false;
  bool return_token_ids = false, tokens_as_token_ids = false, return_prompt_text = false;
  bool return_progress = false, timings = false;
  bool logprobs = false;
  double ping_seconds = 15;  ///< of silence in a stream; 0: no pings
};

struct ChatRequest {
  std::optional<std::string> model;
  std::string request_id;  ///< asked for in the body; empty: none
  Job job;
  ReplyOptions reply;
  bool include_reasoning = true;
  std::string echo;  ///< begins the content
  std::vector<std::string> unknown;
};

/// Reads a body of /v1/chat/completions: serving.md §3.1, §3.2. Messages are looked at later.
/// Errors: HttpError 400 with the field's path,
/// 501 for what can't be had.
ChatRequest read_chat_request(const json::value& body, const RequestContext& context);

/// stream, stream_options and what else shapes a reply of OpenAI's endpoints.
ReplyOptions read_reply_options(FieldReader& body, const RequestContext& context);

/// max_completion_tokens, max_tokens or n_predict, whichever is there in this order.
std::optional<std::int64_t> read_max_tokens(FieldReader& body, std::int64_t least);

}  // namespace octet::serve
