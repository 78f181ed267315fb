#include "quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quantize/solver_state.h"
#include "runtime/base/error.h"
#include "runtime/base/thread_pool.h"
#include "runtime/linalg/factor.h"

namespace octet::quantize {

namespace {

using linalg::Operand;

// H, or another matrix of its shape, in visiting order.
template <typename T>
std::vector<T> permuted(const std::vector<float>& from, const std::vector<std::int64_t>& order,
                        ThreadPool& pool) {
  std::vector<T> to(from.size());
  if (from.empty()) return to;
  const auto k = static_cast<std::int64_t>(order.size());
  pool.parallel_for(k, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i)
      for (std::int64_t j = 0; j < k; ++j)
        to[size(i * k + j)] = static_cast<T>(from[size(order[size(i)] * k + order[size(j)])]);
  });
  return to;
}

// U of H with more and more damping until it factors: the given percent of the mean of the
// diagonal first, then steps of the increment; then the same over a raised diagonal.
void factor(PreparedInputs& in, const GptqOptions& options, linalg::Linalg& linalg) {
  const std::int64_t k = in.k;
  const double largest = *std::ranges::max_element(in.diag);
  const double floor = largest > 0 ? 1e-6 * largest : 1e-6;
  in.u.resize(in.hessian.size());
  for (int attempt = 0; attempt < 7; ++attempt) {
    std::vector<double> raised(in.diag.begin(), in.diag.end());
    if (attempt > 0) {
      const double lift = floor * std::pow(10.0, attempt - 1);
      for (double& d : raised) d = std::max(d + lift, lift);
    }
    const double mean = std::accumulate(raised.begin(), raised.end(), 0.0) / static_cast<double>(k);
    for (double damp = options.damp_percent; damp > 0 && damp < 1; damp += options.damp_increment) {
      std::ranges::copy(in.hessian, in.u.begin());
      for (std::int64_t i = 0; i < k; ++i) in.u[size(i * k + i)] = raised[size(i)] + damp * mean;
      double smallest = 0;
      if (linalg::reverse_cholesky(linalg, in.u.data(), k, &smallest)) {
        linalg::invert_upper(linalg, in.u.data(), k);
        in.damp_percent = damp;
        in.smallest_pivot = smallest / mean;
        return;
      }
      if (options.damp_increment <= 0) break;
    }
  }
  fail(ErrorCode::bad_data,
       "the Hessian of a module with {} inputs can't be factored with any damping; calibrate with "
       "more text",
       k);
}

// GPTAQ's correction P = alpha triu(D U^T, strictly upper) U.
std::vector<float> gptaq_correction(const PreparedInputs& in, double alpha,
                                    linalg::Linalg& linalg) {
  const std::int64_t k = in.k;
  std::vector<double> shift(in.shift.begin(), in.shift.end()), product(in.u.size());
  linalg.gemm(k, k, k, alpha, Operand<double>{shift.data(), k, 1},
              Operand<double>{in.u.data(), 1, k}, product.data(), k);
  for (std::int64_t i = 0; i < k; ++i) std::fill_n(product.data() + i * k, i + 1, 0.0);
  std::ranges::fill(shift, 0.0);
  linalg.gemm(k, k, k, 1.0, Operand<double>{product.data(), k, 1},
              Operand<double>{in.u.data(), k, 1}, shift.data(), k);
  return {shift.begin(), shift.end()};
}

}  // namespace

std::vector<std::int64_t> column_order(std::span<const float> diag, ColumnOrder order,
                                       std::int64_t group_size) {
  const auto n = static_cast<std::int64_t>(diag.size());
  std::vector<std::int64_t> perm(size(n));
  std::iota(perm.begin(), perm.end(), std::int64_t{0});
  const auto larger = [&](std::int64_t a, std::int64_t b) { return diag[size(a)] > diag[size(b)]; };
  if (order == ColumnOrder::descending) std::ranges::stable_sort(perm, larger);
  if (order != ColumnOrder::group_aware) return perm;
  std::vector<std::int64_t> groups(size(n / group_size));
  std::iota(groups.begin(), groups.end(), std::int64_t{0});
  std::vector<float> best(groups.size());
  for (std::int64_t g = 0; g < n / group_size; ++g) {
    const auto begin = perm.begin() + g * group_size;
    std::ranges::stable_sort(begin, begin + group_size, larger);
    best[size(g)] = diag[size(*begin)];
  }
  std::ranges::stable_sort(
      groups, [&](std::int64_t a, std::int64_t b) { return best[size(a)] > best[size(b)]; });
  std::vector<std::int64_t> result;
  for (const std::int64_t g : groups)
    result.insert(result.end(), perm.begin() + g * group_size, perm.begin() + (g + 1) * group_size);
  return result;
}

