#include <utility>

#include "serve/answer/answer_machine.h"

namespace octet::serve {

using Kind = AnswerEvent::Kind;

// A tag inside a call.
void AnswerMachine::on_call_tag(Tag tag) {
  if (state_ == State::value) {
    fallback_ = State::value;
    held_ = spelling(tag);
    state_ = tag == kEndParameter ? State::closed_value
             : tag == kParameter  ? State::value_key
                                  : State::value_end;
    return;
  }
  if (tag == kEndParameter) {  // once more than needed
    if (state_ == State::closed_value) held_ += spelling(tag);
    return;
  }
  if (state_ == State::closed_value || state_ == State::value_end) {
    end_value();
    state_ = State::between;
  }
  if (tag == kParameter) {
    state_ = State::key;
    return;
  }
  // Whatever else comes ends the call, said or not.
  close_call();
  if (tag == kEndToolCall) in_block_ = false;
  if (state_ == State::drop || (tag != kFunction && tag != kToolCall)) return;
  fallback_ = State::content;
  held_ = spelling(tag);
  state_ = tag == kFunction ? State::name : State::block;
}

void AnswerMachine::begin_named_call() {
  const std::string written = std::exchange(buffer_, {});
  raw_ = std::exchange(blanks_, {}) + std::exchange(held_, {}) + written + ">";
  in_block_ = in_block_ || state_ == State::name;
  begin_call(clean_name(written));
}

void AnswerMachine::begin_call(std::string_view name) {
  tool_ = tools_.find(name);
  ++calls_;
  open_ = true;
  parameters_ = 0;
  fresh_ = after_call_ = skip_newlines_ = false;
  emit(Kind::tool_begin, tool_ ? std::string_view(tools_.name(*tool_)) : name);
  state_ = State::between;
}

void AnswerMachine::close_call() {
  emit(Kind::tool_arguments, parameters_ == 0 ? "{}" : "}");
  end_call();
}

void AnswerMachine::end_call() {
  emit(Kind::tool_end, {});
  open_ = false;
  raw_.clear();
  tool_.reset();
  after_call_ = line_start_ = true;
  state_ = parallel_ ? State::content : State::drop;
}

// The key lies in buffer_.
void AnswerMachine::begin_parameter() {
  const std::string written = std::exchange(buffer_, {});
  const std::string_view key = clean_name(written);
  Coercer& coercer = tools_.coercer(tool_);
  schema_ = coercer.parameter(key);
  is_string_ = coercer.is_string(schema_);
  emit(Kind::tool_arguments, (parameters_++ == 0 ? "{" : ", ") + json_string(key) + ": ");
  if (is_string_) emit(Kind::tool_arguments, "\"");
  value_.clear();
  held_newline_ = false;
  value_start_ = line_start_ = true;
  state_ = State::value;
}

void AnswerMachine::value_char(char c) {
  line_start_ = c == '\n';
  if (std::exchange(value_start_, false) && c == '\n') return;
  if (std::exchange(held_newline_, false)) value_text('\n');
  if (c == '\n')
    held_newline_ = true;
  else
    value_text(c);
}

void AnswerMachine::value_text(char c) {
  if (!is_string_) {
    value_ += c;
    return;
  }
  std::string escaped;
  append_json_escaped(escaped, c);
  emit(Kind::tool_arguments, escaped);
}

void AnswerMachine::end_value() {
  held_.clear();
  held_newline_ = false;
  emit(Kind::tool_arguments,
       is_string_ ? "\"" : tools_.coercer(tool_).coerce(std::exchange(value_, {}), schema_));
}

// Looks for the end of the JSON; whether it is a call is known then.
void AnswerMachine::hermes_char(char c) {
  if (c == '<' && !in_string_) {  // never in JSON: better a tag that is read than an answer lost
    fail();
    return feed(c);
  }
  buffer_ += c;
  if (std::exchange(escaped_, false)) return;
  if (in_string_) {
    escaped_ = c == '\\';
    in_string_ = c != '"';
  } else if (c == '"') {
    in_string_ = true;
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if ((c == '}' || c == ']') && --depth_ == 0 && !hermes_call()) {
    fail();
  }
}

// {"name": "f", "arguments": {...}}; the arguments may be a string that holds the object.
bool AnswerMachine::hermes_call() {
  const auto literal = Literal::parse_either(buffer_);
  if (!literal || literal->kind(literal->root()) != Literal::Kind::object) return false;
  std::string name;
  std::optional<Literal::Node> arguments;
  const auto nodes = literal->items(literal->root());
  for (std::size_t i = 0; i + 1 < nodes.size(); i += 2) {
    const std::string key = literal->string(nodes[i]);
    if (key == "name" && literal->kind(nodes[i + 1]) == Literal::Kind::string)
      name = literal->string(nodes[i + 1]);
    if (key == "arguments" || key == "parameters") arguments = nodes[i + 1];
  }
  if (clean_name(name).empty()) return false;
  Coercer& coercer = tools_.coercer(tools_.find(clean_name(name)));
  std::string text = "{}";
  if (arguments && literal->kind(*arguments) == Literal::Kind::object) {
    text = coercer.coerce_object(*literal, *arguments);
  } else if (arguments && literal->kind(*arguments) == Literal::Kind::string) {
    const std::string written = literal->string(*arguments);
    const auto inner = Literal::parse_either(written);
    if (!inner || inner->kind(inner->root()) != Literal::Kind::object) return false;
    text = coercer.coerce_object(*inner, inner->root());
  } else if (arguments && literal->kind(*arguments) != Literal::Kind::null) {
    return false;
  }
  blanks_.clear();
  held_.clear();
  buffer_.clear();
  in_block_ = true;
  begin_call(clean_name(name));
  emit(Kind::tool_arguments, text);
  end_call();
  return true;
}

}  // namespace octet::serve
