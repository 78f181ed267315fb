#include "serve/api/body.h"
#include "serve/api/chat_response.h"
#include "serve/api/compact_json.h"

namespace octet::serve {

namespace {

using Kind = AnswerEvent::Kind;

void append_item(std::string& list, const std::string& item) {
  if (!list.empty()) list += ',';
  list += item;
}

class ChatCollector : public JobListener {
 public:
  ChatCollector(ExchangePtr exchange, const tokenizer::Tokenizer& tokenizer, ChatReply reply)
      : exchange_(std::move(exchange)),
        text_(tokenizer, reply.options.tokens_as_token_ids),
        r_(std::move(reply)),
        choices_(static_cast<std::size_t>(r_.n)) {}

  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override {
    headers_ = clamp_headers(max_tokens, clamped);
    for (Choice& c : choices_)
      c.tracker = ThinkTracker(r_.think_begin, r_.think_end, prompt.in_reasoning);
    if (r_.options.return_token_ids)
      prompt_ids_ = json::array(prompt.ids.begin(), prompt.ids.end());
    if (r_.options.return_prompt_text) prompt_text_ = prompt.text;
  }
  void on_prompt_logprobs(std::vector<generate::TokenOutput> tokens) override {
    prompt_logprobs_ = compact_json(text_.prompt_items(tokens));
  }
  void on_events(std::int64_t number, const std::vector<AnswerEvent>& events,
                 const std::vector<generate::TokenOutput>& tokens) override {
    Choice& c = choices_[static_cast<std::size_t>(number)];
    for (const AnswerEvent& e : events) take(c, e);
    for (const auto& token : tokens) {
      if (c.tracker.next(token.id) && !r_.include_reasoning) continue;
      // Written at once: at the end of a long answer it would stop the engine for a while.
      if (r_.options.logprobs) append_item(c.logprobs, compact_json(text_.chat_item(token)));
      if (r_.options.return_token_ids) c.ids.emplace_back(token.id);
    }
  }
  void on_choice_end(std::int64_t number, const ChoiceEnd& end) override {
    choices_[static_cast<std::size_t>(number)].end = end;
    if (!failure_) failure_ = failure_of(end);  // the first is the cause of the others
  }
  void on_error(const HttpError& error) override { respond_error(*exchange_, error); }

  void on_done(const Usage& usage) override {
    if (failure_) return respond_error(*exchange_, *failure_);
    Envelope envelope = r_.envelope;
    envelope.object = "chat.completion";
    // Joined as text: the parts are large.
    std::string body = compact_json(envelope.head());
    body.pop_back();
    body += R"(,"choices":[)";
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      if (i > 0) body += ',';
      write_choice(body, i, choices_[i]);
    }
    body += R"(],"service_tier":null,"system_fingerprint":)";
    body +=
        envelope.fingerprint.empty() ? "null" : compact_json(json::string(envelope.fingerprint));
    const auto& first = choices_.front().end.summary;
    json::object rest{{"usage", usage_json(usage)}};
    if (r_.per_request_metrics) rest["metrics"] = metrics_json(first);
    if (r_.options.timings) rest["timings"] = timings_json(first);
    rest["prompt_token_ids"] = prompt_ids_;
    if (r_.options.return_prompt_text) rest["prompt_text"] = prompt_text_;
    rest["kv_transfer_params"] = nullptr;
    body += R"(,"prompt_logprobs":)" + (prompt_logprobs_.empty() ? "null" : prompt_logprobs_);
    body += ',' + compact_json(rest).substr(1);
    exchange_->respond(200, "application/json; charset=utf-8", std::move(body), headers_);
  }

 private:
  struct Call {
    std::string name, arguments;
  };
  struct Choice {
    std::string reasoning, content, logprobs;
    std::vector<Call> calls;
    json::array ids;
    ThinkTracker tracker{-1, -1, false};
    bool thought = false;
    ChoiceEnd end;
  };

  void take(Choice& c, const AnswerEvent& e) {
    switch (e.kind) {
      case Kind::reasoning:
        if (r_.include_reasoning) c.reasoning += e.text;
        c.thought = c.thought || !e.text.empty();
        return;
      case Kind::content:
        c.content += e.text;
        return;
      case Kind::tool_begin:
        c.tracker.close();
        c.calls.push_back({e.text, {}});
        return;
      case Kind::tool_arguments:
        if (!c.calls.empty()) c.calls.back().arguments += e.text;
        return;
      case Kind::tool_end:
        return;
    }
  }

  void write_choice(std::string& body, std::size_t index, Choice& c) {
    json::object message{{"role", r_.role}};
    c.content.insert(0, r_.echo);
    if (c.content.empty() && (c.thought || !c.calls.empty()))
      message["content"] = nullptr;
    else
      message["content"] = c.content;
    for (const char* key : {"refusal", "annotations", "audio", "function_call"})
      message[key] = nullptr;
    if (!c.calls.empty()) {
      json::array calls;
      for (const Call& call : c.calls)
        calls.push_back({{"id", "call_" + random_hex(24)},
                         {"type", "function"},
                         {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
      message["tool_calls"] = std::move(calls);
    }
    if (!c.reasoning.empty()) put_reasoning(message, c.reasoning, r_.reasoning_field);
    body += fmt::format(R"({{"index":{},"message":)", index) + compact_json(message);
    body += R"(,"logprobs":)";
    body += r_.options.logprobs ? R"({"content":[)" + c.logprobs + "]}" : "null";
    json::object end{{"finish_reason", c.end.finish_reason}, {"stop_reason", c.end.stop_reason}};
    if (r_.options.return_token_ids)
      end["token_ids"] = std::move(c.ids);
    else
      end["token_ids"] = nullptr;
    body += ',' + compact_json(end).substr(1);
  }

  ExchangePtr exchange_;
  TokenText text_;
  ChatReply r_;
  std::vector<Choice> choices_;
  Headers headers_;
  std::optional<HttpError> failure_;
  json::value prompt_ids_;
  std::string prompt_text_, prompt_logprobs_;
};

}  // namespace

void put_reasoning(json::object& message, const std::string& text, const std::string& field) {
  if (field != "reasoning_content") message["reasoning"] = text;
  if (field != "reasoning") message["reasoning_content"] = text;
}

std::shared_ptr<JobListener> make_chat_collector(ExchangePtr exchange,
                                                 const tokenizer::Tokenizer& tokenizer,
                                                 ChatReply reply) {
  return std::make_shared<ChatCollector>(std::move(exchange), tokenizer, std::move(reply));
}

}  // namespace octet::serve
