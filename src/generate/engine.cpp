#include <algorithm>

#include "generate/engine_impl.h"

namespace octet::generate {

namespace {

constexpr std::int64_t kMaxCuts = 8;

// Where a request wants states kept, on the grid. Each costs a copy and a slot: of many turns the
// first (what all conversations share) and the last ones are kept.
std::vector<std::int64_t> cuts_of(const Request& request) {
  const auto size = static_cast<std::int64_t>(request.prompt.size());
  std::vector<std::int64_t> cuts;
  const auto add = [&](std::int64_t point) {
    // The last token is computed always, so a state behind it would not serve the same prompt.
    const std::int64_t at = std::min(point, size - 1) / ops::kPageTokens * ops::kPageTokens;
    if (at > 0 && point <= size) cuts.push_back(at);
  };
  for (const std::int64_t point : request.snapshot_points) add(point);
  if (request.snapshot_points.empty()) add(size);
  std::ranges::sort(cuts);
  cuts.erase(std::ranges::unique(cuts).begin(), cuts.end());
  if (static_cast<std::int64_t>(cuts.size()) > kMaxCuts)
    cuts.erase(cuts.begin() + 1, cuts.end() - (kMaxCuts - 1));
  return cuts;
}

}  // namespace

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::failed:
      return "failed";
    case FinishReason::repetition:
      return "repetition";
    case FinishReason::none:
      break;
  }
  return "none";
}

// Of a client's doing it says everything; of ours, a number to be found in the log.
Fault Engine::Impl::fault_of(std::exception_ptr error, RequestId id) {
  Fault fault{Failure::internal, {}, "unknown exception"};
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    fault.detail = e.what();
    if (e.code() == ErrorCode::invalid_argument) fault.kind = Failure::request;
    if (e.code() == ErrorCode::overloaded || e.code() == ErrorCode::out_of_memory)
      fault.kind = Failure::busy;
    fault.text = fault.detail;
  } catch (const std::bad_alloc&) {
    fault = {Failure::busy, "out of memory", "out of memory"};
  } catch (const std::exception& e) {
    fault.detail = e.what();
  } catch (...) {
  }
  if (fault.kind == Failure::internal)
    fault.text = id > 0 ? fmt::format("internal error (request {})", id) : "internal error";
  if (fault.kind != Failure::request) report(id, fault.detail);
  return fault;
}

void Engine::Impl::report(RequestId id, const std::string& detail) {
  try {
    if (engine.on_error) engine.on_error(id, detail);
  } catch (...) {
    // Whoever logs has no say in what is answered.
  }
}

Engine::Impl::Impl(Engine& owner, model::TextModel& model, const EngineOptions& given)
    : engine(owner),
      text_model(model),
      options(given),
      plan(plan_engine(model.config(), given)),
      pool_(model.backend(), model.config(),
            {.num_sequences = given.max_sequences,
             .num_tokens = given.kv_tokens,
             .kv_dtype = given.kv_dtype,
             .num_snapshots = plan.snapshots}),
      cache_(pool_) {
  const std::int64_t vocab = text_model.config().vocab_size;
  if (options.num_tokens > vocab)
    fail(ErrorCode::invalid_argument, "engine: num_tokens = {}: the model has {} rows",
         options.num_tokens, vocab);
  num_tokens_ = options.num_tokens > 0 ? options.num_tokens : vocab;
  const std::int64_t length =
      options.max_model_len > 0 ? options.max_model_len : text_model.config().context_length();
  max_tokens_in_all = std::min(length, plan.kv_tokens);
  interval_ =
      (options.snapshot_interval + ops::kPageTokens - 1) / ops::kPageTokens * ops::kPageTokens;
  logit_rows_ = std::min<std::int64_t>(options.max_sequences, 64);
  // What the caches really take.
  const auto slots = static_cast<std::size_t>(plan.sequences + plan.snapshots);
  plan.kv_bytes = pool_.kv().bytes();
  plan.state_bytes = pool_.states().bytes() / slots * static_cast<std::size_t>(plan.sequences);
  plan.snapshot_bytes = pool_.states().bytes() - plan.state_bytes;
  text_model.reserve(options.max_step_rows, logit_rows_);
  const auto sequences = static_cast<std::size_t>(options.max_sequences);
  for (auto* list : {&running_, &scratch_, &prompts_}) list->reserve(sequences);
  planned_.reserve(sequences);
  choosing_.reserve(sequences);
  rows_.reserve(sequences);
  logits_.reserve(static_cast<std::size_t>(logit_rows_ * vocab));
  mask_.resize(static_cast<std::size_t>(vocab + 31) / 32);
  publish(false);
}

Engine::Impl::~Impl() {
  take_changes();
  end_everything(FinishReason::cancelled);
}

