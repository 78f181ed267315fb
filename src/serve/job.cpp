#include "serve/job.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "generate/answer_constraint.h"
#include "serve/answer_stream.h"
#include "serve/job_grammar.h"
#include "serve/job_prompt.h"
#include "serve/random_bits.h"
#include "serve/reply_thread.h"
#include "serve/service.h"

namespace octet::serve {

namespace {

using Clock = std::chrono::steady_clock;
using generate::AnswerSummary;
using generate::FinishReason;
using generate::TokenOutput;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What an ended job still has to tell: sinks hold it, so it lives as long as its answers.
class EngineJob : public RunningJob, public std::enable_shared_from_this<EngineJob> {
 public:
  EngineJob(Service& service, std::string id, Job job, std::shared_ptr<JobListener> listener)
      : service_(service),
        id_(std::move(id)),
        job_(std::move(job)),
        listener_(std::move(listener)) {}
  ~EngineJob() override = default;

  void start();
  void cancel() override;
  void wake() override { service_.engine().wake(); }
  bool end_thinking() override;
  bool try_fail(const HttpError& error) override;
  std::string describe() override;

 private:
  friend class ChoiceSink;
  struct Choice {
    std::unique_ptr<AnswerStream> stream;
    std::optional<Clock::time_point> last;
    double first_token_seconds = 0;
    bool ended = false;
  };

  bool thinking_closed(std::int32_t think_end) const;
  generate::AnswerForm answer_form();
  generate::Request make_request();
  AnswerStreamOptions stream_options() const;
  void admit();  // with mutex_
  bool on_token(std::size_t choice, const TokenOutput& token);
  void on_finish(std::size_t choice, const AnswerSummary& summary);
  ChoiceEnd describe_end(const Choice& choice, const AnswerSummary& summary) const;
  void count(const Choice& choice, const ChoiceEnd& end);

  Service& service_;
  const std::string id_;
  Job job_;
  const std::shared_ptr<JobListener> listener_;
  const Clock::time_point begin_ = Clock::now();
  ChatPrompt prompt_;
  std::int64_t max_tokens_ = 0;
  bool is_chat_ = false, clamped_ = false, no_answer_ = false;
  std::optional<GrammarPlan> grammar_;
  std::vector<std::int32_t> eos_, stop_ids_;  // sorted
  std::shared_ptr<std::atomic<bool>> end_thinking_;

  // The listener is called with it: by the engine's thread, but for on_admitted.
  std::mutex mutex_;
  bool admitted_ = false, refused_ = false;
  std::int64_t prompt_in_ = 0;  // tokens
  std::vector<Choice> choices_;
  Usage usage_;

  std::mutex id_mutex_;
  std::optional<generate::RequestId> request_;
  bool cancelled_ = false;
};

// One answer of a job, as the engine sees it.
class ChoiceSink : public generate::AnswerSink {
 public:
  ChoiceSink(std::shared_ptr<EngineJob> job, std::size_t choice)
      : job_(std::move(job)), choice_(choice) {}
  void on_prompt(const generate::PromptProgress& progress) override {
    if (choice_ != 0) return;
    const std::scoped_lock lock(job_->mutex_);
    if (job_->refused_) return;
    job_->admit();
    job_->prompt_in_ = progress.processed;
    job_->listener_->on_progress(progress);
  }
  void on_prompt_logprobs(std::vector<TokenOutput> tokens) override {
    if (choice_ != 0) return;
    const std::scoped_lock lock(job_->mutex_);
    if (job_->refused_) return;
    job_->admit();
    job_->listener_->on_prompt_logprobs(std::move(tokens));
  }
  bool on_token(const TokenOutput& token) override { return job_->on_token(choice_, token); }
  bool ready() override { return job_->listener_->ready(); }
  void on_finish(const AnswerSummary& summary) override { job_->on_finish(choice_, summary); }

