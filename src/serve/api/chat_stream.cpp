#include <fmt/format.h>

#include "serve/api/body.h"
#include "serve/api/chat_response.h"
#include "serve/api/compact_json.h"

namespace octet::serve {

namespace {

using Kind = AnswerEvent::Kind;

class ChatStream : public JobListener {
 public:
  ChatStream(std::shared_ptr<SseStream> stream, const tokenizer::Tokenizer& tokenizer,
             ChatReply reply)
      : sse_(std::move(stream)),
        text_(tokenizer, reply.options.tokens_as_token_ids),
        r_(std::move(reply)),
        choices_(static_cast<std::size_t>(r_.n)) {
    r_.envelope.object = "chat.completion.chunk";
  }

  bool ready() override { return !r_.ready || r_.ready(); }

  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override {
    for (Choice& c : choices_)
      c.tracker = ThinkTracker(r_.think_begin, r_.think_end, prompt.in_reasoning);
    usage_.prompt_tokens = static_cast<std::int64_t>(prompt.ids.size());
    if (r_.options.return_token_ids)
      prompt_ids_ = json::array(prompt.ids.begin(), prompt.ids.end());
    if (r_.options.return_prompt_text) prompt_text_ = prompt.text;
    sse_->begin(clamp_headers(max_tokens, clamped));
  }

  void on_progress(const generate::PromptProgress& progress) override {
    usage_.cached_tokens = progress.cached;
    if (!r_.options.return_progress) return;
    json::object chunk = r_.envelope.head();
    chunk["choices"] = json::array();
    chunk["prompt_progress"] = progress_json(progress);
    sse_->data(compact_json(chunk));
  }

  void on_events(std::int64_t number, const std::vector<AnswerEvent>& events,
                 const std::vector<generate::TokenOutput>& tokens) override {
    Choice& c = choices_[static_cast<std::size_t>(number)];
    usage_.completion_tokens += static_cast<std::int64_t>(tokens.size());
    Extras extras;
    for (const auto& token : tokens) {
      const bool thinking = c.tracker.next(token.id);
      if (thinking) ++usage_.reasoning_tokens;
      if (thinking && !r_.include_reasoning) continue;
      if (r_.options.logprobs) extras.logprobs.emplace_back(text_.chat_item(token));
      if (r_.options.return_token_ids) extras.ids.emplace_back(token.id);
    }
    begin(number, c);
    for (const AnswerEvent& e : events)
      if (const std::string delta = delta_of(c, e); !delta.empty())
        send(number, delta, std::move(extras));
    if (!extras.logprobs.empty() || !extras.ids.empty()) send(number, "{}", std::move(extras));
  }

  void on_choice_end(std::int64_t number, const ChoiceEnd& end) override {
    if (failed_) return;
    if (const auto failure = failure_of(end)) {
      failed_ = true;
      sse_->fail(*failure);
      return;
    }
    if (number == 0) summary_ = end.summary;
    begin(number, choices_[static_cast<std::size_t>(number)]);
    json::object chunk = r_.envelope.head();
    json::object choice{{"index", number},
                        {"delta", json::object()},
                        {"logprobs", nullptr},
                        {"finish_reason", end.finish_reason},
                        {"stop_reason", end.stop_reason}};
    chunk["choices"] = one(std::move(choice));
    if (r_.options.continuous_usage) chunk["usage"] = usage_json(usage_);
    if (r_.options.timings) chunk["timings"] = timings_json(end.summary);
    sse_->data(compact_json(chunk));
  }

  void on_done(const Usage& usage) override {
    if (failed_) return;
    if (r_.options.include_usage) {
      json::object chunk = r_.envelope.head();
      chunk["choices"] = json::array();
      chunk["usage"] = usage_json(usage);
      if (r_.per_request_metrics) chunk["metrics"] = metrics_json(summary_);
      if (r_.options.timings) chunk["timings"] = timings_json(summary_);
      sse_->data(compact_json(chunk));
    }
    sse_->done();
  }

  void on_error(const HttpError& error) override {
    failed_ = true;
    sse_->fail(error);
  }

 private:
  struct Choice {
    ThinkTracker tracker{-1, -1, false};
    bool begun = false;
    std::string frame_begin;  ///< of its frames, up to the delta
  };
  struct Extras {
    json::array logprobs, ids;
  };

