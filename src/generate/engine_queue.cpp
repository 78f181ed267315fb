// Who gets a place and pages: the queue, admission, preemption, and how answers end.
#include <algorithm>

#include "generate/engine_impl.h"

namespace octet::generate {

namespace {

// A reader that was behind for so long loses its place to somebody who waits. A shorter pause isn't
// worth computing an answer again.
constexpr std::chrono::seconds kPatience{1};

std::int64_t pages_for(std::int64_t tokens) {
  return (tokens + ops::kPageTokens - 1) / ops::kPageTokens;
}

}  // namespace

// What other threads asked for since the last step.
void Engine::Impl::take_changes() {
  std::vector<std::unique_ptr<Job>> arrived;
  std::vector<RequestId> to_cancel;
  RequestId below = 0;
  bool wake = false, forget = false;
  {
    const std::lock_guard lock(mutex);
    arrived.swap(inbox);
    to_cancel.swap(cancels);
    below = std::exchange(cancel_below, 0);
    wake = std::exchange(woken, false);
    forget = std::exchange(reset, false);
    events = false;
  }
  for (auto& job : arrived) {
    Job* const j = job.get();
    jobs_.emplace(j->id, std::move(job));
    waiting_.insert(j->answers.front().get());
  }
  if (forget) cache_.clear();
  for (const RequestId id : to_cancel)
    if (const auto job = jobs_.find(id); job != jobs_.end())
      end(*job->second, FinishReason::cancelled);
  if (below > 0)
    for (auto& [id, job] : jobs_)
      if (id < below) end(*job, FinishReason::cancelled);
  if (wake)
    for (auto& [id, job] : jobs_)
      for (auto& answer : job->answers) answer->paused = false;
}

void Engine::Impl::expire() {
  if (options.queue_timeout_seconds <= 0) return;
  const auto now = Clock::now();
  scratch_.clear();
  for (Answer* a : waiting_)
    if (!a->job->was_admitted &&
        seconds_between(a->job->arrived, now) > options.queue_timeout_seconds)
      scratch_.push_back(a);
  for (Answer* a : scratch_)
    end(*a->job, FinishReason::failed,
        {.kind = Failure::busy,
         .text = fmt::format("the request waited {:g} seconds in the queue, the limit of this "
                             "server; try again later",
                             options.queue_timeout_seconds)});
}

bool Engine::Impl::ready(Answer& a) {
  bool is_ready = false;
  guarded(a, [&] { is_ready = a.sink().ready(); });
  return is_ready;
}

void Engine::Impl::check_ready() {
  scratch_.assign(running_.begin(), running_.end());
  for (Answer* a : scratch_)
    // A prompt that others wait for goes on: its last token is each answer's own step.
    if (a->phase == Phase::running && !a->paused && a->job->following == 0 && !ready(*a) &&
        a->phase == Phase::running) {
      a->paused = true;
      a->paused_since = Clock::now();
    }
}

void Engine::Impl::admit() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    Answer& a = **it;
    if (!a.paused && a.job->following == 0 && !ready(a)) {
      if (a.phase == Phase::done) {
        it = waiting_.begin();
        continue;
      }
      a.paused = true;
    }
    if (a.paused) {
      ++it;  // nobody reads what it would say
      continue;
    }
    // In order: who is first may need more than who is next, and would never get it otherwise.
    if (!try_admit(a)) return;
    it = waiting_.begin();
  }
}

// Free places, or those of answers that nobody has read for a while.
bool Engine::Impl::make_places(std::int64_t places) {
  const auto lost = [now = Clock::now()](const Answer* a) {
    return a->paused && a->sequence.slot() >= 0 && now - a->paused_since > kPatience;
  };
  const std::int64_t lacking = std::ssize(running_) + places - options.max_sequences;
  if (lacking > std::ranges::count_if(running_, lost)) return false;
  for (std::int64_t i = 0; i < lacking; ++i)
    preempt(**std::ranges::find_if(running_.rbegin(), running_.rend(), lost));
  return true;
}

