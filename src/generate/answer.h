// What the engine keeps of a request and of each of its answers. Private to the engine's sources.
#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "generate/engine.h"
#include "generate/prefix_cache.h"
#include "generate/repetition.h"
#include "generate/sampler.h"

namespace octet::generate {

using Clock = std::chrono::steady_clock;

inline double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// waiting: in the queue. following: another answer of the request computes their prompt.
/// running: holds a sequence.
enum class Phase { waiting, following, running, done };

struct Job;

/// One answer. Its tokens are one list, prompt and answer: what its sequence hasn't taken in yet is
/// to be computed, however it came to be missing (a new prompt, an eviction, a forced token), and
/// the row of the last token chooses the next.
struct Answer {
  Job* job = nullptr;
  std::size_t index = 0;
  Phase phase = Phase::following;
  bool paused = false;  ///< its sink was not ready; until wake()
  Clock::time_point paused_since;
  std::vector<std::int32_t> tokens;
  model::Sequence sequence;
  std::optional<Sampler> sampler;
  std::unique_ptr<TokenConstraint> constraint;
  RepetitionDetector repetition;
  PrefixKeys keys;
  PrefixCache::Handle rolling;  ///< its newest snapshot over generated tokens
  AnswerSummary summary;
  Clock::time_point first_token;
  std::int64_t last_step = 0;        ///< number of the step that it was in
  std::int64_t prompt_reported = 0;  ///< PromptProgress::processed of the last call

  std::int64_t missing() const {
    return static_cast<std::int64_t>(tokens.size()) - sequence.length();
  }
  std::span<const std::int32_t> answered() const {
    return std::span(tokens).subspan(static_cast<std::size_t>(summary.prompt_tokens));
  }
  AnswerSink& sink() const;
};

/// A request that was accepted.
struct Job {
  RequestId id = 0;
  Request request;
  std::vector<std::unique_ptr<Answer>> answers;
  std::vector<std::int64_t> cuts;  ///< prompt positions whose state is kept; sorted multiples of 64
  Clock::time_point arrived, admitted;
  bool was_admitted = false;
  bool use_cache = true;
  std::size_t unfinished = 0, following = 0;  ///< answers
  std::vector<TokenOutput> prompt_logprobs;   ///< as far as computed
  bool logprobs_due = false;                  ///< asked for and not delivered

  std::int64_t prompt_size() const { return answers.front()->summary.prompt_tokens; }
  /// Tokens that the sequence of this answer takes in before something else happens: one that
  /// computes the prompt for others as well stops before its last token, for each takes it in
  /// itself.
  std::int64_t target(const Answer& a) const {
    return following > 0 ? prompt_size() - 1 : static_cast<std::int64_t>(a.tokens.size());
  }
};

inline AnswerSink& Answer::sink() const {
  return *job->request.sinks[index];
}

/// Who comes first: by priority, then in order of arrival.
struct ComesFirst {
  static std::tuple<std::int64_t, RequestId, std::size_t> key(const Answer* a) {
    return {a->job->request.priority, a->job->id, a->index};
  }
  bool operator()(const Answer* a, const Answer* b) const { return key(a) < key(b); }
};

/// Why an answer failed: text for the user, detail for the log.
struct Fault {
  Failure kind = Failure::none;
  std::string text, detail;
};

}  // namespace octet::generate
