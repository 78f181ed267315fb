#include "serve/api/responses_response.h"

#include <utility>

#include "serve/api/body.h"
#include "serve/api/compact_json.h"
#include "serve/api/reply.h"

namespace octet::serve {

using Step = AnswerBlocks::Step;
using Kind = AnswerBlock::Kind;

ResponseWriter::ResponseWriter(ExchangePtr exchange, ResponseHead head,
                               const tokenizer::Tokenizer& tokenizer)
    : exchange_(std::move(exchange)), builder_(std::move(head), tokenizer) {}

void ResponseWriter::on_admitted(const ChatPrompt&, std::int64_t max_tokens, bool clamped) {
  headers_ = clamp_headers(max_tokens, clamped);
}

void ResponseWriter::on_events(std::int64_t, const std::vector<AnswerEvent>& events,
                               const std::vector<generate::TokenOutput>& tokens) {
  builder_.push(events, tokens);
}

void ResponseWriter::on_choice_end(std::int64_t, const ChoiceEnd& end) {
  builder_.finish(end);
  failure_ = failure_of(end);
}

void ResponseWriter::on_done(const Usage& usage) {
  if (failure_)
    on_error(*failure_);
  else
    respond_json(*exchange_, builder_.response(&usage), 200, std::move(headers_));
}

void ResponseWriter::on_error(const HttpError& error) {
  respond_error(*exchange_, error);
}

ResponseStream::ResponseStream(std::shared_ptr<SseStream> stream, ResponseHead head,
                               const tokenizer::Tokenizer& tokenizer, std::size_t queue_bytes)
    : stream_(std::move(stream)),
      queue_bytes_(queue_bytes),
      builder_(std::move(head), tokenizer,
               [this](Step step, AnswerBlock& block, std::string_view piece) {
                 block_changed(step, block, piece);
               }) {}

bool ResponseStream::ready() {
  const Exchange& exchange = *stream_->exchange();
  // A client that is gone holds up nothing.
  return exchange.closed() || exchange.queued_bytes() <= queue_bytes_;
}

void ResponseStream::send(std::string_view type, json::object fields) {
  json::object event{{"type", type}, {"sequence_number", sequence_++}};
  for (auto& [key, value] : fields) event[key] = std::move(value);
  stream_->event(type, compact_json(std::move(event)));
}

void ResponseStream::on_admitted(const ChatPrompt&, std::int64_t max_tokens, bool clamped) {
  begin(clamp_headers(max_tokens, clamped));
}

void ResponseStream::begin(Headers headers) {
  stream_->begin(std::move(headers));
  const json::object response = builder_.response(nullptr);
  send("response.created", {{"response", response}});
  send("response.in_progress", {{"response", response}});
}

void ResponseStream::on_events(std::int64_t, const std::vector<AnswerEvent>& events,
                               const std::vector<generate::TokenOutput>& tokens) {
  builder_.push(events, tokens);
}

void ResponseStream::on_choice_end(std::int64_t, const ChoiceEnd& end) {
  if (const auto failure = failure_of(end))
    on_error(*failure);
  else
    builder_.finish(end);
}

void ResponseStream::on_done(const Usage& usage) {
  if (failed_) return;
  send(builder_.final_event(), {{"response", builder_.response(&usage)}});
  stream_->end();
}

void ResponseStream::on_error(const HttpError& error) {
  failed_ = true;
  // Codex makes its conversation shorter when an event says that it is too long, as OpenAI's server
  // does it; any other 400 it takes for its end.
  if (!stream_->begun() && is_too_long(error)) begin({});
  if (!stream_->begun()) {
    stream_->fail(error);
    return;
  }
  send("response.failed", {{"response", builder_.response(nullptr, &error)}});
  stream_->end(true);
}

json::object ResponseStream::place(const AnswerBlock& block) const {
  return {{"item_id", block.id}, {"output_index", block.index}};
}

void ResponseStream::begin_item(const AnswerBlock& block) {
  send("response.output_item.added",
       {{"output_index", block.index}, {"item", builder_.item(block, "in_progress")}});
  if (block.kind == Kind::call) return;
  json::object fields = place(block);
  fields["content_index"] = 0;
  fields["part"] = builder_.part(block, false);
  send(block.kind == Kind::reasoning ? "response.reasoning_part.added"
                                     : "response.content_part.added",
       std::move(fields));
}

void ResponseStream::end_item(const AnswerBlock& block) {
  json::object fields = place(block);
  if (builder_.is_custom(block)) {
    // Whole: its text can be told from the JSON around it only then.
    const std::string input = ResponseTools::custom_input(block.text);
    json::object piece = fields;
    piece["delta"] = input;
    send("response.custom_tool_call_input.delta", std::move(piece));
    fields["input"] = input;
    send("response.custom_tool_call_input.done", std::move(fields));
  } else if (block.kind == Kind::call) {
    fields["name"] = builder_.call(block).name;
    fields["arguments"] = block.text;
    send("response.function_call_arguments.done", std::move(fields));
  } else {
    fields["content_index"] = 0;
    json::object part = fields;
    part["part"] = builder_.part(block, true);
    fields["text"] = block.text;
    if (block.kind == Kind::text) fields["logprobs"] = builder_.logprobs();
    const bool reasoning = block.kind == Kind::reasoning;
    send(reasoning ? "response.reasoning_text.done" : "response.output_text.done",
         std::move(fields));
    send(reasoning ? "response.reasoning_part.done" : "response.content_part.done",
         std::move(part));
  }
  send("response.output_item.done",
       {{"output_index", block.index},
        {"item", builder_.item(block, ResponseBuilder::status_of(block))}});
}

void ResponseStream::block_changed(Step step, AnswerBlock& block, std::string_view piece) {
  if (step == Step::begin) begin_item(block);
  if (step == Step::end) end_item(block);
  if (step != Step::piece || builder_.is_custom(block)) return;
  json::object fields = place(block);
  if (block.kind != Kind::call) fields["content_index"] = 0;
  fields["delta"] = piece;
  if (block.kind == Kind::text) fields["logprobs"] = builder_.take_fresh_logprobs();
  send(block.kind == Kind::reasoning ? "response.reasoning_text.delta"
       : block.kind == Kind::text    ? "response.output_text.delta"
                                     : "response.function_call_arguments.delta",
       std::move(fields));
}

}  // namespace octet::serve