 private:
  std::shared_ptr<EngineJob> job_;
  std::size_t choice_;
};

void EngineJob::cancel() {
  std::optional<generate::RequestId> request;
  {
    const std::scoped_lock lock(id_mutex_);
    cancelled_ = true;
    request = request_;
  }
  if (request) service_.engine().cancel(*request);
}

bool EngineJob::end_thinking() {
  if (!job_.reasoning_control || !end_thinking_) return false;
  const std::scoped_lock lock(mutex_);
  const bool thinking = std::ranges::any_of(
      choices_, [](const Choice& c) { return !c.ended && c.stream->thinking(); });
  if (thinking) end_thinking_->store(true, std::memory_order_relaxed);
  return thinking;
}

bool EngineJob::try_fail(const HttpError& error) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return false;
  const bool over = std::ranges::all_of(choices_, &Choice::ended);
  // The engine isn't told to cancel: its mutex may be what somebody hangs with. It would end the
  // answer at its next token.
  if (!std::exchange(refused_, true) && !over) listener_->on_error(error);
  return true;
}

std::string EngineJob::describe() {
  const double age = seconds_since(begin_);
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return fmt::format("{:.0f} s, its listener is being called", age);
  std::int64_t tokens = 0;
  for (const Choice& c : choices_) tokens += c.stream->tokens();
  if (tokens > 0)
    return fmt::format("{:.0f} s, answering, {} tokens after {}", age, tokens,
                       usage_.prompt_tokens);
  return fmt::format("{:.0f} s, {}, {} of {} prompt tokens", age,
                     prompt_in_ > 0 ? "reading" : "waiting", prompt_in_, usage_.prompt_tokens);
}

// Whether the template has closed the think block of this turn: the client wants no thoughts.
bool EngineJob::thinking_closed(std::int32_t think_end) const {
  const auto& points = prompt_.stable_points;
  const auto begin = prompt_.ids.begin() + (points.empty() ? 0 : points.back());
  return std::find(begin, prompt_.ids.end(), think_end) != prompt_.ids.end();
}

generate::AnswerForm EngineJob::answer_form() {
  const ServiceOptions& o = service_.options();
  const tokenizer::Tokenizer& t = service_.tokenizer();
  generate::AnswerForm form;
  form.think_end = t.find("</think>").value_or(-1);
  form.thinking = prompt_.in_reasoning;
  if (is_chat_ && !thinking_closed(form.think_end))
    form.think_begin = t.find("<think>").value_or(-1);
  form.tool_call_begin = t.find("<tool_call>").value_or(-1);
  form.newlines = service_.newline_ids();
  form.stop_ids = stop_ids_;
  form.thinking_budget = job_.thinking_budget >= 0 ? job_.thinking_budget : o.reasoning_budget;
  if (form.thinking_budget < 0 && o.auto_think_reserve > 0 && job_.max_tokens)
    form.thinking_budget = std::max<std::int64_t>(0, max_tokens_ - o.auto_think_reserve);
  if (!o.reasoning_budget_message.empty())
    form.before_think_end = t.encode(o.reasoning_budget_message + "\n", false);
  form.after_think_end = t.encode("\n\n", false);
  if (grammar_) {
    form.content = service_.grammar(grammar_->key, grammar_->make, grammar_->param);
    form.content_in_reasoning = job_.format.in_reasoning;
  }
  if (job_.reasoning_control) {
    end_thinking_ = std::make_shared<std::atomic<bool>>(false);
    form.end_thinking = end_thinking_;
  }
  return form;
}

AnswerStreamOptions EngineJob::stream_options() const {
  AnswerStreamOptions o;
  o.skip_special_tokens = job_.skip_special_tokens;
  o.include_stop = job_.include_stop;
  o.stop_in_reasoning = job_.stop_in_reasoning;
  o.ignore_eos = job_.ignore_eos;
  o.eos_ids = eos_;
  o.stop_token_ids = job_.stop_token_ids;
  o.stop = job_.stop;
  o.min_tokens = job_.sampling.min_tokens;
  o.interval = std::max(job_.stream_interval, service_.options().stream_interval);
  o.incremental = job_.incremental;
  o.think_begin = service_.tokenizer().find("<think>").value_or(-1);
  o.think_end = service_.tokenizer().find("</think>").value_or(-1);
  o.parser.in_reasoning = prompt_.in_reasoning;
  o.parser.parse_reasoning = job_.parse_reasoning && service_.options().parse_reasoning;
  o.parser.parse_tools = job_.parse_tools && service_.options().parse_tools &&
                         !job_.tools.empty() && job_.tool_choice.mode != ToolChoice::Mode::none;
  o.parser.parallel_tool_calls = job_.parallel_tool_calls;
  if (o.parser.parse_tools) o.parser.tools = job_.tools;
  o.parse = job_.parse && (o.parser.parse_reasoning || o.parser.parse_tools);
  return o;
}

generate::Request EngineJob::make_request() {
  generate::Request request;
  grammar_ = plan_grammar(job_);
  // Where a grammar ends, only the end can come.
  if (grammar_) job_.ignore_eos = false;
  for (const std::int64_t id : service_.defaults().eos_token_id)
    eos_.push_back(static_cast<std::int32_t>(id));
  std::ranges::sort(eos_);
  std::ranges::sort(job_.stop_token_ids);
  stop_ids_ = job_.stop_token_ids;
  if (!job_.ignore_eos) stop_ids_.insert(stop_ids_.end(), eos_.begin(), eos_.end());
  std::ranges::sort(stop_ids_);
  stop_ids_.erase(std::ranges::unique(stop_ids_).begin(), stop_ids_.end());
  generate::AnswerForm form = answer_form();

  request.prompt = prompt_.ids;
  request.sampling = job_.sampling;
  request.sampling.logprobs_mode = service_.options().logprobs_mode;
  request.sampling.min_tokens = std::min(request.sampling.min_tokens, max_tokens_);
  request.sampling.min_tokens_stop_ids = stop_ids_;
  if (!job_.has_seed) request.sampling.seed = service_.options().seed.value_or(random_bits());
  request.max_tokens = std::max<std::int64_t>(1, max_tokens_);
  request.stop_ids = stop_ids_;
  request.repetition = job_.repetition;
  request.num_prompt_logprobs = job_.prompt_logprobs;
  request.snapshot_points = prompt_.stable_points;
  // Log-probabilities are of rows that are computed.
  request.use_prefix_cache = job_.use_prefix_cache && job_.prompt_logprobs < 0;
  request.cache_salt = job_.cache_salt;
  request.priority = job_.priority;
  if (form.content || form.thinking_budget >= 0 || form.end_thinking)
    request.make_constraint = [form = std::move(form)] {
      return generate::make_answer_constraint(form);
    };
  return request;
}

void EngineJob::start() {
  is_chat_ = job_.chat.has_value();
  prompt_ = make_job_prompt(service_, job_);
  const TokenRoom room = token_room(service_, job_, static_cast<std::int64_t>(prompt_.ids.size()));
  max_tokens_ = room.max_tokens;
  clamped_ = room.clamped;
  no_answer_ = max_tokens_ == 0;
  generate::Request request = make_request();
  usage_.prompt_tokens = static_cast<std::int64_t>(prompt_.ids.size());
  if (service_.options().log_requests) log_job(id_, job_, usage_.prompt_tokens, max_tokens_);
  // While it waits and runs it keeps what its answers need; schemas may be large.
  job_.chat.reset();
  job_.format = {};
  grammar_.reset();
  for (std::int64_t i = 0; i < job_.n; ++i) {
    const auto emit = [this, i](const std::vector<AnswerEvent>& events,
                                const std::vector<TokenOutput>& tokens) {
      listener_->on_events(i, events, tokens);
    };
    choices_.push_back(
        {std::make_unique<AnswerStream>(service_.tokenizer(), stream_options(), emit)});
    request.sinks.push_back(
        std::make_shared<ChoiceSink>(shared_from_this(), static_cast<std::size_t>(i)));
  }
  job_.tools.clear();
  service_.add_running(id_, weak_from_this());
  generate::RequestId number = 0;
  try {
    number = service_.engine().submit(std::move(request));
  } catch (...) {
    service_.remove_running(id_, this);
    const std::scoped_lock lock(mutex_);
    if (std::exchange(refused_, true)) return;  // the client was told something else already
    throw;
  }
  {
    // The engine may have begun to answer already, even have ended. Where a request may wait too
    // long nothing is sent before it has its turn: then that can be told by the status.
    const std::scoped_lock lock(mutex_);
    if (service_.engine().options().queue_timeout_seconds <= 0) admit();
  }
  bool cancelled = false;
  {
    const std::scoped_lock lock(id_mutex_);
    request_ = number;
    cancelled = cancelled_;
  }
  if (cancelled) service_.engine().cancel(number);
}

void EngineJob::admit() {
  if (refused_ || std::exchange(admitted_, true)) return;
  listener_->on_admitted(prompt_, max_tokens_, clamped_);
}

bool EngineJob::on_token(std::size_t number, const TokenOutput& token) {
  const std::scoped_lock lock(mutex_);
  if (refused_) return false;
  admit();
  if (no_answer_) return false;  // only the prompt was of interest
  Choice& choice = choices_[number];
  const auto now = Clock::now();
  if (choice.last)
    service_.metrics().count_token_gap(std::chrono::duration<double>(now - *choice.last).count());
  else
    choice.first_token_seconds = seconds_since(begin_);
  choice.last = now;
  return choice.stream->push(token);
}

ChoiceEnd EngineJob::describe_end(const Choice& choice, const AnswerSummary& summary) const {
  ChoiceEnd end;
  end.summary = summary;
  end.calls = choice.stream->calls();
  end.error = summary.failure == generate::Failure::internal
                  ? fmt::format("{} failed inside the server: {}", id_, summary.error)
                  : summary.error;
  const auto mode = job_.tool_choice.mode;
  switch (summary.finish) {
    case FinishReason::stop:
    case FinishReason::none:
      end.finish_reason = end.calls > 0 && mode != ToolChoice::Mode::named ? "tool_calls" : "stop";
      if (choice.stream->matched())
        end.stop_reason = *choice.stream->matched();
      else if (std::ranges::binary_search(job_.stop_token_ids, summary.stop_id))
        end.stop_reason = summary.stop_id;
      break;
    case FinishReason::length:
      // A stop string that the last bytes completed.
      end.finish_reason = choice.stream->matched() ? "stop" : "length";
      if (choice.stream->matched()) end.stop_reason = *choice.stream->matched();
      break;
    case FinishReason::cancelled:
      end.finish_reason = "abort";
      break;
    case FinishReason::failed:
      end.finish_reason = "error";
      break;
    case FinishReason::repetition:
      end.finish_reason = "repetition";
      break;
  }
  if (no_answer_ && summary.finish == FinishReason::stop) {
    end.finish_reason = "length";
    end.stop_reason = nullptr;
  }
  return end;
}

void EngineJob::count(const Choice& choice, const ChoiceEnd& end) {
  const AnswerSummary& s = end.summary;
  service_.metrics().count_answer(
      {.finish_reason = end.finish_reason == "tool_calls" ? "stop" : end.finish_reason,
       .prompt_tokens = usage_.prompt_tokens,
       .cached_tokens = s.cached_tokens,
       .answer_tokens = choice.stream->tokens(),
       .max_tokens = max_tokens_,
       .n = job_.n,
       .queue_seconds = s.queue_seconds,
       .prefill_seconds = s.prefill_seconds,
       .decode_seconds = s.decode_seconds,
       .first_token_seconds = choice.first_token_seconds,
       .total_seconds = seconds_since(begin_)});
}

void EngineJob::on_finish(std::size_t number, const AnswerSummary& summary) {
  const std::scoped_lock lock(mutex_);
  Choice& choice = choices_[number];
  if (std::exchange(choice.ended, true)) return;
  const bool unheard = !admitted_ && summary.finish == FinishReason::failed;
  if (unheard || refused_) {
    const ChoiceEnd end = describe_end(choice, summary);
    count(choice, end);
    if (!std::exchange(refused_, true)) {
      listener_->on_error(*failure_of(end));
      cancel();
    }
    if (std::ranges::all_of(choices_, &Choice::ended)) service_.remove_running(id_, this);
    return;
  }
  admit();
  choice.stream->finish(summary.finish == FinishReason::length ||
                        summary.finish == FinishReason::repetition);
  const ChoiceEnd end = describe_end(choice, summary);
  usage_.completion_tokens += choice.stream->tokens();
  usage_.reasoning_tokens += choice.stream->reasoning_tokens();
  usage_.cached_tokens = std::max(usage_.cached_tokens, summary.cached_tokens);
  count(choice, end);
  listener_->on_choice_end(static_cast<std::int64_t>(number), end);
  if (!std::ranges::all_of(choices_, &Choice::ended)) {
    // The client gets an error; nobody reads what the others would say.
    if (summary.finish == FinishReason::failed) cancel();
    return;
  }
  service_.remove_running(id_, this);
  listener_->on_done(usage_);
}

// A job whose start failed: nothing to cancel.
class EndedJob : public RunningJob {
 public:
  void cancel() override {}
  void wake() override {}
  bool end_thinking() override { return false; }
  bool try_fail(const HttpError&) override { return true; }
  std::string describe() override { return "ended"; }
};

}  // namespace

std::optional<HttpError> failure_of(const ChoiceEnd& end) {
  if (end.finish_reason != "abort" && end.finish_reason != "error") return std::nullopt;
  using generate::Failure;
  const Failure failure = end.summary.failure;
  if (failure == Failure::request) return HttpError(400, end.error);
  if (end.finish_reason == "error" && failure != Failure::busy)
    return HttpError(500, end.error.empty() ? "the answer failed inside the server" : end.error);
  return busy_error(end.error.empty() ? "the server ended the answer" : end.error, 5);
}

std::shared_ptr<RunningJob> start_job(Service& service, std::string id, Job job,
                                      std::shared_ptr<JobListener> listener) {
  if (job.sampling.num_logprobs != -1 || job.prompt_logprobs >= 0)
    listener = deferred(service.replies(), std::move(listener));
  try {
    auto running = std::make_shared<EngineJob>(service, id, std::move(job), listener);
    running->start();
    return running;
  } catch (...) {
    listener->on_error(job_error(std::current_exception(), id));
    return std::make_shared<EndedJob>();
  }
}

}  // namespace octet::serve
