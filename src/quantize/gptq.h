#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "quantize/input_statistics.h"
#include "quantize/quantizer.h"

namespace octet::quantize {

/// In which order columns are rounded: what comes first is corrected by what follows.
enum class ColumnOrder {
  natural,
  /// Groups by their largest diag(H), inside a group columns by diag(H): the file stays an ordinary
  /// one with contiguous groups. The reference's act_group_aware.
  group_aware,
  descending,  ///< by diag(H); needs the original scales
};

/// Which weights a group's scale is taken from.
enum class ScaleSource {
  stale,     ///< as corrected up to the last block of 128 columns: the reference
  fresh,     ///< as corrected up to the column before
  original,  ///< before any correction ("static groups"), weighted by diag(H)
  /// As `fresh`, each candidate tried with the error feedback that its rounding causes inside the
  /// group: the cost is the loss that GPTQ minimizes. Groups of at most 128.
  feedback,
};

struct GptqOptions {
  std::int64_t group_size = 32;  ///< divides in_features
  double damp_percent = 0.05;    ///< of the mean of diag(H), added to it
  double damp_increment = 0.01;  ///< added to damp_percent when the factorization fails
  ColumnOrder order = ColumnOrder::group_aware;
  ScaleSource scales = ScaleSource::feedback;
  std::int64_t block = 128;
  ScaleRule scale_rule{};
  /// Share of the difference between the unquantized model's inputs and the real ones that the
  /// weight is moved to make good: W + share W D H^-1. 0: none.
  double target_shift = 0.5;
  /// Share of the difference between the residual streams, where the output is added to one, that
  /// the weight is moved to make good: + share (s - r)^T x H^-1. 0: none.
  double residual_shift = 0.3;
  /// FOEM and GPTAQ as the reference has them: alpha weighs D inside the column loop, beta pulls
  /// columns back to the original weight. 0: none.
  double foem_alpha = 0, foem_beta = 0;
  /// After the column loop: this many rounds of sweeps of coordinate descent over the codes, the
  /// last of a round also fitting the scales by least squares.
  std::int64_t refine_rounds = 3, refine_sweeps = 2;
  /// Tokens count by how uncertain the model's prediction after them is and, where a module's
  /// output is added to the residual stream, by that stream's size. Used by the walk, not by the
  /// solver.
  bool token_weights = true;
  /// Rows that err more than plain rounding on held-out inputs are rounded plainly.
  bool row_fallback = true;
};

/// Rows that the relative error of a module is taken over, spread evenly.
inline constexpr std::int64_t kReportRows = 512;

struct GptqReport {
  double loss = 0;  ///< of the column loop: sum of (w - q)^2 / U_cc^2 / 2, over tokens
  /// tr(D H D^T) / tr(W H W^T), D the error against the target; over kReportRows rows at most.
  double relative_error = 0;
  double error_norm = 0, weight_norm = 0;  ///< of which that is the quotient
  double damp_percent = 0;                 ///< what was needed
  double smallest_pivot = 0;               ///< of the factorization, over the mean of diag(H)
  std::int64_t dead_columns = 0, clipped = 0, plain_rows = 0;
};

/// Column order for options, perm[new] = old; ties by index. diag: of H after dead columns are
/// mended.
std::vector<std::int64_t> column_order(std::span<const float> diag, ColumnOrder order,
                                       std::int64_t group_size);

/// GPTQ for the linears that share one input: factors its Hessian once. docs/quantization.md.
/// Memory: 8 in^2 bytes while solving, beside the statistics. Same bits for any number of threads.
/// Source: arXiv 2210.17323.
class Solver {
 public:
  /// Errors: bad_data if H can't be factored with any damping below 1 (never a silent fall-back).
  Solver(InputStatistics statistics, const GptqOptions& options, const SolverKernels& kernels,
         linalg::Linalg& linalg);
  ~Solver();

  /// weight [out, in], of a linear's outputs from first_output on.
  /// Cost: in^2 out operations, each refinement sweep twice that.
  /// Errors: bad_data if weights or the loss are not finite.
  QuantizedMatrix solve(std::span<const float> weight, std::int64_t out_features,
                        GptqReport* report = nullptr, std::int64_t first_output = 0);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octet::quantize
