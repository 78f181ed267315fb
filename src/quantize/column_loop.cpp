#include <algorithm>
#include <cmath>
#include <numeric>

#include "quantize/solver_state.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {

using linalg::Operand;

class ColumnLoop {
 public:
  ColumnLoop(const SolverTools& tools, const PreparedInputs& inputs, std::vector<float> w,
             Columns& columns)
      : t_(tools),
        in_(inputs),
        q_(columns),
        w_(std::move(w)),
        shares_(tools.options.scale_rule.shares()),
        loss_(size(columns.ld)),
        clipped_(size(columns.ld)),
        loss_sums_(size(columns.ld)) {
    q_.codes.resize(w_.size());
    if (t_.options.foem_beta != 0) raw_ = w_;
  }

  void run() {
    const std::int64_t k = q_.k, ld = q_.ld, block = t_.options.block;
    linalg::Linalg& linalg = t_.linalg;
    if (t_.options.scales == ScaleSource::original)
      round_to_nearest(w_, in_.diag, t_.options.scale_rule, t_.kernels, linalg.pool(), false, q_);
    else
      q_.scales.assign(size(q_.num_groups() * ld), 1.0f);
    errors_.resize(size(block * ld));
    for (std::int64_t c0 = 0; c0 < k; c0 += block) {
      const std::int64_t c1 = std::min(c0 + block, k), count = c1 - c0;
      load_block(c0, count);
      const std::int64_t stripes = (ld + kStripe - 1) / kStripe;
      linalg.pool().parallel_for(stripes, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t s = begin; s < end; ++s) stripe(c0, c1, s * kStripe);
      });
      if (c1 == k) break;
      linalg.gemm(k - c1, ld, count, -1.0, Operand<double>{in_.u.data() + c0 * k + c1, 1, k},
                  Operand<float>{errors_.data(), ld, 1}, w_.data() + c1 * ld, ld);
      if (!in_.p.empty())
        linalg.gemm(k - c1, ld, count, 1.0, Operand<float>{in_.p.data() + c0 * k + c1, 1, k},
                    Operand<float>{w_.data() + c0 * ld, ld, 1}, w_.data() + c1 * ld, ld);
    }
  }

  double loss() const {
    return std::accumulate(loss_sums_.begin(), loss_sums_.begin() + q_.n, 0.0);
  }
  std::int64_t clipped() const {
    return static_cast<std::int64_t>(
        std::accumulate(clipped_.begin(), clipped_.begin() + q_.n, 0.0));
  }

 private:
  // The block's squares of U and P, small enough for the cache.
  void load_block(std::int64_t c0, std::int64_t count) {
    u_.assign(size(count * count), 0.0f);
    p_.assign(in_.p.empty() ? 0 : size(count * count), 0.0f);
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = i; j < count; ++j) {
        u_[size(i * count + j)] = static_cast<float>(in_.u[size((c0 + i) * q_.k + c0 + j)]);
        if (!p_.empty()) p_[size(i * count + j)] = in_.p[size((c0 + i) * q_.k + c0 + j)];
      }
  }

  // All columns of the block for some lanes.
  void stripe(std::int64_t c0, std::int64_t c1, std::int64_t n0) {
    const std::int64_t g = q_.group_size, ld = q_.ld, count = c1 - c0;
    const std::int64_t lanes = std::min(kStripe, ld - n0);
    std::fill_n(loss_.data() + n0, lanes, 0.0f);
    if (t_.options.scales == ScaleSource::stale)
      for (std::int64_t c = (c0 + g - 1) / g * g; c < c1; c += g)
        find_scales(c, c0, count, n0, lanes);
    for (std::int64_t c = c0; c < c1;) {
      const bool own =
          t_.options.scales == ScaleSource::fresh || t_.options.scales == ScaleSource::feedback;
      if (own && c % g == 0) find_scales(c, c0, count, n0, lanes);
      // Columns of one group in a row; with descending order that may be one alone.
      std::int64_t end = c + 1;
      while (end < c1 && q_.group(end) == q_.group(c)) ++end;
      t_.kernels.round_columns({.begin = c - c0,
                                .end = end - c0,
                                .count = count,
                                .lanes = lanes,
                                .ld = ld,
                                .w = w_.data() + c0 * ld + n0,
                                .scales = q_.scales_of(c) + n0,
                                .u = u_.data(),
                                .p = p_.empty() ? nullptr : p_.data(),
                                .raw = raw_.empty() ? nullptr : raw_.data() + c0 * ld + n0,
                                .beta = static_cast<float>(t_.options.foem_beta),
                                .format = t_.options.scale_rule.format(),
                                .errors = errors_.data() + n0,
                                .codes = q_.codes.data() + c0 * ld + n0,
                                .loss = loss_.data() + n0,
                                .clipped = clipped_.data() + n0});
      c = end;
    }
    for (std::int64_t n = n0; n < n0 + lanes; ++n) loss_sums_[size(n)] += loss_[size(n)];
  }

  // Scales of the group that begins at visited column c, from its columns as they are now.
  void find_scales(std::int64_t c, std::int64_t c0, std::int64_t count, std::int64_t n0,
                   std::int64_t lanes) {
    const ScaleRule& rule = t_.options.scale_rule;
    const bool feedback = t_.options.scales == ScaleSource::feedback && q_.group_size <= 128 &&
                          c + q_.group_size <= c0 + count;
    const bool plain = rule.search == ScaleSearch::mse;
    t_.kernels.search_scales({.group_size = q_.group_size,
                              .lanes = lanes,
                              .ld = q_.ld,
                              .w = w_.data() + c * q_.ld + n0,
                              .importance = plain ? nullptr : in_.diag.data() + c,
                              .u = feedback ? u_.data() + (c - c0) * count + (c - c0) : nullptr,
                              .ldu = count,
                              .share = shares_.data(),
                              .num_shares = static_cast<std::int64_t>(shares_.size()),
                              .reference_quirk = rule.reference_quirk,
                              .grid = rule.grid,
                              .format = rule.format(),
                              .scales = q_.scales.data() + q_.group(c) * q_.ld + n0});
  }

  const SolverTools& t_;
  const PreparedInputs& in_;
  Columns& q_;
  std::vector<float> w_, raw_, errors_, u_, p_, shares_, loss_, clipped_;
  std::vector<double> loss_sums_;
};

}  // namespace

double run_column_loop(const SolverTools& tools, const PreparedInputs& inputs, std::vector<float> w,
                       Columns& columns, std::int64_t& clipped) {
  ColumnLoop loop(tools, inputs, std::move(w), columns);
  loop.run();
  clipped = loop.clipped();
  return loop.loss();
}

}  // namespace octet::quantize
