#include "serve/api/messages_response.h"

#include <utility>

#include "serve/api/body.h"
#include "serve/api/compact_json.h"
#include "serve/api/reply.h"

namespace octet::serve {

using Step = AnswerBlocks::Step;
using Kind = AnswerBlock::Kind;

MessageEnd message_end(const ChoiceEnd& end, bool clamped) {
  if (end.finish_reason == "length")
    return {clamped ? "model_context_window_exceeded" : "max_tokens", nullptr};
  if (end.finish_reason == "stop" && end.stop_reason.is_string())
    return {"stop_sequence", end.stop_reason};
  // A named choice ends with "stop" in OpenAI's words.
  if (end.calls > 0) return {"tool_use", nullptr};
  return {"end_turn", nullptr};
}

json::object message_usage(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_tokens},
          {"output_tokens", usage.completion_tokens}};
}

HttpError anthropic_error(const HttpError& error) {
  const json::value* tokens = error.extra().if_contains("n_prompt_tokens");
  const json::value* context = error.extra().if_contains("n_ctx");
  const std::string message = tokens && context
                                  ? fmt::format("prompt is too long: {} tokens > {} maximum",
                                                to_json(*tokens), to_json(*context))
                                  : error.what();
  HttpError out(error.status(), message, error.param(), error.extra());
  out.headers = error.headers;
  return out;
}

namespace {

json::object message_head(const std::string& id, const std::string& model) {
  return {{"id", id}, {"type", "message"}, {"role", "assistant"}, {"model", model}};
}

// The arguments' JSON as it is: integers of any length keep their digits. The parser writes objects
// only.
std::string call_input(const std::string& arguments) {
  try {
    if (parse_json(arguments, "arguments").is_object()) return arguments;
  } catch (const Error&) {
  }
  return "{}";
}

json::object content_block(const AnswerBlock& block) {
  switch (block.kind) {
    case Kind::reasoning:
      return {{"type", "thinking"}, {"thinking", block.text}, {"signature", ""}};
    case Kind::text:
      return {{"type", "text"}, {"text", block.text}};
    case Kind::call:
      break;
  }
  return {{"type", "tool_use"}, {"id", block.id}, {"name", block.name}, {"input", json::object()}};
}

// The JSON of a block that is complete.
std::string whole_block(const AnswerBlock& block) {
  json::object out = content_block(block);
  if (block.kind != Kind::call) return compact_json(out);
  out.erase("input");
  std::string text = compact_json(out);
  text.back() = ',';
  return text + R"("input":)" + call_input(block.text) + '}';
}

json::object delta(const AnswerBlock& block, std::string_view piece) {
  switch (block.kind) {
    case Kind::reasoning:
      return {{"type", "thinking_delta"}, {"thinking", piece}};
    case Kind::text:
      return {{"type", "text_delta"}, {"text", piece}};
    case Kind::call:
      break;
  }
  return {{"type", "input_json_delta"}, {"partial_json", piece}};
}

void name_calls(Step step, AnswerBlock& block) {
  if (step == Step::begin && block.kind == Kind::call) block.id = "toolu_" + random_hex(24);
}

}  // namespace

MessageWriter::MessageWriter(ExchangePtr exchange, std::string id, std::string model)
    : exchange_(std::move(exchange)),
      id_(std::move(id)),
      model_(std::move(model)),
      blocks_([this](Step step, AnswerBlock& block, std::string_view) {
        name_calls(step, block);
        const bool whole = block.kind != Kind::call || block.complete;
        if (step != Step::end || !whole) return;
        if (!content_.empty()) content_ += ',';
        content_ += whole_block(block);
      }) {}

void MessageWriter::on_admitted(const ChatPrompt&, std::int64_t max_tokens, bool clamped) {
  headers_ = clamp_headers(max_tokens, clamped);
  clamped_ = clamped;
}

void MessageWriter::on_events(std::int64_t, const std::vector<AnswerEvent>& events,
                              const std::vector<generate::TokenOutput>&) {
  blocks_.push(events);
}

void MessageWriter::on_choice_end(std::int64_t, const ChoiceEnd& end) {
  end_ = end;
  blocks_.finish(end.finish_reason == "length");
}

