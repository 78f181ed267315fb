#pragma once

#include <memory>
#include <string>
#include <vector>

#include "serve/api/answer_blocks.h"
#include "serve/api/sse.h"
#include "serve/job.h"

namespace octet::serve {

/// How an answer ended, in Anthropic's words.
struct MessageEnd {
  /// end_turn, max_tokens, model_context_window_exceeded, stop_sequence, tool_use
  std::string stop_reason;
  json::value stop_sequence;
};
/// clamped: the context left fewer tokens than max_tokens; asking for more of them is no help then.
MessageEnd message_end(const ChoiceEnd& end, bool clamped);
/// Anthropic counts what came from the cache apart.
json::object message_usage(const Usage& usage);
/// The same error in the words that Anthropic's clients look for.
HttpError anthropic_error(const HttpError& error);

/// A whole message. serving.md §16.3.
class MessageWriter : public JobListener {
 public:
  MessageWriter(ExchangePtr exchange, std::string id, std::string model);
  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override;
  void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                 const std::vector<generate::TokenOutput>& tokens) override;
  void on_choice_end(std::int64_t choice, const ChoiceEnd& end) override;
  void on_done(const Usage& usage) override;
  void on_error(const HttpError& error) override;

 private:
  ExchangePtr exchange_;
  std::string id_, model_;
  Headers headers_;
  std::string content_;  // JSON of the blocks, joined
  AnswerBlocks blocks_;
  ChoiceEnd end_;
  bool clamped_ = false;
};

/// A message as a stream of events. serving.md §16.4. The first event waits for the number of
/// tokens that came from the cache, so that its usage is right; until then a silent stream says
/// comments, then events.
class MessageStream : public JobListener {
 public:
  /// stream: not begun. queue_bytes: a reader with more waits.
  MessageStream(std::shared_ptr<SseStream> stream, std::string id, std::string model,
                std::size_t queue_bytes);
  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override;
  void on_progress(const generate::PromptProgress& progress) override;
  void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                 const std::vector<generate::TokenOutput>& tokens) override;
  void on_choice_end(std::int64_t choice, const ChoiceEnd& end) override;
  void on_done(const Usage& usage) override;
  void on_error(const HttpError& error) override;
  bool ready() override;

 private:
  void start();
  void send(std::string_view type, json::object event);
  void block_changed(AnswerBlocks::Step step, AnswerBlock& block, std::string_view piece);

  std::shared_ptr<SseStream> stream_;
  std::string id_, model_;
  std::size_t queue_bytes_;
  AnswerBlocks blocks_;
  Usage usage_;
  MessageEnd end_;
  bool clamped_ = false, started_ = false, failed_ = false;
};

}  // namespace octet::serve
