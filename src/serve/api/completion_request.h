#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/api/chat_request.h"
#include "serve/field_reader.h"

namespace octet::serve {

struct CompletionRequest {
  std::optional<std::string> model;
  std::string request_id;
  Job job;  ///< of each prompt, but for the prompt: a thousand copies of a schema are too many
  std::vector<std::vector<std::int32_t>> prompts;
  ReplyOptions reply;
  bool echo = false, prompt_logprobs = false;
  std::vector<std::string> unknown;
};

/// Reads a body of /v1/completions and tokenizes its prompts: serving.md §7. Errors: HttpError 400
/// with the field's path, 501.
CompletionRequest read_completion_request(const json::value& body, const RequestContext& context);

/// A prompt: a string, ids, or a list of either; special tokens in strings are read as such.
std::vector<std::vector<std::int32_t>> read_prompts(FieldReader& body, std::string_view name,
                                                    const RequestContext& context);

}  // namespace octet::serve
