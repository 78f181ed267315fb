#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/text_model.h"
#include "runtime/base/json.h"
#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/timed_backend.h"

namespace octet::cli {

/// One thing that `octet bench` measures: made ready once, then run round by round.
class BenchCase {
 public:
  virtual ~BenchCase() = default;
  /// Seconds of one round. Errors: interrupted, and what a step may throw.
  virtual double round() = 0;
  std::int64_t steps() const { return steps_; }

  std::string kind;  ///< prefill, decode, verify
  std::int64_t prompt = 0, context = 0, batch = 1;
  std::int64_t rows = 0;        ///< of a step
  double bytes_per_step = 0;    ///< weights, states and KV pages; 0: not what limits
  double flops_per_token = 0;   ///< of the linears; 0: not what limits
  std::vector<double> seconds;  ///< of each round, filled by run_rounds

  double tokens() const { return static_cast<double>(rows * steps_); }  ///< of a round
  /// Tokens a second of each round, sorted.
  std::vector<double> rates() const;

 protected:
  std::int64_t steps_ = 1;  ///< in a round
};

/// Median of a sorted or unsorted list that is not empty.
double median(std::vector<double> values);

/// What the cases of one model are made of.
class BenchModel {
 public:
  BenchModel(model::TextModel& model, model::SequencePool& pool, std::int64_t decode_steps)
      : model_(model), pool_(pool), decode_steps_(decode_steps) {}

  /// A prompt of that many tokens, in chunks of 512 as a server would feed it.
  std::unique_ptr<BenchCase> prefill(std::int64_t prompt);
  /// One token of each of `batch` sequences that hold `context` tokens, logits included.
  std::unique_ptr<BenchCase> decode(std::int64_t context, std::int64_t batch);
  /// A step that checks `drafts` guesses of one sequence: drafts + 1 rows with their logits, of
  /// which one is kept.
  std::unique_ptr<BenchCase> verify(std::int64_t context, std::int64_t drafts);

  /// What a step over one row of each of `batch` sequences must read (and write, of states).
  double step_bytes(std::int64_t context, std::int64_t batch) const;
  double flops_per_token() const;  ///< of the layers' linears

 private:
  friend class PrefillCase;
  friend class StepCase;
  model::TextModel& model_;
  model::SequencePool& pool_;
  std::int64_t decode_steps_;
};

/// Runs all cases `rounds` times in turn, so that each meets the machine in the same state;
/// progress on stderr.
void run_rounds(std::vector<std::unique_ptr<BenchCase>>& cases, std::int64_t rounds);

/// Where the time of one case goes: its operations, each beside its roofline. Prints a table.
/// codes_per_second: operations a second that products with codes could reach.
void print_kernels(const BenchCase& c, const std::vector<ops::OpTime>& times,
                   const ops::cpu::MachineSpeed& speed, double codes_per_second);

/// The same as JSON: [{op, calls, seconds, share, gb_s, gop_s, of_limit, limit}].
json::array kernels_json(const std::vector<ops::OpTime>& times, const ops::cpu::MachineSpeed& speed,
                         double codes_per_second);

}  // namespace octet::cli
