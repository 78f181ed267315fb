#include <algorithm>
#include <utility>

#include "serve/answer/answer_machine.h"

namespace octet::serve {

namespace {

constexpr std::size_t kMaxNameBytes = 1024;

constexpr unsigned when(bool condition, unsigned set) {
  return condition ? set : 0;
}

}  // namespace

AnswerMachine::AnswerMachine(AnswerParserOptions options)
    : tools_(std::move(options.tools)),
      parse_reasoning_(options.parse_reasoning),
      parse_tools_(options.parse_tools),
      parallel_(options.parallel_tool_calls),
      state_(options.in_reasoning ? State::reasoning : State::content),
      had_reasoning_(options.in_reasoning) {}

void AnswerMachine::push(std::string_view text, std::vector<AnswerEvent>& out) {
  out_ = &out;
  first_ = out.size();
  for (const char c : text) {
    const bool was_open = open_;
    feed(c);
    if (was_open && open_) raw_ += c;
  }
}

bool AnswerMachine::in_reasoning() const {
  return state_ == State::reasoning || (state_ == State::block && fallback_ == State::reasoning);
}

void AnswerMachine::emit(AnswerEvent::Kind kind, std::string_view text) {
  const bool of_call = kind != AnswerEvent::Kind::reasoning && kind != AnswerEvent::Kind::content;
  const int call = of_call ? calls_ - 1 : -1;
  const bool joins = kind != AnswerEvent::Kind::tool_begin && kind != AnswerEvent::Kind::tool_end;
  if (joins && text.empty()) return;
  if (joins && out_->size() > first_ && out_->back().kind == kind && out_->back().call == call)
    out_->back().text += text;
  else
    out_->push_back({kind, std::string(text), call});
}

// Which tags mean something here.
unsigned AnswerMachine::tags() const {
  switch (state_) {
    case State::reasoning:
      return kEndThink | when(fresh_, kThink) | when(parse_tools_, kToolCall);
    case State::content: {
      unsigned set = when(parse_reasoning_, kEndThink);
      if (fresh_ && !had_reasoning_ && calls_ == 0) set |= kThink;
      if (!parse_tools_) return set;
      set |= kToolCall;
      if (line_start_ || after_call_) set |= kFunction;
      if (in_block_ || after_call_) set |= kEndToolCall;
      if (after_call_) set |= kEndFunction | kEndParameter;
      return set;
    }
    case State::block:
      return kFunction | kToolCall;
    case State::between:
    case State::closed_value:
      return kParameter | kEndParameter | kFunction | kEndFunction | kToolCall | kEndToolCall;
    case State::value:
      return kEndParameter |
             when(line_start_, kEndFunction | when(tools_.longest_property(tool_) > 0, kParameter));
    case State::value_end:
      return kEndToolCall;
    default:
      return 0;
  }
}

void AnswerMachine::feed(char c) {
  if (tag_.empty()) {
    if (c == '<' && (tag_set_ = tags()) != 0)
      tag_ = c;
    else
      on_char(c);
    return;
  }
  tag_ += c;
  const TagResult r = match_tag(tag_, tag_set_);
  if (r.match == TagMatch::begins) return;
  if (r.match == TagMatch::complete) {
    tag_.clear();
    on_tag(r.tag);
    return;
  }
  tag_.pop_back();
  const std::string none = std::exchange(tag_, {});
  if (state_ == State::block || state_ == State::closed_value || state_ == State::value_end) {
    // In the state behind it, it may yet begin another tag.
    fail();
    for (const char t : none) feed(t);
  } else {
    plain(none);
  }
  feed(c);
}

void AnswerMachine::on_char(char c) {
  switch (state_) {
    case State::reasoning:
    case State::content:
    case State::value:
      return plain(c);
    case State::block:
    case State::closed_value:
    case State::value_end:
      return look_ahead(c);
    case State::hermes:
      return hermes_char(c);
    case State::bare_name:
    case State::value_key: {
      const bool key = state_ == State::value_key;
      if (c == '>') {
        const std::string_view name = clean_name(buffer_);
        const bool known =
            key ? tools_.coercer(tool_).has_property(name) : tools_.find(name).has_value();
        if (known && key) {
          end_value();
          return begin_parameter();
        }
        if (known) return begin_named_call();
      }
      // Room for blanks and quotes around a name.
      const std::size_t limit = key ? tools_.longest_property(tool_) + 16 : kMaxNameBytes;
      if (c == '>' || c == '<' || c == '\n' || buffer_.size() >= limit) {
        fail();
        return feed(c);
      }
      buffer_ += c;
      return;
    }
    case State::name:
      if (c == '>' && !clean_name(buffer_).empty()) return begin_named_call();
      if (c != '>' && buffer_.size() < kMaxNameBytes) {
        buffer_ += c;
        return;
      }
      fail();
      return feed(c);
    case State::key:
      if (c == '>') return begin_parameter();
      buffer_ += c;
      return;
    case State::between:  // text that is no parameter
    case State::drop:
      return;
  }
}

// Blanks decide nothing. `{` after <tool_call> is a call in the Hermes form.
void AnswerMachine::look_ahead(char c) {
  if (is_blank(c)) {
    held_ += c;
  } else if (c == '{' && state_ == State::block && fallback_ == State::content) {
    state_ = State::hermes;
    depth_ = 0;
    in_string_ = escaped_ = false;
    hermes_char(c);
  } else {
    fail();
    feed(c);
  }
}

// What was held is text after all.
void AnswerMachine::fail() {
  state_ = fallback_;
  const std::string text = std::exchange(held_, {}) + std::exchange(buffer_, {});
  plain(text);
}

void AnswerMachine::on_tag(Tag tag) {
  switch (state_) {
    case State::reasoning:
    case State::content:
      return on_text_tag(tag);
    case State::block:
      held_ += spelling(tag);
      // The call ends the thinking, closed or not.
      if (tag == kFunction) state_ = State::name;
      return;
    default:
      return on_call_tag(tag);
  }
}

void AnswerMachine::on_text_tag(Tag tag) {
  if (tag == kToolCall) {
    fallback_ = state_;
    state_ = State::block;
    held_ = spelling(tag);
    return;
  }
  if (tag == kFunction) {
    fallback_ = State::content;
    state_ = in_block_ && after_call_ ? State::name : State::bare_name;
    held_ = spelling(tag);
    return;
  }
  if (tag == kEndToolCall) {
    in_block_ = false;
    return;
  }
  if (tag != kThink && tag != kEndThink) return;  // a call's end, once more
  if (!parse_reasoning_) plain(spelling(tag));
  if (tag == kThink) {
    state_ = State::reasoning;
    had_reasoning_ = fresh_ = true;
    if (parse_reasoning_) blanks_.clear();
    return;
  }
  if (state_ == State::reasoning) {
    state_ = State::content;
    fresh_ = true;
    if (parse_reasoning_) blanks_.clear();
  }
  // The template writes a blank line behind the block.
  if (parse_reasoning_ && fresh_) {
    skip_newlines_ = true;
    line_start_ = true;
  }
}

void AnswerMachine::plain(std::string_view text) {
  for (const char c : text) plain(c);
}

void AnswerMachine::plain(char c) {
  if (state_ == State::reasoning)
    reasoning_char(c);
  else if (state_ == State::content)
    content_char(c);
  else if (state_ == State::value)
    value_char(c);
}

// Newlines at the ends of the thinking are the template's, not the thought's.
void AnswerMachine::reasoning_char(char c) {
  if (!parse_reasoning_) {
    fresh_ = fresh_ && is_blank(c);
    return emit(AnswerEvent::Kind::content, std::string_view(&c, 1));
  }
  if (c == '\n') {
    if (!fresh_) blanks_ += c;
    return;
  }
  fresh_ = false;
  emit(AnswerEvent::Kind::reasoning, blanks_);
  blanks_.clear();
  emit(AnswerEvent::Kind::reasoning, std::string_view(&c, 1));
}

// White space before a call, and behind one, is none of the content.
void AnswerMachine::content_char(char c) {
  if (skip_newlines_ && c == '\n') return;
  skip_newlines_ = false;
  line_start_ = c == '\n';
  if (is_blank(c) && (parse_tools_ || fresh_)) {
    if (!after_call_) blanks_ += c;
    return;
  }
  after_call_ = fresh_ = false;
  emit(AnswerEvent::Kind::content, blanks_);
  blanks_.clear();
  emit(AnswerEvent::Kind::content, std::string_view(&c, 1));
}

void AnswerMachine::finish(bool truncated, std::vector<AnswerEvent>& out) {
  out_ = &out;
  first_ = out.size();
  std::string tag = std::exchange(tag_, {});
  switch (state_) {
    case State::reasoning:
    case State::content:
      if (after_call_ && tag.starts_with("</")) tag.clear();  // of the call's end
      break;
    case State::name:
      fallback_ = State::content;
      [[fallthrough]];
    case State::block:
    case State::bare_name:
    case State::hermes:
      fail();
      break;
    case State::between:
      return truncated ? void() : close_call();
    case State::closed_value:
      if (truncated) return;
      [[fallthrough]];
    case State::value_end:  // the call's end was seen
      end_value();
      return close_call();
    default:
      return;
  }
  plain(tag);
  const bool reasoning = state_ == State::reasoning && parse_reasoning_;
  emit(reasoning ? AnswerEvent::Kind::reasoning : AnswerEvent::Kind::content,
       std::exchange(blanks_, {}));
}

}  // namespace octet::serve
