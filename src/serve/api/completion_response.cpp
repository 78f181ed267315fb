#include "serve/api/completion_response.h"

#include <mutex>

#include "serve/api/body.h"
#include "serve/api/compact_json.h"

namespace octet::serve {

namespace {

using generate::TokenOutput;

// What all prompts of a request share. Jobs call from the engine's thread and from the worker that
// starts them, so everything happens under one lock.
class Completion {
 public:
  Completion(ExchangePtr exchange, std::shared_ptr<SseStream> sse,
             const tokenizer::Tokenizer& tokenizer, CompletionReply reply)
      : exchange_(std::move(exchange)),
        sse_(std::move(sse)),
        tokenizer_(tokenizer),
        text_(tokenizer, reply.options.tokens_as_token_ids),
        r_(std::move(reply)),
        prompts_(static_cast<std::size_t>(r_.prompts)),
        choices_(static_cast<std::size_t>(r_.prompts * r_.n)),
        left_(r_.prompts) {
    r_.envelope.object = "text_completion";
  }

  bool ready() const { return !sse_ || !r_.ready || r_.ready(); }

  void on_admitted(std::size_t p, const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) {
    const std::scoped_lock lock(mutex_);
    prompts_[p].ids = prompt.ids;
    running_.prompt_tokens += static_cast<std::int64_t>(prompt.ids.size());
    if (clamped) headers_ = clamp_headers(max_tokens, true);
    if (sse_ && !failed_) sse_->begin(headers_);
  }
  void on_progress(const generate::PromptProgress& progress) {
    const std::scoped_lock lock(mutex_);
    if (!sse_ || failed_ || !r_.options.return_progress) return;
    json::object chunk = r_.envelope.head();
    chunk["choices"] = json::array();
    chunk["prompt_progress"] = progress_json(progress);
    sse_->data(compact_json(chunk));
  }
  void on_prompt_logprobs(std::size_t p, std::vector<TokenOutput> tokens) {
    const std::scoped_lock lock(mutex_);
    prompts_[p].logprobs = std::move(tokens);
  }
  void on_events(std::size_t p, std::int64_t k, const std::vector<AnswerEvent>& events,
                 const std::vector<TokenOutput>& tokens) {
    const std::scoped_lock lock(mutex_);
    if (failed_) return;
    const std::size_t index = index_of(p, k);
    Choice& c = choices_[index];
    begin(p, c);
    for (const AnswerEvent& e : events) c.text += e.text;
    running_.completion_tokens += static_cast<std::int64_t>(tokens.size());
    for (const TokenOutput& token : tokens) {
      if (r_.options.logprobs) c.logprobs.add(text_, token);
      if (r_.options.return_token_ids) c.ids.emplace_back(token.id);
    }
    if (sse_ && (!c.text.empty() || !c.logprobs.tokens.empty() || !c.ids.empty()))
      send(index, p, nullptr);
  }
  void on_choice_end(std::size_t p, std::int64_t k, const ChoiceEnd& end) {
    const std::scoped_lock lock(mutex_);
    if (failed_) return;
    if (const auto failure = failure_of(end)) return fail(*failure);
    const std::size_t index = index_of(p, k);
    Choice& c = choices_[index];
    begin(p, c);
    c.end = end;
    if (sse_) send(index, p, &end);
  }
  void on_done(const Usage& usage) {
    const std::scoped_lock lock(mutex_);
    usage_.prompt_tokens += usage.prompt_tokens;
    usage_.cached_tokens += usage.cached_tokens;
    usage_.completion_tokens += usage.completion_tokens;
    usage_.reasoning_tokens += usage.reasoning_tokens;
    if (--left_ > 0 || failed_) return;
    sse_ ? end_stream() : respond();
  }
  void on_error(const HttpError& error) {
    const std::scoped_lock lock(mutex_);
    if (!failed_) fail(error);
  }

 private:
  struct Prompt {
    std::vector<std::int32_t> ids;
    std::vector<TokenOutput> logprobs;
  };
  struct Choice {
    std::string text;
    CompletionLogprobs logprobs;
    json::array ids;
    ChoiceEnd end;
    bool begun = false;
  };

  std::size_t index_of(std::size_t prompt, std::int64_t k) const {
    return prompt * static_cast<std::size_t>(r_.n) + static_cast<std::size_t>(k);
  }

  // An echoed prompt comes first, with what is known of its tokens.
  void begin(std::size_t p, Choice& c) {
    if (std::exchange(c.begun, true) || !r_.echo) return;
    const Prompt& prompt = prompts_[p];
    c.text = tokenizer_.decode(prompt.ids);
    if (!r_.options.logprobs) return;
    for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
      // The first has nothing before it; the others came with the prompt's log-probabilities.
      TokenOutput token{.id = prompt.ids[i]};
      if (i > 0 && i - 1 < prompt.logprobs.size()) token = prompt.logprobs[i - 1];
      c.logprobs.add(text_, token);
    }
  }

