#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "generate/token_output.h"
#include "input/tokenizer/stream_decoder.h"
#include "serve/answer/answer_parser.h"
#include "serve/answer/stop_strings.h"
#include "serve/think_tracker.h"

namespace octet::serve {

struct AnswerStreamOptions {
  bool skip_special_tokens = true, include_stop = false, stop_in_reasoning = true;
  bool ignore_eos = false;
  std::vector<std::int32_t> eos_ids, stop_token_ids;  ///< sorted
  std::vector<std::string> stop;
  std::int64_t min_tokens = 0;  ///< stop strings within so many tokens don't count
  std::int64_t interval = 1;    ///< tokens that one call of emit may gather
  bool incremental = true;      ///< false: events come at the end, of the whole text
  bool parse = true;            ///< false: all text is content
  std::int32_t think_begin = -1, think_end = -1;
  AnswerParserOptions parser;  ///< in_reasoning is used even if nothing is parsed
};

/// One answer's tokens on their way to its reader: bytes to characters, stop strings, reasoning and
/// calls told apart, gathered into pieces that hold either reasoning or the rest. Knows no engine.
/// Threads: one at a time.
class AnswerStream {
 public:
  /// Events with the tokens whose text they hold; tokens whose text waits come with what releases
  /// it.
  using Emit = std::function<void(const std::vector<AnswerEvent>&,
                                  const std::vector<generate::TokenOutput>&)>;

  AnswerStream(const tokenizer::Tokenizer& tokenizer, AnswerStreamOptions options, Emit emit);

  /// False: a stop string was found, the token is the answer's last.
  bool push(const generate::TokenOutput& token);
  /// The answer is complete; releases everything. truncated: by length.
  void finish(bool truncated);

  std::int64_t tokens() const { return tokens_; }
  std::int64_t reasoning_tokens() const { return reasoning_tokens_; }
  /// Calls in what was emitted.
  std::int64_t calls() const { return calls_; }
  const std::optional<std::string>& matched() const { return stops_.matched(); }
  bool thinking() const { return tracker_.thinking(); }

 private:
  std::string text_of(std::int32_t id);
  void parse(std::string_view text);
  void take_events(bool last);
  void flush();

  AnswerStreamOptions o_;
  Emit emit_;
  tokenizer::StreamDecoder decoder_;
  StopStrings stops_;
  std::optional<AnswerParser> parser_;
  ThinkTracker tracker_;
  bool parser_thought_ = false;
  std::vector<AnswerEvent> fresh_, taken_, events_, told_events_;
  std::vector<AnswerEvent> whole_;  // if not incremental, all so far
  // waiting_: their text is not out; gathered_: belong to events_. since_: of gathered_ and
  // waiting_.
  std::vector<generate::TokenOutput> waiting_, gathered_, told_tokens_;
  std::int64_t tokens_ = 0, reasoning_tokens_ = 0, calls_ = 0, since_ = 0;
  bool emitted_ = false;
};

}  // namespace octet::serve
