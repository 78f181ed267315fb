// One step: which rows it has, and computing them.
#include <algorithm>
#include <limits>

#include "generate/engine_impl.h"

namespace octet::generate {

namespace {

// A running answer keeps one state that moves along at multiples of this. A copy of a large model's
// state (150 MB) costs about as much as reading half a percent of its weights 256 times over, and
// the next turn has 255 tokens of the answer to compute again at most.
constexpr std::int64_t kAnswerInterval = 256;
// Fewer rows of a prompt than this are not worth reading the weights of their own.
constexpr std::int64_t kPieceRows = 64;

bool is_device_fault(std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const Error& e) {
    return e.code() == ErrorCode::unavailable;
  } catch (...) {
    return false;
  }
}

}  // namespace

bool Engine::Impl::step() {
  try {
    return step_once();
  } catch (...) {
    // A bug of ours or no memory for our own lists: whatever was under way is lost, the engine not.
    end_everything(FinishReason::failed, fault_of(std::current_exception(), 0));
    publish(true);
    return true;
  }
}

bool Engine::Impl::step_once() {
  take_changes();
  planned_.clear();
  if (!jobs_.empty()) {
    expire();
    check_ready();
    admit();
    plan_rows();
    if (!planned_.empty()) compute();
  }
  const bool worked = !planned_.empty() || !finished_.empty();
  publish(worked);
  return worked;
}

void Engine::Impl::plan_rows() {
  const std::int64_t all_rows = options.max_step_rows;
  const auto steps = [](const Answer* a) {
    return a->phase == Phase::running && !a->paused && a->sequence.slot() >= 0;
  };
  // Pages first, in order: who comes later may lose its place here.
  scratch_.assign(running_.begin(), running_.end());
  for (Answer* a : scratch_)
    if (steps(a) && !make_room(*a, std::min(all_rows, a->job->target(*a) - a->sequence.length())))
      preempt(*a);
  scratch_.clear();
  prompts_.clear();
  for (Answer* a : running_)
    if (steps(a))
      (a->job->target(*a) - a->sequence.length() == 1 ? scratch_ : prompts_).push_back(a);

  // Answers under way before prompts: a long prompt must not make them wait. If they leave no room
  // at all, every other step gives half of it to prompts.
  const std::int64_t most = prompts_starved_ && !prompts_.empty() ? all_rows / 2 : all_rows;
  if (static_cast<std::int64_t>(scratch_.size()) > most) {
    std::ranges::stable_sort(scratch_, {}, [](const Answer* a) { return a->last_step; });
    scratch_.resize(static_cast<std::size_t>(most));
  }
  for (Answer* a : scratch_) planned_.push_back({a, a->sequence.length(), 1});
  const std::int64_t room = all_rows - static_cast<std::int64_t>(scratch_.size());
  prompts_starved_ = room == 0 && !prompts_.empty();
  if (room > 0) plan_prompts(room);
}

// Pieces of prompts: equal shares for as many as get a worthwhile one, and what these leave goes to
// the others. Who waited longest comes first.
void Engine::Impl::plan_prompts(std::int64_t room) {
  std::ranges::stable_sort(prompts_, {}, [](const Answer* a) { return a->last_step; });
  if (options.max_prompt_pieces > 0 && std::ssize(prompts_) > options.max_prompt_pieces)
    prompts_.resize(static_cast<std::size_t>(options.max_prompt_pieces));
  const auto want = [&](const Answer* a) {
    const std::int64_t length = a->sequence.length();
    return std::min(next_cut(*a, length), a->job->target(*a)) - length;
  };
  const auto sharing =
      std::min<std::ptrdiff_t>(std::ssize(prompts_), std::max<std::int64_t>(1, room / kPieceRows));
  // The least first: what it leaves of its share is divided among those after it.
  std::ranges::stable_sort(prompts_.begin(), prompts_.begin() + sharing, {}, want);
  for (std::ptrdiff_t i = 0; i < std::ssize(prompts_) && room > 0; ++i) {
    Answer* const a = prompts_[static_cast<std::size_t>(i)];
    const std::int64_t rows = std::min(want(a), i < sharing ? room / (sharing - i) : room);
    room -= rows;
    if (rows > 0) planned_.push_back({a, a->sequence.length(), rows});
  }
}

