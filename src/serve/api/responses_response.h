#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "serve/api/answer_blocks.h"
#include "serve/api/responses_tools.h"
#include "serve/api/sse.h"
#include "serve/api/token_text.h"
#include "serve/job.h"

namespace octet::serve {

/// What a response says of itself from the beginning.
struct ResponseHead {
  std::string id, model;
  std::int64_t created = 0;  ///< Unix seconds
  json::object echo;         ///< fields of the request
  ResponseTools tools;
  bool logprobs = false;
};

/// The prompt does not fit into the context.
bool is_too_long(const HttpError& error);

/// An answer as items of the Responses API. serving.md §15. Threads: one at a time.
class ResponseBuilder {
 public:
  /// Called at each change of the item that is being written.
  using Change = AnswerBlocks::Change;
  ResponseBuilder(ResponseHead head, const tokenizer::Tokenizer& tokenizer, Change change = {});

  void push(const std::vector<AnswerEvent>& events,
            const std::vector<generate::TokenOutput>& tokens);
  void finish(const ChoiceEnd& end);
  /// The response with what there is of it; usage: null while it is not known.
  json::object response(const Usage* usage, const HttpError* error = nullptr) const;

  /// The item of a block; status: in_progress, completed, incomplete.
  json::object item(const AnswerBlock& block, std::string_view status) const;
  static std::string_view status_of(const AnswerBlock& block) {
    return block.complete ? "completed" : "incomplete";
  }
  /// A call whose input is text.
  bool is_custom(const AnswerBlock& block) const {
    return block.kind == AnswerBlock::Kind::call && head_.tools.is_custom(block.name);
  }
  /// What a block that is a call is to the client.
  ResponseCall call(const AnswerBlock& block) const { return head_.tools.call_of(block.name); }
  /// The one part of a reasoning item or a message.
  json::object part(const AnswerBlock& block, bool with_text) const;
  /// Log-probabilities of the message that is written, and of its last piece (once).
  const json::array& logprobs() const { return logprobs_; }
  json::array take_fresh_logprobs() { return std::exchange(fresh_, {}); }
  /// "response.completed" or how else it ended.
  std::string_view final_event() const;

 private:
  void changed(AnswerBlocks::Step step, AnswerBlock& block, std::string_view piece);

  ResponseHead head_;
  TokenText token_text_;
  Change change_;
  AnswerBlocks blocks_;
  json::array output_;
  json::array logprobs_, fresh_, waiting_;  // of the message, of its last piece, of none yet
  bool ended_ = false, incomplete_ = false;
};

/// The response as a whole.
class ResponseWriter : public JobListener {
 public:
  ResponseWriter(ExchangePtr exchange, ResponseHead head, const tokenizer::Tokenizer& tokenizer);
  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override;
  void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                 const std::vector<generate::TokenOutput>& tokens) override;
  void on_choice_end(std::int64_t choice, const ChoiceEnd& end) override;
  void on_done(const Usage& usage) override;
  void on_error(const HttpError& error) override;

 private:
  ExchangePtr exchange_;
  Headers headers_;
  ResponseBuilder builder_;
  std::optional<HttpError> failure_;
};

/// The response as a stream of events. A prompt that is too long is one, too: response.failed.
class ResponseStream : public JobListener {
 public:
  /// stream: not begun. queue_bytes: a reader with more waits.
  ResponseStream(std::shared_ptr<SseStream> stream, ResponseHead head,
                 const tokenizer::Tokenizer& tokenizer, std::size_t queue_bytes);
  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override;
  void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                 const std::vector<generate::TokenOutput>& tokens) override;
  void on_choice_end(std::int64_t choice, const ChoiceEnd& end) override;
  void on_done(const Usage& usage) override;
  void on_error(const HttpError& error) override;
  bool ready() override;

 private:
  void begin(Headers headers);
  void send(std::string_view type, json::object fields);
  void block_changed(AnswerBlocks::Step step, AnswerBlock& block, std::string_view piece);
  void begin_item(const AnswerBlock& block);
  void end_item(const AnswerBlock& block);
  json::object place(const AnswerBlock& block) const;

  std::shared_ptr<SseStream> stream_;
  std::size_t queue_bytes_;
  ResponseBuilder builder_;
  std::int64_t sequence_ = 0;
  bool failed_ = false;
};

}  // namespace octet::serve
