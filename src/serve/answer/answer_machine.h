#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/answer/answer_parser.h"
#include "serve/answer/answer_tags.h"
#include "serve/answer/tool_set.h"

namespace octet::serve {

/// The automaton behind AnswerParser. It reads a character at a time and never looks at where a
/// piece ends, so the pieces can't matter. A character is read again at most twice (when what
/// seemed to begin a tag is none), so the time is linear. What is undecided lies in tag_ (a tag's
/// beginning), held_ and buffer_ (text whose meaning depends on what follows), blanks_.
class AnswerMachine {
 public:
  explicit AnswerMachine(AnswerParserOptions options);
  void push(std::string_view text, std::vector<AnswerEvent>& out);
  void finish(bool truncated, std::vector<AnswerEvent>& out);
  bool in_reasoning() const;
  int calls() const { return calls_; }
  const std::string& open_call() const { return raw_; }

 private:
  enum class State {
    reasoning,
    content,
    block,         // after <tool_call>: is it a call?
    bare_name,     // after a <function= at the beginning of a line, without <tool_call>
    name,          // after <function= in a block, until >
    hermes,        // in a block, from { on
    between,       // in a call, outside its parameters
    key,           // after <parameter=, until >
    value,         // of a parameter
    closed_value,  // after </parameter>: does it end the value?
    value_key,     // after a <parameter= at the beginning of a line of a value, until >
    value_end,     // after a </function> at the beginning of a line of a value
    drop,          // after the only call that is wanted
  };

  // answer_text.cpp
  void feed(char c);
  unsigned tags() const;
  void on_char(char c);
  void on_tag(Tag tag);
  void on_text_tag(Tag tag);
  void look_ahead(char c);
  void plain(char c);
  void plain(std::string_view text);
  void reasoning_char(char c);
  void content_char(char c);
  void fail();
  void emit(AnswerEvent::Kind kind, std::string_view text);

  // answer_call.cpp
  void on_call_tag(Tag tag);
  void begin_named_call();
  void begin_call(std::string_view name);
  void close_call();
  void end_call();
  void begin_parameter();
  void value_char(char c);
  void value_text(char c);
  void end_value();
  void hermes_char(char c);
  bool hermes_call();

  ToolSet tools_;
  bool parse_reasoning_, parse_tools_, parallel_;
  State state_;
  std::string tag_;                  // a beginning of one of tag_set_
  unsigned tag_set_ = 0;             // what tag_ may become
  std::string held_;                 // tags and blanks that state_ has not decided on
  std::string buffer_;               // name, key or JSON that is being read
  State fallback_ = State::content;  // what held_ and buffer_ are if they are no call

  std::string blanks_;          // of reasoning: newlines; of content: white space not yet sent
  bool fresh_ = true;           // nothing but white space in this part yet
  bool had_reasoning_ = false;  // a think block was open
  bool skip_newlines_ = false;  // after </think>
  bool line_start_ = true;      // of content or of a value
  bool after_call_ = false;     // nothing but white space since a call
  bool in_block_ = false;       // a <tool_call> is open

  int calls_ = 0;
  bool open_ = false;                // a call was begun and not ended
  std::string raw_;                  // its text, until it is complete
  std::optional<std::size_t> tool_;  // which it calls, if that is known
  std::size_t parameters_ = 0;
  const json::value* schema_ = nullptr;  // of the value
  bool is_string_ = false;               // it is sent as it comes
  bool value_start_ = false;             // nothing of it yet
  bool held_newline_ = false;            // its last newline, which may be the closing tag's
  std::string value_;                    // if it is no string
  int depth_ = 0;                        // of Hermes JSON
  bool in_string_ = false, escaped_ = false;

  std::vector<AnswerEvent>* out_ = nullptr;
  std::size_t first_ = 0;  // where this push's events begin
};

}  // namespace octet::serve
