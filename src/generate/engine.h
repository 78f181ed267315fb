#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "generate/sampling_params.h"
#include "generate/token_constraint.h"
#include "generate/token_output.h"
#include "model/text_model.h"

namespace octet::generate {

/// stop: a stop id, or the sink said so. length: max_tokens or the context is full. cancelled: by
/// cancel(), or the engine ended. failed: see AnswerSummary::error. repetition: RepetitionLimit.
enum class FinishReason { none, stop, length, cancelled, failed, repetition };
/// "stop", "length", "cancelled", "failed", "repetition".
std::string_view to_string(FinishReason reason);

/// Whose fault a failure is. request: what was asked for can't be done (parameters that leave no
/// token to choose, a grammar beyond the limits); the same again fails again. busy: the request
/// waited too long in the queue, or memory ran out; later it may go well. internal: ours.
enum class Failure { none, request, busy, internal };

/// How far a prompt is in.
struct PromptProgress {
  std::int64_t total = 0;      ///< tokens of the prompt
  std::int64_t cached = 0;     ///< of them taken from the prefix cache
  std::int64_t processed = 0;  ///< of them in, cached ones included
  double seconds = 0;          ///< since the request was admitted to a step
};

/// How an answer came out.
struct AnswerSummary {
  FinishReason finish = FinishReason::none;
  std::int32_t stop_id = -1;  ///< the token that ended it, -1: none did
  std::int64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  double queue_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
  std::int64_t preemptions = 0;
  Failure failure = Failure::none;
  std::string error;  ///< failed: what happened, fit for a user; of `internal` only a number
};

/// Where an answer's tokens go. Called by the engine's thread, so each call is short; exceptions
/// end the answer as failed. One sink for each answer of a request.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  /// After each piece of the prompt. Once at least, before the first token, unless the request
  /// failed or was cancelled first.
  virtual void on_prompt(const PromptProgress&) {}
  /// A prompt's log-probabilities, if asked for: for each prompt token from the second on, the
  /// token itself and the most likely.
  virtual void on_prompt_logprobs(std::vector<TokenOutput>) {}
  /// Tokens in order, the stop token included. False: the answer ends here (a stop string was
  /// found); this token is its last.
  virtual bool on_token(const TokenOutput& token) = 0;
  /// False: the reader can't take more now. The answer keeps its place and isn't stepped until
  /// Engine::wake(). Others that lack pages get its own; after a second, others that wait get its
  /// place. Both come back in its turn.
  virtual bool ready() { return true; }
  /// The last call, exactly once for every answer of an accepted request.
  virtual void on_finish(const AnswerSummary& summary) = 0;
};

/// Ends an answer that repeats itself: the last min_count * n tokens are min_count times the same n
/// tokens, for an n in min_pattern_size..max_pattern_size. max_pattern_size 0: off.
struct RepetitionLimit {
  std::int64_t min_pattern_size = 1, max_pattern_size = 0, min_count = 2;
};

/// What a caller asks for.
struct Request {
  std::vector<std::int32_t> prompt;  ///< at least one token
  SamplingParams sampling;           ///< answer i is drawn with seed + i
  std::int64_t max_tokens = 1024;    ///< of each answer; the engine lowers it to the context's end
  std::vector<std::int32_t> stop_ids;
  RepetitionLimit repetition;
  int num_prompt_logprobs = -1;  ///< -1: none; 0..: so many likely ones besides the token's own
  /// Called once for each answer when it begins; may return null. Empty: no constraint.
  std::function<std::unique_ptr<TokenConstraint>()> make_constraint;
  /// Numbers of prompt tokens after which a state is worth keeping: ends of the user's turns, where
  /// the generation prompt begins. The engine rounds them down to its grid of 64, and keeps the
  /// first and the last seven of many. Empty: the prompt's end.
  std::vector<std::int64_t> snapshot_points;
  bool use_prefix_cache = true;
  std::string cache_salt;     ///< cached prefixes are shared among equal salts only
  std::int64_t priority = 0;  ///< lower first, if EngineOptions::by_priority
  std::vector<std::shared_ptr<AnswerSink>> sinks;  ///< one for each answer of the same prompt
};