// The first length above `from` at which a state is to be kept: a piece ends there.
std::int64_t Engine::Impl::next_cut(const Answer& a, std::int64_t from) const {
  const Job& job = *a.job;
  const std::int64_t prompt = job.prompt_size();
  std::int64_t cut = std::numeric_limits<std::int64_t>::max();
  if (!job.use_cache) return cut;
  const auto point = std::ranges::upper_bound(job.cuts, from);
  if (point != job.cuts.end()) cut = *point;
  const std::int64_t in_prompt = (from / interval_ + 1) * interval_;
  if (in_prompt <= prompt) cut = std::min(cut, in_prompt);
  if (!options.exact_prefix_cache)
    cut = std::min(cut, (std::max(from, prompt) / kAnswerInterval + 1) * kAnswerInterval);
  return cut;
}

bool Engine::Impl::keeps_state(const Answer& a, std::int64_t length) const {
  return next_cut(a, length - 1) == length;
}

void Engine::Impl::compute() {
  const auto start = Clock::now();
  ++counts_.steps;
  StepReport report;
  rows_.clear();
  for (const Planned& p : planned_) {
    p.answer->last_step = counts_.steps;
    rows_.push_back({.sequence = &p.answer->sequence,
                     .ids = std::span(p.answer->tokens)
                                .subspan(static_cast<std::size_t>(p.begin),
                                         static_cast<std::size_t>(p.count))});
    const bool decoded = p.count == 1 && p.begin >= p.answer->summary.prompt_tokens;
    (decoded ? report.decode_rows : report.prompt_rows) += p.count;
  }
  counts_.step_rows += report.prompt_rows + report.decode_rows;
  TensorView hidden;
  try {
    hidden = text_model.forward(rows_, pool_);
  } catch (...) {
    // The states of this step may be half computed; those in the cache are copies of earlier ones.
    for (const Planned& p : planned_) p.answer->sequence.release();
    for (const Planned& p : planned_)
      end(*p.answer, FinishReason::failed, fault_of(std::current_exception(), p.answer->job->id));
    counts_.lost_steps = is_device_fault(std::current_exception()) ? counts_.lost_steps + 1 : 0;
    return;
  }
  counts_.lost_steps = 0;
  std::int64_t row = 0;
  choosing_.clear();
  for (const Planned& p : planned_) {
    took_in(p, hidden, row);
    row += p.count;
    if (p.answer->phase == Phase::running && p.answer->missing() == 0)
      choosing_.emplace_back(p.answer, static_cast<std::int32_t>(row - 1));
  }
  choose_tokens(hidden);
  for (const Planned& p : planned_) fork_followers(*p.answer->job);
  if (engine.on_step) {
    report.seconds = seconds_between(start, Clock::now());
    try {
      engine.on_step(report);
    } catch (...) {
      // Whoever counts has no say in what is answered.
    }
  }
}

// Makes the new numbers visible and lets go of what is finished.
void Engine::Impl::publish(bool worked) {
  for (const Job* job : finished_)
    if (!job->was_admitted) {
      const std::lock_guard lock(mutex);
      --queued;
    }
  const auto done = std::ssize(finished_);
  for (const Job* job : finished_) jobs_.erase(job->id);
  finished_.clear();
  EngineStatus& s = counts_;
  s.running = std::ssize(running_);
  s.waiting = std::ssize(waiting_);
  const auto paused = [](const Answer* a) { return a->paused; };
  s.paused = std::ranges::count_if(running_, paused) + std::ranges::count_if(waiting_, paused);
  const bool due = s.running + s.waiting > s.paused;
  s.kv_pages_total = pool_.kv().shape().num_pages;
  s.kv_pages_cached = pool_.idle_pages();
  s.kv_pages_used = s.kv_pages_total - pool_.free_pages() - pool_.idle_pages();
  s.slots_total = options.max_sequences;
  s.slots_used = s.slots_total - pool_.free_slots();
  s.snapshots_total = plan.snapshots;
  s.snapshots_used = cache_.num_snapshots();
  s.prefix_evictions = cache_.evictions();
  const std::lock_guard lock(mutex);
  status = s;
  unfinished -= done;
  // Who looks after us counts from the last step, or from when there was something to do again.
  if (worked || !busy) {
    last_progress = Clock::now();
    seen_work = text_model.work_done();
  }
  busy = due || !inbox.empty();
}

}  // namespace octet::generate
