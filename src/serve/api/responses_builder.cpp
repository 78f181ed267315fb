#include <algorithm>
#include <ctime>
#include <utility>

#include "serve/api/body.h"
#include "serve/api/responses_response.h"

namespace octet::serve {

using Step = AnswerBlocks::Step;
using Kind = AnswerBlock::Kind;

namespace {

std::string new_item_id(Kind kind, bool custom) {
  const std::string_view prefix = kind == Kind::reasoning ? "rs_"
                                  : kind == Kind::text    ? "msg_"
                                  : custom                ? "ctc_"
                                                          : "fc_";
  return std::string(prefix) + random_hex(24);
}

json::object response_usage(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"output_tokens", usage.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

// Of the codes that OpenAI has.
std::string_view error_code(const HttpError& error) {
  if (is_too_long(error)) return "context_length_exceeded";
  return error.status() < 500 ? "invalid_prompt" : "server_error";
}

}  // namespace

bool is_too_long(const HttpError& error) {
  return error.extra().contains("n_ctx");
}

ResponseBuilder::ResponseBuilder(ResponseHead head, const tokenizer::Tokenizer& tokenizer,
                                 Change change)
    : head_(std::move(head)),
      token_text_(tokenizer, false),
      change_(std::move(change)),
      blocks_([this](Step step, AnswerBlock& block, std::string_view piece) {
        changed(step, block, piece);
      }) {}

void ResponseBuilder::changed(Step step, AnswerBlock& block, std::string_view piece) {
  if (step == Step::begin) {
    block.id = new_item_id(block.kind, is_custom(block));
    logprobs_.clear();
  }
  if (block.kind == Kind::text && step != Step::begin) {
    // What came without text of its own since the last piece goes with this one, or with the whole.
    logprobs_.insert(logprobs_.end(), waiting_.begin(), waiting_.end());
    fresh_ = std::exchange(waiting_, {});
  }
  if (change_) change_(step, block, piece);
  if (step == Step::end) output_.push_back(item(block, status_of(block)));
}

void ResponseBuilder::push(const std::vector<AnswerEvent>& events,
                           const std::vector<generate::TokenOutput>& tokens) {
  // Log-probabilities are the message's only: of tokens that come with its text, or, without any
  // text, while it is open.
  const bool text = std::ranges::any_of(
      events, [](const AnswerEvent& e) { return e.kind == AnswerEvent::Kind::content; });
  if (head_.logprobs && (text || (events.empty() && blocks_.open() == Kind::text)))
    for (const generate::TokenOutput& token : tokens)
      if (token.has_logprob) waiting_.push_back(token_text_.chat_item(token));
  blocks_.push(events);
}

void ResponseBuilder::finish(const ChoiceEnd& end) {
  incomplete_ = end.finish_reason == "length";
  blocks_.finish(incomplete_);
  ended_ = true;
}

json::object ResponseBuilder::part(const AnswerBlock& block, bool with_text) const {
  const std::string_view text = with_text ? std::string_view(block.text) : std::string_view();
  if (block.kind == Kind::reasoning) return {{"type", "reasoning_text"}, {"text", text}};
  return {{"type", "output_text"},
          {"text", text},
          {"annotations", json::array()},
          {"logprobs", with_text ? logprobs_ : json::array()}};
}

json::object ResponseBuilder::item(const AnswerBlock& block, std::string_view status) const {
  json::array content;
  if (status != "in_progress") content.push_back(part(block, true));
  switch (block.kind) {
    case Kind::reasoning:
      return {{"id", block.id},           {"type", "reasoning"},
              {"summary", json::array()}, {"content", std::move(content)},
              {"encrypted_content", ""},  {"status", status}};
    case Kind::text:
      return {{"id", block.id},
              {"type", "message"},
              {"role", "assistant"},
              {"status", status},
              {"content", std::move(content)}};
    case Kind::call:
      break;
  }
  const ResponseCall call = this->call(block);
  json::object out{{"id", block.id},
                   {"type", call.custom ? "custom_tool_call" : "function_call"},
                   {"call_id", "call_" + block.id.substr(block.id.find('_') + 1)},
                   {"name", call.name}};
  if (!call.name_space.empty()) out["namespace"] = call.name_space;
  if (!call.custom)
    out["arguments"] = block.text;
  else
    out["input"] = status == "in_progress" ? "" : ResponseTools::custom_input(block.text);
  out["status"] = status;
  return out;
}

std::string_view ResponseBuilder::final_event() const {
  return incomplete_ ? "response.incomplete" : "response.completed";
}

json::object ResponseBuilder::response(const Usage* usage, const HttpError* error) const {
  const bool completed = ended_ && !incomplete_ && !error;
  const std::string_view status = error         ? "failed"
                                  : incomplete_ ? "incomplete"
                                  : ended_      ? "completed"
                                                : "in_progress";
  json::object out{
      {"id", head_.id},
      {"object", "response"},
      {"created_at", head_.created},
      {"completed_at", completed ? json::value(std::time(nullptr)) : json::value(nullptr)},
      {"status", status},
      {"background", false},
      {"incomplete_details", nullptr},
      {"error", nullptr},
      {"model", head_.model},
      {"output", output_},
      {"previous_response_id", nullptr},
      {"store", false},
      {"usage", usage ? json::value(response_usage(*usage)) : json::value(nullptr)}};
  if (incomplete_ && !error) out["incomplete_details"] = {{"reason", "max_output_tokens"}};
  if (error) out["error"] = {{"code", error_code(*error)}, {"message", error->what()}};
  for (const auto& [key, value] : head_.echo) out[key] = value;
  return out;
}

}  // namespace octet::serve
