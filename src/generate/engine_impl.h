// The inside of Engine, which several small files implement: engine.cpp (what other threads call),
// engine_queue.cpp (who gets a place and pages), engine_step.cpp (one step), engine_token.cpp (what
// becomes of a step's results), engine_plan.cpp.
#pragma once

#include <condition_variable>
#include <mutex>
#include <set>
#include <unordered_map>

#include "generate/answer.h"

namespace octet::generate {

struct Engine::Impl {
  Impl(Engine& owner, model::TextModel& model, const EngineOptions& given);
  ~Impl();

  // -- any thread; what is below mutex belongs to it -----------------------------------------
  RequestId submit(Request request);
  void signal(const std::function<void()>& change);
  EngineStatus status_now() const;

  Engine& engine;
  model::TextModel& text_model;
  const EngineOptions options;
  EnginePlan plan;
  std::int64_t max_tokens_in_all = 0;  // prompt and answer of one answer

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool events = false;  // since the last step began
  std::vector<std::unique_ptr<Job>> inbox;
  std::vector<RequestId> cancels;
  bool woken = false, reset = false, draining = false;
  RequestId next_id = 1, cancel_below = 0;
  std::int64_t queued = 0;      // requests that never had a place
  std::int64_t unfinished = 0;  // requests
  EngineStatus status;          // as of the last step
  bool busy = false;
  mutable Clock::time_point last_progress;
  mutable std::int64_t seen_work = 0;  // of text_model, at last_progress

  // -- the engine's thread ---------------------------------------------------------------------
  bool step();
  void end_everything(FinishReason reason, const Fault& fault = {});

 private:
  struct Planned {
    Answer* answer;
    std::int64_t begin, count;  // tokens of the answer
  };

  // engine_queue.cpp
  void take_changes();
  void expire();
  void check_ready();
  void admit();
  bool try_admit(Answer& answer);
  bool make_places(std::int64_t places);
  void begin(Answer& answer);
  bool make_room(Answer& answer, std::int64_t rows);
  Answer* victim(const Answer* for_whom) const;
  void preempt(Answer& answer);
  void run(Answer& answer);
  void leave(Answer& answer);
  void end(Answer& answer, FinishReason reason, const Fault& fault = {});
  void end(Job& job, FinishReason reason, const Fault& fault = {});
  void fork_followers(Job& job);
  bool ready(Answer& answer);

  // engine_step.cpp
  bool step_once();
  void plan_rows();
  void plan_prompts(std::int64_t room);
  std::int64_t next_cut(const Answer& answer, std::int64_t from) const;
  bool keeps_state(const Answer& answer, std::int64_t length) const;
  void compute();
  void publish(bool worked);

  // engine_token.cpp
  void took_in(const Planned& piece, TensorView hidden, std::int64_t row);
  void prompt_logprobs(const Planned& piece, TensorView hidden, std::int64_t row);
  void choose_tokens(TensorView hidden);
  void choose(Answer& answer, std::span<float> logits);
  std::span<const std::uint32_t> mask_of(Answer& answer);
  std::int32_t checked(std::int32_t id) const;
  void emit(Answer& answer, const TokenOutput& token);
  void take_forced(Answer& answer);
  /// Tells the log what users don't hear.
  Fault fault_of(std::exception_ptr error, RequestId id);
  void report(RequestId id, const std::string& detail);
  /// Runs something for one answer; what it throws ends that answer. False: it ended.
  template <typename F>
  bool guarded(Answer& answer, const F& f);

  model::SequencePool pool_;
  PrefixCache cache_;
  std::unordered_map<RequestId, std::unique_ptr<Job>> jobs_;
  std::vector<Job*> finished_;             // to be destroyed after the step
  std::set<Answer*, ComesFirst> waiting_;  // without those that follow one of them
  std::vector<Answer*> running_;           // hold places; in order; with those that follow
  std::vector<Answer*> scratch_, prompts_;
  std::vector<Planned> planned_;
  std::vector<std::pair<Answer*, std::int32_t>> choosing_;  // and their rows
  std::vector<std::uint32_t> mask_;
  std::vector<float> logits_;
  std::vector<model::StepRows> rows_;
  std::int64_t interval_ = 0, logit_rows_ = 0, num_tokens_ = 0;
  bool prompts_starved_ = false;
  EngineStatus counts_;  // becomes `status`
};

template <typename F>
bool Engine::Impl::guarded(Answer& answer, const F& f) {
  try {
    f();
  } catch (...) {
    if (answer.phase != Phase::done)
      end(answer, FinishReason::failed, fault_of(std::current_exception(), answer.job->id));
  }
  return answer.phase != Phase::done;
}

}  // namespace octet::generate