struct Solver::State {
  GptqOptions options;
  const SolverKernels& kernels;
  linalg::Linalg& linalg;
  PreparedInputs in;

  SolverTools tools() const { return {options, kernels, linalg}; }
  std::vector<float> to_columns(std::span<const float> weight, std::int64_t n,
                                std::int64_t ld) const;
  bool moves() const;
  std::vector<float> shifted(const std::vector<float>& w, std::int64_t n, std::int64_t ld,
                             std::int64_t first_output) const;
  double norm(const std::vector<float>& from, std::int64_t n, std::int64_t ld) const;
  std::int64_t fall_back(const std::vector<float>& w, const std::vector<float>& target,
                         Columns& columns) const;
};

Solver::Solver(InputStatistics statistics, const GptqOptions& options, const SolverKernels& kernels,
               linalg::Linalg& linalg)
    : state_(new State{options, kernels, linalg, {}}) {
  OCTET_CHECK(statistics.in_features % options.group_size == 0, "{} inputs in groups of {}",
              statistics.in_features, options.group_size);
  OCTET_CHECK(options.order != ColumnOrder::descending || options.scales == ScaleSource::original,
              "descending order needs the original scales: it visits no group as a whole");
  PreparedInputs& in = state_->in;
  in.k = statistics.in_features;
  in.num_rows = statistics.num_rows;
  std::vector<float> diag(size(in.k));
  std::vector<char> dead(size(in.k));
  for (std::int64_t i = 0; i < in.k; ++i) {
    float& d = statistics.hessian[size(i * in.k + i)];
    if (d == 0) {
      // An input that is always zero: its weight doesn't matter and becomes zero.
      d = 1;
      dead[size(i)] = 1;
      ++in.dead_columns;
      for (std::int64_t j = 0; j < in.k && !statistics.shift.empty(); ++j)
        statistics.shift[size(j * in.k + i)] = 0;
    }
    diag[size(i)] = d;
  }
  in.order = column_order(diag, options.order, options.group_size);
  for (const std::int64_t old : in.order) {
    in.diag.push_back(diag[size(old)]);
    in.dead.push_back(dead[size(old)]);
  }
  in.hessian = permuted<float>(statistics.hessian, in.order, linalg.pool());
  release(statistics.hessian);
  in.held_out = permuted<float>(statistics.held_out, in.order, linalg.pool());
  release(statistics.held_out);
  in.shift = permuted<float>(statistics.shift, in.order, linalg.pool());
  release(statistics.shift);
  in.residual = std::move(statistics.residual);
  factor(in, options, linalg);
  if (options.foem_alpha != 0 && !in.shift.empty())
    in.p = gptaq_correction(in, options.foem_alpha, linalg);
}

Solver::~Solver() = default;

std::vector<float> Solver::State::to_columns(std::span<const float> weight, std::int64_t n,
                                             std::int64_t ld) const {
  std::vector<float> w(size(in.k * ld));
  linalg.pool().parallel_for((n + 15) / 16, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t c = 0; c < in.k; ++c) {
      if (in.dead[size(c)]) continue;
      for (std::int64_t i = begin * 16; i < std::min(end * 16, n); ++i)
        w[size(c * ld + i)] = weight[size(i * in.k + in.order[size(c)])];
    }
  });
  return w;
}

bool Solver::State::moves() const {
  return (options.target_shift != 0 && !in.shift.empty()) ||
         (options.residual_shift != 0 && !in.residual.empty());
}

// W + (share W D + share R) (H + damping)^-1, column by column: the weight whose outputs on the
// real inputs come closer to those of W on the unquantized model's inputs, and which makes good
// what the residual stream lacks. gptq.h
std::vector<float> Solver::State::shifted(const std::vector<float>& w, std::int64_t n,
                                          std::int64_t ld, std::int64_t first_output) const {
  const std::int64_t k = in.k;
  std::vector<float> a(w.size()), b(w.size()), target = w;
  if (options.target_shift != 0 && !in.shift.empty())
    linalg.gemm(k, ld, k, options.target_shift, Operand<float>{in.shift.data(), 1, k},
                Operand<float>{w.data(), ld, 1}, a.data(), ld);
  if (options.residual_shift != 0 && !in.residual.empty()) {
    OCTET_CHECK((first_output + n) * k <= static_cast<std::int64_t>(in.residual.size()),
                "outputs {} to {} of a residual stream of {}", first_output, first_output + n,
                in.residual.size() / size(k));
    const auto share = static_cast<float>(options.residual_shift);
    linalg.pool().parallel_for(k, 8, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t c = begin; c < end; ++c)
        for (std::int64_t i = 0; i < n; ++i)
          a[size(c * ld + i)] +=
              share * in.residual[size((first_output + i) * k + in.order[size(c)])];
    });
  }
  linalg.gemm(k, ld, k, 1.0, Operand<double>{in.u.data(), k, 1}, Operand<float>{a.data(), ld, 1},
              b.data(), ld);
  linalg.gemm(k, ld, k, 1.0, Operand<double>{in.u.data(), 1, k}, Operand<float>{b.data(), ld, 1},
              target.data(), ld);
  for (std::int64_t c = 0; c < k; ++c)
    if (in.dead[size(c)]) std::fill_n(target.data() + c * ld, ld, 0.0f);
  return target;
}