void MessageWriter::on_done(const Usage& usage) {
  if (const auto failure = failure_of(end_)) {
    on_error(*failure);
    return;
  }
  const MessageEnd end = message_end(end_, clamped_);
  std::string body = compact_json(message_head(id_, model_));
  body.back() = ',';
  body += R"("content":[)" + content_ + "],";
  body += compact_json(json::object{{"stop_reason", end.stop_reason},
                                    {"stop_sequence", end.stop_sequence},
                                    {"usage", message_usage(usage)}})
              .substr(1);
  exchange_->respond(200, "application/json; charset=utf-8", std::move(body), std::move(headers_));
}

void MessageWriter::on_error(const HttpError& error) {
  respond_error(*exchange_, anthropic_error(error));
}

MessageStream::MessageStream(std::shared_ptr<SseStream> stream, std::string id, std::string model,
                             std::size_t queue_bytes)
    : stream_(std::move(stream)),
      id_(std::move(id)),
      model_(std::move(model)),
      queue_bytes_(queue_bytes),
      blocks_([this](Step step, AnswerBlock& block, std::string_view piece) {
        block_changed(step, block, piece);
      }) {}

bool MessageStream::ready() {
  const Exchange& exchange = *stream_->exchange();
  // A client that is gone holds up nothing.
  return exchange.closed() || exchange.queued_bytes() <= queue_bytes_;
}

void MessageStream::send(std::string_view type, json::object event) {
  stream_->event(type, compact_json(std::move(event)));
}

void MessageStream::on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) {
  usage_.prompt_tokens = static_cast<std::int64_t>(prompt.ids.size());
  clamped_ = clamped;
  stream_->begin(clamp_headers(max_tokens, clamped));
}

void MessageStream::on_progress(const generate::PromptProgress& progress) {
  usage_.cached_tokens = progress.cached;
  start();
}

void MessageStream::start() {
  if (std::exchange(started_, true)) return;
  // Before it, clients may know of no event.
  stream_->set_ping("event: ping\ndata: {\"type\":\"ping\"}\n\n");
  json::object message = message_head(id_, model_);
  message["content"] = json::array();
  message["stop_reason"] = nullptr;
  message["stop_sequence"] = nullptr;
  message["usage"] = message_usage(usage_);
  send("message_start", {{"type", "message_start"}, {"message", std::move(message)}});
}

void MessageStream::on_events(std::int64_t, const std::vector<AnswerEvent>& events,
                              const std::vector<generate::TokenOutput>&) {
  start();
  blocks_.push(events);
}

void MessageStream::on_choice_end(std::int64_t, const ChoiceEnd& end) {
  if (const auto failure = failure_of(end)) {
    on_error(*failure);
    return;
  }
  start();
  blocks_.finish(end.finish_reason == "length");
  end_ = message_end(end, clamped_);
}

void MessageStream::on_done(const Usage& usage) {
  if (failed_) return;
  send("message_delta",
       {{"type", "message_delta"},
        {"delta", {{"stop_reason", end_.stop_reason}, {"stop_sequence", end_.stop_sequence}}},
        {"usage", message_usage(usage)}});
  send("message_stop", {{"type", "message_stop"}});
  stream_->end();
}

void MessageStream::on_error(const HttpError& error) {
  failed_ = true;
  if (!stream_->begun()) {
    stream_->fail(anthropic_error(error));
    return;
  }
  stream_->event("error", error_body(Dialect::anthropic, anthropic_error(error),
                                     stream_->exchange()->request().request_id));
  stream_->end(true);
}

void MessageStream::block_changed(Step step, AnswerBlock& block, std::string_view piece) {
  name_calls(step, block);
  const auto send_delta = [&](json::object change) {
    send("content_block_delta",
         {{"type", "content_block_delta"}, {"index", block.index}, {"delta", std::move(change)}});
  };
  switch (step) {
    case Step::begin:
      send("content_block_start", {{"type", "content_block_start"},
                                   {"index", block.index},
                                   {"content_block", content_block(block)}});
      break;
    case Step::piece:
      send_delta(delta(block, piece));
      break;
    case Step::end:
      if (block.kind == Kind::reasoning)
        send_delta({{"type", "signature_delta"}, {"signature", ""}});
      send("content_block_stop", {{"type", "content_block_stop"}, {"index", block.index}});
      break;
  }
}

}  // namespace octet::serve
