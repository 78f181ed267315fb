#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/api/dialect_fields.h"
#include "serve/api/responses_tools.h"

namespace octet::serve {

/// A request of OpenAI's Responses API, read. serving.md §15.
struct ResponsesRequest {
  std::optional<std::string> model;  ///< as asked
  bool stream = false, logprobs = false;
  Job job;                          ///< its messages are not normalized yet
  ResponseTools tools;              ///< what its calls are to the client
  json::object echo;                ///< fields of the request that the response repeats
  std::vector<std::string> unused;  ///< fields and tools without effect, for the log
};

/// Errors: HttpError 400 with the field's path. Linear in the body.
ResponsesRequest read_responses_request(const json::value& body, const RequestContext& context);

/// `input` as OpenAI's chat has it: reasoning, text and calls of one turn become one assistant
/// message. Errors: HttpError 400 with the item's path.
json::array read_responses_input(const json::value& input);

}  // namespace octet::serve