// Lanes whose values err more on the held-out inputs than plain rounding does become plain.
std::int64_t Solver::State::fall_back(const std::vector<float>& w, const std::vector<float>& target,
                                      Columns& columns) const {
  Columns plain = columns;
  round_to_nearest(w, in.diag, options.scale_rule, kernels, linalg.pool(), true, plain);
  const auto error = [&](const Columns& q) {
    return quadratic_forms(tools(), in.held_out, errors_of(tools(), q, target), in.k, columns.ld);
  };
  const auto ours = error(columns), other = error(plain);
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < columns.n; ++i) {
    if (ours[size(i)] <= other[size(i)]) continue;
    ++count;
    for (std::int64_t c = 0; c < in.k; ++c)
      columns.codes[size(c * columns.ld + i)] = plain.codes[size(c * columns.ld + i)];
    for (std::int64_t g = 0; g < columns.num_groups(); ++g)
      columns.scales[size(g * columns.ld + i)] = plain.scales[size(g * columns.ld + i)];
  }
  return count;
}

// tr(M H M^T) over at most kReportRows rows, spread evenly: over all rows it would cost more than
// the column loop.
double Solver::State::norm(const std::vector<float>& from, std::int64_t n, std::int64_t ld) const {
  const std::int64_t rows = std::min(n, kReportRows), wide = padded_lanes(rows);
  std::vector<float> some(size(in.k * wide));
  for (std::int64_t c = 0; c < in.k; ++c)
    for (std::int64_t i = 0; i < rows; ++i)
      some[size(c * wide + i)] = from[size(c * ld + i * n / rows)];
  const auto forms = quadratic_forms(tools(), in.hessian, some, in.k, wide);
  return std::accumulate(forms.begin(), forms.begin() + rows, 0.0);
}

QuantizedMatrix Solver::solve(std::span<const float> weight, std::int64_t out_features,
                              GptqReport* report, std::int64_t first_output) {
  const State& s = *state_;
  const std::int64_t n = out_features, k = s.in.k, ld = padded_lanes(n);
  OCTET_CHECK(static_cast<std::int64_t>(weight.size()) == n * k, "{} weights for {} x {}",
              weight.size(), n, k);
  if (!std::ranges::all_of(weight, [](float w) { return std::isfinite(w); }))
    fail(ErrorCode::bad_data, "the weight is not finite");
  GptqReport r{.damp_percent = s.in.damp_percent,
               .smallest_pivot = s.in.smallest_pivot,
               .dead_columns = s.in.dead_columns};
  Columns columns{
      .n = n, .k = k, .ld = ld, .group_size = s.options.group_size, .order = s.in.order};
  const std::vector<float> w = s.to_columns(weight, n, ld);
  const bool moves = s.moves();
  const std::vector<float> moved = moves ? s.shifted(w, n, ld, first_output) : std::vector<float>();
  const std::vector<float>& target = moves ? moved : w;

  const double loss = run_column_loop(s.tools(), s.in, target, columns, r.clipped);
  if (!std::isfinite(loss)) fail(ErrorCode::bad_data, "the loss is not finite");
  r.loss = loss / static_cast<double>(s.in.num_rows);
  if (s.options.refine_rounds > 0) refine(s.tools(), s.in, target, columns);
  if (s.options.row_fallback && !s.in.held_out.empty())
    r.plain_rows = s.fall_back(w, target, columns);
  r.weight_norm = s.norm(w, n, ld);
  r.error_norm = s.norm(errors_of(s.tools(), columns, target), n, ld);
  r.relative_error = r.weight_norm > 0 ? r.error_norm / r.weight_norm : 0;
  if (report) *report = r;
  return to_matrix(columns, s.options.scale_rule.bits);
}

}  // namespace octet::quantize
