#pragma once

#include <memory>

#include "serve/api/reply.h"
#include "serve/api/sse.h"
#include "serve/api/token_text.h"
#include "serve/think_tracker.h"

namespace octet::serve {

/// What the writers of chat replies need besides the events.
struct ChatReply {
  Envelope envelope;  ///< object is set by the writers
  ReplyOptions options;
  bool include_reasoning = true, per_request_metrics = false;
  std::string echo, role = "assistant";
  std::string reasoning_field = "both";
  std::int64_t n = 1;
  std::int32_t think_begin = -1, think_end = -1;
  std::function<bool()> ready;  ///< the client keeps up; empty: always
};

/// Reasoning under the names that clients look for.
void put_reasoning(json::object& message, const std::string& text, const std::string& field);

/// Gathers a whole chat answer and responds once. serving.md §5.
std::shared_ptr<JobListener> make_chat_collector(ExchangePtr exchange,
                                                 const tokenizer::Tokenizer& tokenizer,
                                                 ChatReply reply);
/// Writes a chat answer as it comes. serving.md §6.
std::shared_ptr<JobListener> make_chat_stream(std::shared_ptr<SseStream> stream,
                                              const tokenizer::Tokenizer& tokenizer,
                                              ChatReply reply);

}  // namespace octet::serve