  void begin(std::int64_t number, Choice& c) {
    if (std::exchange(c.begun, true)) return;
    json::object chunk = r_.envelope.head();
    json::object choice{{"index", number},
                        {"delta", {{"role", r_.role}, {"content", ""}}},
                        {"logprobs", nullptr},
                        {"finish_reason", nullptr}};
    chunk["choices"] = one(std::move(choice));
    if (!r_.envelope.fingerprint.empty()) chunk["system_fingerprint"] = r_.envelope.fingerprint;
    if (r_.options.return_token_ids) chunk["prompt_token_ids"] = prompt_ids_;
    if (r_.options.return_prompt_text) chunk["prompt_text"] = prompt_text_;
    if (r_.options.continuous_usage) {
      Usage before = usage_;
      before.completion_tokens = before.reasoning_tokens = 0;
      chunk["usage"] = usage_json(before);
    }
    sse_->data(compact_json(chunk));
    if (!r_.echo.empty()) send(number, text_delta("content", r_.echo), {});
  }

  // JSON of what changed. Empty: nothing that is shown.
  std::string delta_of(Choice& c, const AnswerEvent& e) {
    switch (e.kind) {
      case Kind::reasoning:
        if (e.text.empty() || !r_.include_reasoning) return {};
        return reasoning_delta(e.text);
      case Kind::content:
        if (e.text.empty()) return {};
        return text_delta("content", e.text);
      case Kind::tool_begin:
        c.tracker.close();
        return call_delta({{"index", e.call},
                           {"id", "call_" + random_hex(24)},
                           {"type", "function"},
                           {"function", {{"name", e.text}, {"arguments", ""}}}});
      case Kind::tool_arguments:
        if (e.text.empty()) return {};
        return call_delta({{"index", e.call}, {"function", {{"arguments", e.text}}}});
      case Kind::tool_end:
        return {};
    }
    return {};
  }

  static json::array one(json::object value) {
    json::array array;
    array.emplace_back(std::move(value));
    return array;
  }
  static std::string call_delta(json::object call) {
    return compact_json(json::object{{"tool_calls", one(std::move(call))}});
  }
  static std::string text_delta(std::string_view name, std::string_view text) {
    std::string out = "{";
    append_json_string(out, name);
    out += ':';
    append_json_string(out, text);
    out += '}';
    return out;
  }
  std::string reasoning_delta(std::string_view text) const {
    if (r_.reasoning_field != "both") return text_delta(r_.reasoning_field, text);
    std::string out = R"({"reasoning":)";
    append_json_string(out, text);
    const std::size_t begin = std::size(R"({"reasoning":)") - 1, end = out.size();
    out += R"(,"reasoning_content":)";
    out.append(out, begin, end - begin);
    out += '}';
    return out;
  }

  // For nearly every token: only what differs from the frame before is made anew.
  void send(std::int64_t number, std::string_view delta, Extras&& extras) {
    Choice& c = choices_[static_cast<std::size_t>(number)];
    if (c.frame_begin.empty()) {
      c.frame_begin = compact_json(r_.envelope.head());
      c.frame_begin.pop_back();
      c.frame_begin += fmt::format(R"(,"choices":[{{"index":{},"delta":)", number);
    }
    std::string chunk;
    chunk.reserve(c.frame_begin.size() + delta.size() + 64);
    chunk.append(c.frame_begin).append(delta).append(R"(,"logprobs":)");
    if (extras.logprobs.empty())
      chunk += "null";
    else
      chunk += compact_json(json::object{{"content", std::move(extras.logprobs)}});
    chunk += R"(,"finish_reason":null)";
    if (r_.options.return_token_ids)
      chunk += R"(,"token_ids":)" + compact_json(json::value(std::move(extras.ids)));
    chunk += "}]";
    if (r_.options.continuous_usage) chunk += R"(,"usage":)" + compact_json(usage_json(usage_));
    chunk += '}';
    extras = {};
    sse_->data(chunk);
  }

  std::shared_ptr<SseStream> sse_;
  TokenText text_;
  ChatReply r_;
  std::vector<Choice> choices_;
  Usage usage_;
  generate::AnswerSummary summary_;
  json::value prompt_ids_;
  std::string prompt_text_;
  bool failed_ = false;
};

}  // namespace

std::shared_ptr<JobListener> make_chat_stream(std::shared_ptr<SseStream> stream,
                                              const tokenizer::Tokenizer& tokenizer,
                                              ChatReply reply) {
  return std::make_shared<ChatStream>(std::move(stream), tokenizer, std::move(reply));
}

}  // namespace octet::serve
