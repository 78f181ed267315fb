#include "serve/answer/answer_parser.h"

#include <algorithm>
#include <utility>

#include "serve/answer/answer_machine.h"

namespace octet::serve {

struct AnswerParser::Impl : AnswerMachine {
  using AnswerMachine::AnswerMachine;
};

AnswerParser::AnswerParser(AnswerParserOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
AnswerParser::~AnswerParser() = default;
AnswerParser::AnswerParser(AnswerParser&&) noexcept = default;
AnswerParser& AnswerParser::operator=(AnswerParser&&) noexcept = default;

void AnswerParser::push(std::string_view text, std::vector<AnswerEvent>& out) {
  impl_->push(text, out);
}

void AnswerParser::finish(bool truncated, std::vector<AnswerEvent>& out) {
  impl_->finish(truncated, out);
}

bool AnswerParser::in_reasoning() const {
  return impl_->in_reasoning();
}

int AnswerParser::calls() const {
  return impl_->calls();
}

const std::string& AnswerParser::open_call() const {
  return impl_->open_call();
}

void show_open_call(const AnswerParser& parser, std::vector<AnswerEvent>& events) {
  using Kind = AnswerEvent::Kind;
  std::string_view open = parser.open_call();
  if (open.empty()) return;
  while (!events.empty() && events.back().kind != Kind::tool_begin) events.pop_back();
  if (!events.empty()) events.pop_back();
  const bool first = std::ranges::none_of(
      events, [](const AnswerEvent& e) { return e.kind == Kind::content && !e.text.empty(); });
  if (first) open.remove_prefix(open.find_first_not_of(" \t\r\n\f\v"));
  events.push_back({Kind::content, std::string(open), -1});
}

ParsedAnswer parse_answer(std::string_view text, bool truncated, AnswerParserOptions options) {
  AnswerParser parser(std::move(options));
  std::vector<AnswerEvent> events;
  parser.push(text, events);
  parser.finish(truncated, events);
  show_open_call(parser, events);
  ParsedAnswer answer;
  for (AnswerEvent& e : events) {
    switch (e.kind) {
      case AnswerEvent::Kind::reasoning:
        answer.reasoning += e.text;
        break;
      case AnswerEvent::Kind::content:
        answer.content += e.text;
        break;
      case AnswerEvent::Kind::tool_begin:
        answer.calls.push_back({std::move(e.text), {}});
        break;
      case AnswerEvent::Kind::tool_arguments:
        answer.calls.back().arguments += e.text;
        break;
      case AnswerEvent::Kind::tool_end:
        break;
    }
  }
  return answer;
}

}  // namespace octet::serve