  json::object choice_json(std::size_t index, std::size_t p, Choice& c, const ChoiceEnd* end) {
    json::object choice{{"index", index}, {"text", std::exchange(c.text, {})}};
    if (r_.options.logprobs)
      choice["logprobs"] = c.logprobs.take();
    else
      choice["logprobs"] = nullptr;
    if (end) {
      choice["finish_reason"] = end->finish_reason;
      choice["stop_reason"] = end->stop_reason;
    } else {
      choice["finish_reason"] = nullptr;
      choice["stop_reason"] = nullptr;
    }
    if (r_.options.return_token_ids) {
      choice["token_ids"] = std::exchange(c.ids, {});
      const auto& ids = prompts_[p].ids;
      if (!sse_ || !end) choice["prompt_token_ids"] = json::array(ids.begin(), ids.end());
    }
    return choice;
  }

  void send(std::size_t index, std::size_t p, const ChoiceEnd* end) {
    json::object chunk = r_.envelope.head();
    json::array choices;
    choices.emplace_back(choice_json(index, p, choices_[index], end));
    chunk["choices"] = std::move(choices);
    if (r_.options.continuous_usage) chunk["usage"] = usage_json(running_);
    if (end && r_.options.timings) chunk["timings"] = timings_json(end->summary);
    sse_->data(compact_json(chunk));
  }

  void end_stream() {
    if (r_.options.include_usage) {
      json::object chunk = r_.envelope.head();
      chunk["choices"] = json::array();
      chunk["usage"] = usage_json(usage_);
      sse_->data(compact_json(chunk));
    }
    sse_->done();
  }

  void respond() {
    json::object body = r_.envelope.head();
    json::array choices;
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      const std::size_t p = i / static_cast<std::size_t>(r_.n);
      json::object choice = choice_json(i, p, choices_[i], &choices_[i].end);
      if (r_.prompt_logprobs)
        choice["prompt_logprobs"] = text_.prompt_items(prompts_[p].logprobs);
      else
        choice["prompt_logprobs"] = nullptr;
      choices.emplace_back(std::move(choice));
    }
    body["choices"] = std::move(choices);
    body["usage"] = usage_json(usage_);
    if (r_.envelope.fingerprint.empty())
      body["system_fingerprint"] = nullptr;
    else
      body["system_fingerprint"] = r_.envelope.fingerprint;
    if (r_.options.timings) body["timings"] = timings_json(choices_.front().end.summary);
    if (r_.per_request_metrics) body["metrics"] = metrics_json(choices_.front().end.summary);
    exchange_->respond(200, "application/json; charset=utf-8", compact_json(body), headers_);
  }

  void fail(const HttpError& error) {
    failed_ = true;
    if (sse_)
      sse_->fail(error);
    else
      respond_error(*exchange_, error);
    if (r_.cancel) r_.cancel();
  }

  ExchangePtr exchange_;
  std::shared_ptr<SseStream> sse_;
  const tokenizer::Tokenizer& tokenizer_;
  TokenText text_;
  CompletionReply r_;
  std::mutex mutex_;
  std::vector<Prompt> prompts_;
  std::vector<Choice> choices_;
  Usage usage_, running_;
  Headers headers_;
  std::int64_t left_;
  bool failed_ = false;
};

class PromptListener : public JobListener {
 public:
  PromptListener(std::shared_ptr<Completion> completion, std::size_t prompt)
      : completion_(std::move(completion)), prompt_(prompt) {}
  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override {
    completion_->on_admitted(prompt_, prompt, max_tokens, clamped);
  }
  void on_progress(const generate::PromptProgress& progress) override {
    completion_->on_progress(progress);
  }
  void on_prompt_logprobs(std::vector<TokenOutput> tokens) override {
    completion_->on_prompt_logprobs(prompt_, std::move(tokens));
  }
  void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                 const std::vector<TokenOutput>& tokens) override {
    completion_->on_events(prompt_, choice, events, tokens);
  }
  void on_choice_end(std::int64_t choice, const ChoiceEnd& end) override {
    completion_->on_choice_end(prompt_, choice, end);
  }
  void on_done(const Usage& usage) override { completion_->on_done(usage); }
  void on_error(const HttpError& error) override { completion_->on_error(error); }
  bool ready() override { return completion_->ready(); }

 private:
  std::shared_ptr<Completion> completion_;
  std::size_t prompt_;
};

}  // namespace

std::vector<std::shared_ptr<JobListener>> make_completion_listeners(
    ExchangePtr exchange, std::shared_ptr<SseStream> stream, const tokenizer::Tokenizer& tokenizer,
    CompletionReply reply) {
  const auto prompts = static_cast<std::size_t>(reply.prompts);
  const auto completion = std::make_shared<Completion>(std::move(exchange), std::move(stream),
                                                       tokenizer, std::move(reply));
  std::vector<std::shared_ptr<JobListener>> listeners;
  for (std::size_t p = 0; p < prompts; ++p)
    listeners.push_back(std::make_shared<PromptListener>(completion, p));
  return listeners;
}

}  // namespace octet::serve
