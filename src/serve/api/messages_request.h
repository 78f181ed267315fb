#pragma once

#include <optional>
#include <string>
#include <vector>

#include "serve/api/dialect_fields.h"

namespace octet::serve {

class OfferedTools;

/// A request of Anthropic's Messages API, read. serving.md §16.1, §16.2.
struct MessagesRequest {
  std::optional<std::string> model;  ///< as asked
  bool stream = false;
  Job job;                          ///< its messages are not normalized yet
  std::vector<std::string> unused;  ///< fields and tools without effect, for the log
};

/// counting: for count_tokens, which needs no max_tokens. Errors: HttpError 400 with the field's
/// path. Linear in the body.
MessagesRequest read_messages_request(const json::value& body, const RequestContext& context,
                                      bool counting);

/// `messages` as OpenAI's chat has them: results of tools become tool messages, thinking becomes
/// reasoning_content. tools: hears which are referred to, added and removed. Errors: HttpError 400
/// with the block's path.
json::array read_anthropic_messages(const json::array& messages, OfferedTools& tools);
/// `system`: a string, or blocks of text, joined by newlines; nothing if there is none. Without the
/// lines in which Claude Code tells Anthropic's servers who pays: they change from session to
/// session, or from request to request, and nothing behind them could come from the prefix cache.
std::optional<std::string> read_anthropic_system(FieldReader& body);

/// The name matches one of the patterns ("claude*"; * only at the end).
bool matches_alias(std::string_view name, const std::vector<std::string>& patterns);

}  // namespace octet::serve
