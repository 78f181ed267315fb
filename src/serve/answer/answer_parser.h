#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"

namespace octet::serve {

/// A function that the client offers, as far as reading calls needs it.
struct Tool {
  std::string name;
  json::value parameters;  ///< JSON schema of the arguments; null: none
  bool strict = false;
};

/// What a piece of an answer's text turned out to be.
struct AnswerEvent {
  enum class Kind {
    reasoning,       ///< text
    content,         ///< text
    tool_begin,      ///< call, text = the function's name
    tool_arguments,  ///< call, text = a fragment of the arguments' JSON
    tool_end,        ///< call: its arguments are complete
  };
  Kind kind = Kind::content;
  std::string text;
  int call = -1;  ///< number of the call within the answer, from 0
};

struct AnswerParserOptions {
  bool in_reasoning = false;    ///< the prompt leaves a think block open (§12.1)
  bool parse_reasoning = true;  ///< false: raw text, markers included
  bool parse_tools = false;
  bool parallel_tool_calls = true;  ///< false: what follows the first call is dropped
  std::vector<Tool> tools;
};

/// Cuts an answer's text into reasoning, content and tool calls as it comes. serving.md §12, §13.
/// The events joined by kind and call are the same for every cut of the text. Linear time.
/// Threads: one at a time.
class AnswerParser {
 public:
  explicit AnswerParser(AnswerParserOptions options);
  ~AnswerParser();
  AnswerParser(AnswerParser&&) noexcept;
  AnswerParser& operator=(AnswerParser&&) noexcept;

  /// Appends events to out; text that may still turn out otherwise is held back.
  void push(std::string_view text, std::vector<AnswerEvent>& out);
  /// The answer is complete. truncated: by length, so that an open call is no call (§13.3 rule 9).
  void finish(bool truncated, std::vector<AnswerEvent>& out);
  /// Inside the think block, after what was pushed.
  bool in_reasoning() const;
  /// Calls that were begun.
  int calls() const;
  /// The raw text of a call that was begun and is not complete, with the white space before it;
  /// else empty. After finish(): what a whole answer shows as content in its place.
  const std::string& open_call() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// In place of the events of a call that was cut off, its raw text as content: what a whole answer
/// shows (§13.3 rule 9). events: all of the answer's, after finish().
void show_open_call(const AnswerParser& parser, std::vector<AnswerEvent>& events);

/// A whole answer, parsed: what the events add up to.
struct ParsedAnswer {
  std::string reasoning, content;
  struct Call {
    std::string name, arguments;
  };
  std::vector<Call> calls;
};
/// Parses a whole text.
ParsedAnswer parse_answer(std::string_view text, bool truncated, AnswerParserOptions options);

/// The value of a parameter by its schema (§13.4): JSON text, spelled as json.dumps does.
/// root: the schema that local $refs refer to.
std::string coerce_argument(std::string_view text, const json::value* schema,
                            const json::value& root);

}  // namespace octet::serve
