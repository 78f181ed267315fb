#pragma once

#include <string>
#include <utility>
#include <vector>

#include "fake_exchange.h"
#include "request_world.h"
#include "serve/job.h"

namespace octet::test {

/// An exchange for one of the dialects, whose reader may be slow or gone.
class DialectExchange : public FakeExchange {
 public:
  explicit DialectExchange(std::string path) {
    request_.path = std::move(path);
    request_.request_id = "req_1";
  }
  std::size_t queued_bytes() const override { return queued; }
  bool closed() const override { return gone; }
  std::size_t queued = 0;
  bool gone = false;
};

/// Frames of a stream: the event's name and its data. Fails on anything that is no such frame.
inline std::vector<std::pair<std::string, json::value>> events(const std::string& text) {
  std::vector<std::pair<std::string, json::value>> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find("\n\n", at);
    const std::size_t line = text.find('\n', at);
    const std::string_view all = text;
    if (end == std::string::npos || line >= end || all.substr(at, 7) != "event: " ||
        all.substr(line + 1, 6) != "data: " || all.find('\n', line + 1) != end) {
      ADD_FAILURE() << "no frame: " << all.substr(at, 200);
      return out;
    }
    out.emplace_back(all.substr(at + 7, line - at - 7),
                     parse_json(all.substr(line + 7, end - line - 7), "frame"));
    at = end + 2;
  }
  return out;
}

inline serve::ChatPrompt prompt_of(std::size_t tokens) {
  serve::ChatPrompt prompt;
  prompt.ids.resize(tokens);
  return prompt;
}

inline serve::AnswerEvent event(serve::AnswerEvent::Kind kind, std::string text, int call = -1) {
  return {kind, std::move(text), call};
}

}  // namespace octet::test
