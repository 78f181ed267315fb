#include <algorithm>
#include <numeric>

#include "quantize/solver_state.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {

using linalg::Operand;
constexpr std::int64_t kBlock = 128;
constexpr float kDamping = 3;  // times the column loop's

}  // namespace

std::vector<float> errors_of(const SolverTools& tools, const Columns& q,
                             const std::vector<float>& target) {
  std::vector<float> d(target.size());
  const auto format = tools.options.scale_rule.format();
  tools.linalg.pool().parallel_for(q.k, 8, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t c = begin; c < end; ++c) {
      const float* scales = q.scales_of(c);
      for (std::int64_t n = 0; n < q.ld; ++n) {
        const std::size_t at = size(c * q.ld + n);
        d[at] = served_value(static_cast<int>(q.codes[at]) - format.zero, scales[n], format.serve) -
                target[at];
      }
    }
  });
  return d;
}

std::vector<double> quadratic_forms(const SolverTools& tools, const std::vector<float>& h,
                                    const std::vector<float>& d, std::int64_t k, std::int64_t ld) {
  std::vector<double> sums(size(ld));
  std::vector<float> product;
  constexpr std::int64_t kRows = 512;
  for (std::int64_t c0 = 0; c0 < k; c0 += kRows) {
    const std::int64_t count = std::min(kRows, k - c0);
    product.assign(size(count * ld), 0.0f);
    // H is symmetric: columns of it serve as rows.
    tools.linalg.gemm(count, ld, k, 1.0, Operand<float>{h.data() + c0, 1, k},
                      Operand<float>{d.data(), ld, 1}, product.data(), ld);
    for (std::int64_t c = 0; c < count; ++c)
      for (std::int64_t n = 0; n < ld; ++n)
        sums[size(n)] +=
            static_cast<double>(product[size(c * ld + n)]) * d[size((c0 + c) * ld + n)];
  }
  return sums;
}

void refine(const SolverTools& tools, const PreparedInputs& in, const std::vector<float>& target,
            Columns& q) {
  const GptqOptions& o = tools.options;
  const std::int64_t k = q.k, ld = q.ld;
  // Scales can be fitted where a group's columns lie together inside a block.
  const bool fit = kBlock % q.group_size == 0 && o.order != ColumnOrder::descending;
  std::vector<float> d = errors_of(tools, q, target);
  std::vector<float> gradient, h;
  // Damped, more than the column loop: text of another kind weighs inputs differently, and what the
  // calibration text says little about had better stay near. docs/quantization.md
  const float mean = std::accumulate(in.diag.begin(), in.diag.end(), 0.0f) / static_cast<float>(k);
  const float damping = kDamping * static_cast<float>(in.damp_percent) * mean;
  for (std::int64_t pass = 0; pass < o.refine_rounds * o.refine_sweeps; ++pass) {
    const bool last = pass % o.refine_sweeps == o.refine_sweeps - 1;
    for (std::int64_t c0 = 0; c0 < k; c0 += kBlock) {
      const std::int64_t count = std::min(kBlock, k - c0);
      gradient.assign(size(count * ld), 0.0f);
      tools.linalg.gemm(count, ld, k, 1.0, Operand<float>{in.hessian.data() + c0, 1, k},
                        Operand<float>{d.data(), ld, 1}, gradient.data(), ld);
      h.resize(size(count * count));
      for (std::int64_t i = 0; i < count; ++i) {
        std::copy_n(in.hessian.data() + (c0 + i) * k + c0, count, h.data() + i * count);
        h[size(i * count + i)] += damping;
        for (std::int64_t n = 0; n < ld; ++n)
          gradient[size(i * ld + n)] += damping * d[size((c0 + i) * ld + n)];
      }
      const std::int64_t stripes = (ld + kStripe - 1) / kStripe;
      tools.linalg.pool().parallel_for(stripes, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n0 = begin * kStripe; n0 < std::min(end * kStripe, ld); n0 += kStripe)
          for (std::int64_t c = 0; c < count;) {
            std::int64_t stop = c + 1;
            while (stop < count && q.group(c0 + stop) == q.group(c0 + c)) ++stop;
            float* scales = q.scales.data() + q.group(c0 + c) * ld + n0;
            // The group's own columns follow too where its scale is fitted afterwards.
            const std::int64_t follow = fit && last ? c : c + 1;
            tools.kernels.sweep_columns({.begin = c,
                                         .end = stop,
                                         .follow = follow,
                                         .count = count,
                                         .lanes = std::min(kStripe, ld - n0),
                                         .ld = ld,
                                         .g = gradient.data() + n0,
                                         .d = d.data() + c0 * ld + n0,
                                         .h = h.data(),
                                         .scales = scales,
                                         .format = o.scale_rule.format(),
                                         .codes = q.codes.data() + c0 * ld + n0});
            if (fit && last)
              tools.kernels.fit_scales({.begin = c,
                                        .end = stop,
                                        .follow = stop,
                                        .count = count,
                                        .lanes = std::min(kStripe, ld - n0),
                                        .ld = ld,
                                        .g = gradient.data() + n0,
                                        .d = d.data() + c0 * ld + n0,
                                        .h = h.data(),
                                        .scales = scales,
                                        .grid = o.scale_rule.grid,
                                        .format = o.scale_rule.format(),
                                        .codes = q.codes.data() + c0 * ld + n0});
            c = stop;
          }
      });
    }
  }
}

}  // namespace octet::quantize