struct EngineOptions {
  std::int64_t max_sequences = 16;   ///< answers that are stepped at once
  std::int64_t max_step_rows = 512;  ///< rows of a step: decode rows first, then pieces of prompts
  std::int64_t max_model_len = 0;    ///< tokens of prompt and answer; 0: the model's own
  std::int64_t kv_tokens = 0;        ///< tokens that the KV pages hold, all sequences together
  DType kv_dtype = DType::f32;
  std::int64_t num_tokens = 0;       ///< ids at and above have no token
  std::int64_t max_queued = 1024;    ///< requests that wait for a place
  double queue_timeout_seconds = 0;  ///< waiting longer fails; 0: for ever
  bool by_priority = false;
  bool prefix_cache = true;
  bool exact_prefix_cache = false;        ///< no snapshots over generated tokens
  std::int64_t snapshot_slots = 32;       ///< states that the prefix cache may keep; 0: no cache
  std::int64_t snapshot_interval = 4096;  ///< tokens between snapshots in a long prompt
  std::int64_t max_prompt_pieces = 0;     ///< prompts that a step works on at once; 0: as fit
};

/// Memory that an engine takes when it is made, and what that holds.
struct EnginePlan {
  std::size_t kv_bytes = 0, state_bytes = 0, snapshot_bytes = 0, workspace_bytes = 0;
  std::int64_t kv_tokens = 0, sequences = 0, snapshots = 0;
  std::int64_t full_length_sequences = 0;  ///< that fit with max_model_len tokens each
};
EnginePlan plan_engine(const checkpoint::TextConfig& config, const EngineOptions& options);

/// Numbers for metrics: counters since the start, gauges of now.
struct EngineStatus {
  std::int64_t running = 0;  ///< answers that hold a place, paused ones included
  std::int64_t waiting = 0;  ///< requests in the queue and preempted answers
  std::int64_t paused = 0;   ///< answers whose sink is not ready
  std::int64_t kv_pages_used = 0, kv_pages_cached = 0, kv_pages_total = 0;  ///< cached: evictable
  std::int64_t slots_used = 0, slots_total = 0, snapshots_used = 0, snapshots_total = 0;
  std::int64_t prefix_query_tokens = 0, prefix_hit_tokens = 0, prefix_evictions = 0;
  std::int64_t preemptions = 0, steps = 0, step_rows = 0;
  std::int64_t prompt_tokens = 0, answer_tokens = 0;
  /// Since the last step or layer of one; 0 while there is nothing to do. Of a step that takes long
  /// only what calls of status() see counts.
  double seconds_since_step = 0;
  /// Steps in a row that the device failed (ErrorCode::unavailable), and not the request.
  std::int64_t lost_steps = 0;
  std::array<std::int64_t, 6> finished{};  ///< answers by FinishReason
};

/// Called after each step by the engine's thread, for histograms.
struct StepReport {
  std::int64_t prompt_rows = 0, decode_rows = 0;
  double seconds = 0;
};

using RequestId = std::uint64_t;

/// Answers many requests on one model: continuous batching, prompts in pieces under a budget of
/// rows, a cache of prefixes, preemption. An answer's tokens are the same whatever its company,
/// however its prompt was cut, and whether its beginning came from the cache.
/// Everything is allocated in the constructor. Threads: submit, cancel, wake, status and
/// reset_prefix_cache from any; step() from one (EngineThread).
class Engine {
 public:
  /// Errors: out_of_memory; invalid_argument.
  Engine(model::TextModel& model, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Queues a request; its sinks hear of it from the engine's thread. Errors: invalid_argument
  /// (empty prompt, ids outside the vocabulary, parameters, a prompt that with one answer token
  /// exceeds max_model_len or all the pages, more answers than max_sequences, ids of parameters
  /// that are no tokens); overloaded if the
  /// queue is full or the engine is draining. After an error no sink is called.
  RequestId submit(Request request);
  /// Ends all answers of a request before the next step, in whatever phase it is. Unknown or
  /// finished ids are ignored.
  void cancel(RequestId id);
  /// A sink that was not ready may be again.
  void wake();
  /// No new requests (overloaded); those that are in go on.
  void drain();
  bool idle() const;

  /// One step of work. False when there is nothing to do. Never throws for a request's sake: its
  /// answers end as failed.
  bool step();
  /// Blocks until there may be something to do, at most so long.
  void wait(std::chrono::milliseconds at_most);
  /// Ends everything that was submitted before as cancelled, before the next step. Any thread.
  void cancel_all();

  EngineStatus status() const;
  const EngineOptions& options() const;
  const EnginePlan& plan() const;
  void reset_prefix_cache();
  // Set before the first step, called by its thread. What they throw is ignored.
  std::function<void(const StepReport&)> on_step;
  /// What went wrong inside, for the log: the request that it ended (0: all that were under way)
  /// and what users don't hear.
  std::function<void(RequestId, const std::string&)> on_error;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Runs an engine's steps on a thread of its own until it is destroyed, which cancels what is under
/// way.
class EngineThread {
 public:
  explicit EngineThread(Engine& engine);
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet::generate