// A place for the answer and those that follow it, pages for all of its tokens.
bool Engine::Impl::try_admit(Answer& a) {
  Job& job = *a.job;
  const std::int64_t places = 1 + static_cast<std::int64_t>(job.following);
  if (!make_places(places)) return false;
  const auto size = static_cast<std::int64_t>(a.tokens.size());
  PrefixCache::Hit hit;
  std::int64_t missing_pages = 0;
  while (true) {
    // Log-probabilities of the prompt need its rows computed. The last token is computed always:
    // its row chooses the next.
    if (job.use_cache && !job.logprobs_due) hit = cache_.find(a.tokens, a.keys, size - 1);
    missing_pages = pages_for(size) - static_cast<std::int64_t>(hit.pages.size());
    const auto idle_hit = std::ranges::count_if(
        hit.pages, [&](std::int32_t page) { return pool_.page_sequences(page) == 0; });
    const auto holders =
        std::ranges::count_if(running_, [](const Answer* r) { return r->sequence.slot() >= 0; });
    // A page to grow for everybody, or who comes now would go again at once.
    const std::int64_t spare = holders > 0 ? holders + places - 1 : 0;
    if (missing_pages + spare <= pool_.free_pages() + pool_.idle_pages() - idle_hit) break;
    Answer* const idle = victim(nullptr);
    if (!idle) return false;
    preempt(*idle);
  }
  waiting_.erase(&a);
  a.sequence = hit.tokens > 0 ? pool_.resume(hit.pages, hit.snapshot) : pool_.create();
  cache_.touch(hit);
  while (pool_.free_pages() < missing_pages && cache_.evict()) {
  }
  pool_.reserve(a.sequence, size - a.sequence.length());
  run(a);
  for (auto& other : job.answers)
    if (other->phase == Phase::following) {
      running_.insert(std::ranges::upper_bound(running_, other.get(), ComesFirst{}), other.get());
      other->keys = a.keys;
    }
  if (!job.was_admitted) {
    job.was_admitted = true;
    job.admitted = Clock::now();
    counts_.prefix_query_tokens += job.prompt_size();
    counts_.prefix_hit_tokens += hit.tokens;
    for (auto& answer : job.answers) {
      answer->summary.cached_tokens = hit.tokens;
      answer->summary.queue_seconds = seconds_between(job.arrived, job.admitted);
    }
    const std::lock_guard lock(mutex);
    --queued;
  }
  for (auto& answer : job.answers)
    if (answer->phase == Phase::running || answer->phase == Phase::following) begin(*answer);
  fork_followers(job);
  return true;
}

void Engine::Impl::begin(Answer& a) {
  if (a.sampler) return;
  guarded(a, [&] {
    const Request& request = a.job->request;
    SamplingParams sampling = request.sampling;
    sampling.seed += a.index;
    a.tokens.reserve(request.prompt.size() + static_cast<std::size_t>(request.max_tokens));
    if (a.tokens.empty()) a.tokens = request.prompt;
    a.repetition = RepetitionDetector(request.repetition);
    if (request.make_constraint) a.constraint = request.make_constraint();
    a.sampler.emplace(sampling, num_tokens_, request.prompt);
  });
}

// The prompt is in but for its last token: each answer of the request goes its own way from here.
void Engine::Impl::fork_followers(Job& job) {
  if (job.following == 0) return;
  const auto leader =
      std::ranges::find_if(job.answers, [](const auto& a) { return a->phase == Phase::running; });
  if (leader == job.answers.end() || (*leader)->sequence.slot() < 0 ||
      (*leader)->sequence.length() < job.target(**leader))
    return;
  for (auto& a : job.answers) {
    if (a->phase != Phase::following) continue;
    --job.following;
    a->keys = (*leader)->keys;
    if (pool_.free_pages() == 0) cache_.evict();
    if (pool_.free_pages() > 0) {
      a->sequence = pool_.fork((*leader)->sequence);
      a->phase = Phase::running;
    } else {  // comes back later, to the cached prompt
      std::erase(running_, a.get());
      a->phase = Phase::waiting;
      waiting_.insert(a.get());
    }
  }
}

