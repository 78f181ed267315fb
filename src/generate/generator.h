#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "generate/sampler.h"
#include "model/text_model.h"

namespace octet::generate {

/// What a caller asks for.
struct Request {
  std::vector<std::int32_t> prompt;  ///< at least one token
  SamplingParams sampling;
  std::int64_t max_tokens = 1024;      ///< tokens of the answer
  std::vector<std::int32_t> stop_ids;  ///< end the answer; the stop token is reported
  /// Called for each token of the answer as it comes; false ends the answer.
  std::function<bool(std::int32_t)> on_token;
};

enum class FinishReason { none, stop, length, cancelled };
/// "stop", "length", "cancelled".
std::string_view to_string(FinishReason reason);

/// How an answer came out.
struct Answer {
  std::vector<std::int32_t> tokens;  ///< with the stop token, if one ended it
  FinishReason finish = FinishReason::none;
  double prefill_seconds = 0, decode_seconds = 0;
};

struct GeneratorOptions {
  std::int64_t max_step_rows = 512;  ///< rows of a step: decode rows first, then prompt chunks
  std::int64_t num_tokens = 0;       ///< ids at and above have no token
};

/// Steps several sequences together: each step carries one row of every answer under way and
/// chunks of the prompts that are not in yet. An answer does not depend on its company.
/// Threads: one at a time.
class Generator {
 public:
  Generator(model::TextModel& model, model::SequencePool& pool, const GeneratorOptions& options);
  ~Generator();

  /// Takes a request in; returns its number. Errors: invalid_argument (empty prompt, parameters),
  /// overloaded if the pool has no room for prompt and answer.
  int add(Request request);
  /// One step. False when nothing is left to do. Errors: as TextModel::forward.
  bool step();
  /// Steps until every answer is finished.
  void run();
  /// Valid for every number that add() gave.
  const Answer& answer(int number) const;
  /// Ends an answer and frees its place.
  void cancel(int number);

 private:
  struct Active;
  void finish(Active& active, FinishReason reason);
  model::TextModel& model_;
  model::SequencePool& pool_;
  GeneratorOptions options_;
  std::vector<std::unique_ptr<Active>> active_;  // by number
  std::vector<float> logits_;
};

}  // namespace octet::generate
