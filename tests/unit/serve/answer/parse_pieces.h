#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/answer/answer_parser.h"

namespace octet::serve {

/// What a stream's client has at the end.
struct Streamed {
  std::string reasoning, content;
  struct Call {
    std::string name, arguments;
    bool ended = false;
    bool operator==(const Call&) const = default;
  };
  std::vector<Call> calls;
  std::string open;  ///< raw text of the call that has not ended
  bool in_reasoning = false;
  bool operator==(const Streamed&) const = default;
};

inline void PrintTo(const Streamed& s, std::ostream* out) {
  *out << "reasoning [" << s.reasoning << "] content [" << s.content << "]";
  for (const auto& c : s.calls)
    *out << " call " << c.name << " " << c.arguments << (c.ended ? "" : " (open)");
  *out << " open [" << s.open << "] " << s.in_reasoning;
}

inline void add_events(Streamed& s, const std::vector<AnswerEvent>& events) {
  for (const AnswerEvent& e : events) {
    switch (e.kind) {
      case AnswerEvent::Kind::reasoning:
        s.reasoning += e.text;
        break;
      case AnswerEvent::Kind::content:
        s.content += e.text;
        break;
      case AnswerEvent::Kind::tool_begin:
        EXPECT_EQ(static_cast<std::size_t>(e.call), s.calls.size());
        s.calls.push_back({e.text, "", false});
        break;
      case AnswerEvent::Kind::tool_arguments:
        s.calls.at(static_cast<std::size_t>(e.call)).arguments += e.text;
        break;
      case AnswerEvent::Kind::tool_end:
        s.calls.at(static_cast<std::size_t>(e.call)).ended = true;
        break;
    }
  }
}

/// Feeds a text in pieces whose lengths `next` tells, cut between characters.
inline Streamed parse_pieces(std::string_view text, bool truncated,
                             const AnswerParserOptions& options,
                             const std::function<std::size_t()>& next) {
  AnswerParser parser(options);
  Streamed s;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = std::min(text.size(), at + std::max<std::size_t>(1, next()));
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    std::vector<AnswerEvent> events;
    parser.push(text.substr(at, end - at), events);
    add_events(s, events);
    at = end;
  }
  s.in_reasoning = parser.in_reasoning();
  std::vector<AnswerEvent> events;
  parser.finish(truncated, events);
  add_events(s, events);
  EXPECT_EQ(static_cast<std::size_t>(parser.calls()), s.calls.size());
  s.open = parser.open_call();
  return s;
}

inline Streamed parse_whole(std::string_view text, const AnswerParserOptions& options,
                            bool truncated = false) {
  return parse_pieces(text, truncated, options, [&] { return text.size(); });
}

/// Tools that the tests' answers call.
inline std::vector<Tool> test_tools() {
  return {
      {"get_weather", parse_json(R"({"type": "object", "properties": {
           "city": {"type": "string"}, "days": {"type": "integer"},
           "units": {"type": ["string", "null"]}, "tags": {"type": "array",
           "items": {"type": "string"}}}})",
                                 "tools")},
      {"write_file", parse_json(R"({"type": "object", "properties": {
           "path": {"type": "string"}, "text": {"type": "string"},
           "overwrite": {"type": "boolean"}}})",
                                "tools")},
      {"now", nullptr},
  };
}

inline AnswerParserOptions with_tools(bool in_reasoning = false) {
  AnswerParserOptions o;
  o.in_reasoning = in_reasoning;
  o.parse_tools = true;
  o.tools = test_tools();
  return o;
}

}  // namespace octet::serve
