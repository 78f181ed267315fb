// What the parts of the solver share. Everything in visiting order.
#pragma once

#include "quantize/columns.h"
#include "quantize/gptq.h"

namespace octet::quantize {

/// The inputs of a module as the column loop wants them.
struct PreparedInputs {
  std::int64_t k = 0, num_rows = 0;
  std::vector<std::int64_t> order;
  std::vector<char> dead;       ///< [k] inputs that are always zero
  std::vector<float> hessian;   ///< [k, k] undamped, symmetric
  std::vector<float> diag;      ///< [k] of it
  std::vector<double> u;        ///< [k, k] upper: U^T U = (H + damping)^-1
  std::vector<float> shift;     ///< [k, k] or empty
  std::vector<float> residual;  ///< [out, k] in the original order, or empty
  std::vector<float> p;         ///< [k, k] GPTAQ's correction, or empty
  std::vector<float> held_out;  ///< [k, k] or empty
  double damp_percent = 0, smallest_pivot = 0;
  std::int64_t dead_columns = 0;
};

struct SolverTools {
  const GptqOptions& options;
  const SolverKernels& kernels;
  linalg::Linalg& linalg;
};

/// Rounds the columns of w [k][ld] one after the other; w is consumed. Returns the sum of losses.
double run_column_loop(const SolverTools& tools, const PreparedInputs& inputs, std::vector<float> w,
                       Columns& columns, std::int64_t& clipped);

/// Coordinate descent and scales by least squares. target [k][ld]: what the values approach.
void refine(const SolverTools& tools, const PreparedInputs& inputs,
            const std::vector<float>& target, Columns& columns);

/// d [k][ld] = values of the codes - target.
std::vector<float> errors_of(const SolverTools& tools, const Columns& columns,
                             const std::vector<float>& target);

/// Quadratic form of each lane: d^T H d, H [k, k].
std::vector<double> quadratic_forms(const SolverTools& tools, const std::vector<float>& h,
                                    const std::vector<float>& d, std::int64_t k, std::int64_t ld);

}  // namespace octet::quantize