RequestId Engine::Impl::submit(Request request) {
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  if (prompt == 0) fail(ErrorCode::invalid_argument, "the prompt is empty");
  for (const std::int32_t id : request.prompt)
    if (id < 0 || id >= text_model.config().vocab_size)
      fail(ErrorCode::invalid_argument, "prompt: token id {} is outside the vocabulary of {}", id,
           text_model.config().vocab_size);
  if (request.max_tokens < 1)
    fail(ErrorCode::invalid_argument, "max_tokens = {}: expected 1 or more", request.max_tokens);
  if (request.sinks.empty() || std::ranges::count(request.sinks, nullptr) > 0)
    fail(ErrorCode::invalid_argument, "a request needs a sink for each of its answers");
  if (static_cast<std::int64_t>(request.sinks.size()) > options.max_sequences)
    fail(ErrorCode::invalid_argument,
         "{} answers are asked for; this server computes at most {} at once", request.sinks.size(),
         options.max_sequences);
  if (request.num_prompt_logprobs < -1)
    fail(ErrorCode::invalid_argument, "num_prompt_logprobs = {}: expected -1 or more",
         request.num_prompt_logprobs);
  validate(request.sampling, num_tokens_);
  validate(request.repetition);
  if (prompt + 1 > max_tokens_in_all) {
    const std::int64_t length =
        options.max_model_len > 0 ? options.max_model_len : text_model.config().context_length();
    fail(ErrorCode::invalid_argument,
         "the prompt has {} tokens; with one token of an answer that exceeds {} {} tokens", prompt,
         length <= plan.kv_tokens ? "the maximum context length of" : "the KV cache, which holds",
         max_tokens_in_all);
  }
  request.max_tokens = std::min(request.max_tokens, max_tokens_in_all - prompt);
  if (!options.by_priority) request.priority = 0;

  auto job = std::make_unique<Job>();
  job->cuts = cuts_of(request);
  job->use_cache = options.prefix_cache && request.use_prefix_cache && plan.snapshots > 0;
  job->logprobs_due = request.num_prompt_logprobs >= 0;
  for (std::size_t i = 0; i < request.sinks.size(); ++i) {
    auto& answer = *job->answers.emplace_back(std::make_unique<Answer>());
    answer.job = job.get();
    answer.index = i;
    answer.keys = PrefixKeys(request.cache_salt);
    answer.summary.prompt_tokens = prompt;
  }
  job->answers.front()->tokens = request.prompt;
  job->answers.front()->phase = Phase::waiting;
  job->unfinished = job->answers.size();
  job->following = job->answers.size() - 1;
  job->arrived = Clock::now();
  job->request = std::move(request);

  const std::lock_guard lock(mutex);
  if (draining)
    fail(ErrorCode::overloaded, "the server is shutting down and takes no new requests");
  if (queued >= options.max_queued)
    fail(ErrorCode::overloaded, "the queue is full: {} requests are waiting; try again later",
         queued);
  job->id = next_id++;
  const RequestId id = job->id;
  inbox.push_back(std::move(job));
  ++queued;
  ++unfinished;
  if (!busy) last_progress = Clock::now();
  busy = events = true;
  changed.notify_all();
  return id;
}

void Engine::Impl::signal(const std::function<void()>& change) {
  const std::lock_guard lock(mutex);
  change();
  events = true;
  changed.notify_all();
}

EngineStatus Engine::Impl::status_now() const {
  const std::lock_guard lock(mutex);
  EngineStatus s = status;
  s.waiting += static_cast<std::int64_t>(inbox.size());
  const auto now = Clock::now();
  if (const std::int64_t work = text_model.work_done(); work != seen_work) {
    seen_work = work;
    last_progress = now;
  }
  s.seconds_since_step = busy ? seconds_between(last_progress, now) : 0;
  return s;
}

Engine::Engine(model::TextModel& model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(*this, model, options)) {}
Engine::~Engine() = default;

RequestId Engine::submit(Request request) {
  return impl_->submit(std::move(request));
}

void Engine::cancel(RequestId id) {
  impl_->signal([&] { impl_->cancels.push_back(id); });
}

void Engine::wake() {
  impl_->signal([&] { impl_->woken = true; });
}

void Engine::drain() {
  impl_->signal([&] { impl_->draining = true; });
}

bool Engine::idle() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->unfinished == 0;
}

bool Engine::step() {
  return impl_->step();
}

void Engine::wait(std::chrono::milliseconds at_most) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait_for(lock, at_most, [&] { return impl_->events; });
}

void Engine::cancel_all() {
  impl_->signal([&] { impl_->cancel_below = impl_->next_id; });
}

EngineStatus Engine::status() const {
  return impl_->status_now();
}

const EngineOptions& Engine::options() const {
  return impl_->options;
}

const EnginePlan& Engine::plan() const {
  return impl_->plan;
}

void Engine::reset_prefix_cache() {
  impl_->signal([&] { impl_->reset = true; });
}

}  // namespace octet::generate