// Pages for the next rows of an answer, from the cache or from those that must give way to it.
bool Engine::Impl::make_room(Answer& a, std::int64_t rows) {
  const std::int64_t need =
      pages_for(a.sequence.length() + rows) - static_cast<std::int64_t>(a.sequence.pages().size());
  while (pool_.free_pages() < need) {
    if (cache_.evict()) continue;
    Answer* const other = victim(&a);
    if (!other) return false;
    preempt(*other);
  }
  pool_.reserve(a.sequence, rows);
  return true;
}

// Who gives its pages back: first those that nobody reads, then those that come after `for_whom`
// (null: none of these); the last one of them.
Answer* Engine::Impl::victim(const Answer* for_whom) const {
  for (const bool paused : {true, false})
    for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
      Answer* const a = *it;
      if (a == for_whom || a->sequence.slot() < 0 || a->paused != paused) continue;
      if (paused || (for_whom && ComesFirst{}(for_whom, a))) return a;
    }
  return nullptr;
}

// Back into the queue with everything but the pages and states. Its tokens come back by being
// computed again, as a prompt, from the best snapshot; sampler and constraint stay where they are.
void Engine::Impl::preempt(Answer& a) {
  leave(a);
  for (auto& other : a.job->answers)
    if (other->phase == Phase::following) std::erase(running_, other.get());
  a.phase = Phase::waiting;
  waiting_.insert(&a);
  ++a.summary.preemptions;
  ++counts_.preemptions;
}

void Engine::Impl::run(Answer& a) {
  a.phase = Phase::running;
  running_.insert(std::ranges::upper_bound(running_, &a, ComesFirst{}), &a);
}

void Engine::Impl::leave(Answer& a) {
  a.sequence.release();
  std::erase(running_, &a);
  waiting_.erase(&a);
}

void Engine::Impl::end(Job& job, FinishReason reason, const Fault& fault) {
  // Those that follow first: otherwise one of them would take over.
  for (const bool following : {true, false})
    for (auto& a : job.answers)
      if ((a->phase == Phase::following) == following) end(*a, reason, fault);
}

void Engine::Impl::end(Answer& a, FinishReason reason, const Fault& fault) {
  if (a.phase == Phase::done) return;
  Job& job = *a.job;
  if (a.phase == Phase::following) {
    --job.following;
  } else if (job.following > 0) {
    // Another one takes over the prompt, as far as it has come.
    Answer& next = **std::ranges::find_if(
        job.answers, [](const auto& other) { return other->phase == Phase::following; });
    --job.following;
    if (next.tokens.empty()) next.tokens = job.request.prompt;
    next.keys = a.keys;
    next.phase = a.phase;
    if (a.phase == Phase::running && a.sequence.slot() < 0) {
      std::erase(running_, &next);
      for (auto& other : job.answers)
        if (other->phase == Phase::following) std::erase(running_, other.get());
      next.phase = Phase::waiting;
    }
    next.sequence = std::move(a.sequence);
    if (next.phase == Phase::waiting) waiting_.insert(&next);
  }
  leave(a);
  a.phase = Phase::done;
  const auto now = Clock::now();
  a.summary.finish = reason;
  a.summary.failure = fault.kind;
  a.summary.error = fault.text;
  if (!a.tokens.empty())
    a.summary.answer_tokens = static_cast<std::int64_t>(a.tokens.size()) - a.summary.prompt_tokens;
  if (!job.was_admitted)
    a.summary.queue_seconds = seconds_between(job.arrived, now);
  else if (a.summary.answer_tokens == 0)
    a.summary.prefill_seconds = seconds_between(job.admitted, now);
  else
    a.summary.decode_seconds = seconds_between(a.first_token, now);
  ++counts_.finished[static_cast<std::size_t>(reason)];
  a.constraint.reset();
  try {
    a.sink().on_finish(a.summary);
  } catch (const std::exception& e) {  // the answer is over; there is nobody left to tell
    report(job.id, fmt::format("the end of an answer was not taken: {}", e.what()));
  } catch (...) {
    report(job.id, "the end of an answer was not taken");
  }
  if (--job.unfinished == 0) finished_.push_back(&job);
}

void Engine::Impl::end_everything(FinishReason reason, const Fault& fault) {
  for (auto& [id, job] : jobs_) end(*job, reason, fault);
}

}  // namespace octet::generate
