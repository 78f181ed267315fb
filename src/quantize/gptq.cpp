#include "quantize/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quantize/factor.h"
#include "runtime/base/error.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

namespace {

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

struct Factor {
  std::vector<double> u;
  double damp = 0;
};

// H with more and more damping until it factors: the given percent of the mean of the diagonal
// first, then steps of the increment; then the same over a raised diagonal.
Factor damped_factor(const std::vector<double>& h, std::int64_t n, const GptqOptions& options,
                     ThreadPool& pool) {
  double largest = 0;
  std::vector<double> diag(at(n));
  for (std::int64_t i = 0; i < n; ++i) {
    diag[at(i)] = h[at(i * n + i)];
    largest = std::max(largest, std::fabs(diag[at(i)]));
  }
  const double floor = largest > 0 ? 1e-6 * largest : 1e-6;
  for (int attempt = 0; attempt < 7; ++attempt) {
    std::vector<double> raised = diag;
    if (attempt > 0) {
      const double lift = floor * std::pow(10.0, attempt - 1);
      for (double& d : raised) d = std::max(d + lift, lift);
    }
    const double mean = std::accumulate(raised.begin(), raised.end(), 0.0) / static_cast<double>(n);
    for (double damp = options.damp_percent; damp > 0 && damp < 1; damp += options.damp_increment) {
      std::vector<double> damped = h;
      for (std::int64_t i = 0; i < n; ++i) damped[at(i * n + i)] = raised[at(i)] + damp * mean;
      if (auto u = inverse_factor(std::move(damped), n, pool)) return {std::move(*u), damp};
      if (options.damp_increment <= 0) break;
    }
  }
  fail(ErrorCode::bad_data,
       "the Hessian of a module with {} inputs can't be factored with any damping; calibrate with "
       "more text",
       n);
}

// The state of the column loop: everything in visiting order, columns as rows [in][out], so that
// the loops run along output features, which are independent of each other.
class ColumnLoop {
 public:
  // diag: of H, in the original order; it weights the search for scales.
  ColumnLoop(std::vector<float> weight, std::int64_t out, const std::vector<double>& u,
             const std::vector<double>& diag, std::vector<std::int64_t> order,
             const GptqOptions& options)
      : n_(out),
        k_(static_cast<std::int64_t>(order.size())),
        options_(options),
        w_(std::move(weight)),
        order_(std::move(order)),
        u_(u.begin(), u.end()),
        importance_(diag.begin(), diag.end()),
        codes_(w_.size()),
        scales_(at(k_ / options.group_size * n_)),
        loss_(at(n_)),
        clipped_(at(n_)) {}

  void run(ThreadPool& pool) {
    if (options_.scales == ScaleSource::original) set_scales_from_original(pool);
    pool.parallel_for(n_, kRows, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; n += kRows) rows(n, std::min(n + kRows, end));
    });
  }

  QuantizedMatrix result() const {
    QuantizedMatrix q{n_, k_, options_.bits, options_.group_size, {}, {}};
    q.codes.resize(codes_.size());
    q.scales.resize(scales_.size());
    for (std::int64_t c = 0; c < k_; ++c)
      for (std::int64_t n = 0; n < n_; ++n) {
        q.codes[at(n * k_ + order_[at(c)])] = codes_[at(c * n_ + n)];
        q.scales[at(n * q.num_groups() + group(c))] = scales_[at(group(c) * n_ + n)];
      }
    return q;
  }
  double loss() const { return std::accumulate(loss_.begin(), loss_.end(), 0.0); }
  std::int64_t clipped() const {
    return std::accumulate(clipped_.begin(), clipped_.end(), std::int64_t{0});
  }

 private:
  // Output features that one task takes through all columns; its weights of a block stay cached.
  static constexpr std::int64_t kRows = 32;

  // Original group of the column visited as number c.
  std::int64_t group(std::int64_t c) const { return order_[at(c)] / options_.group_size; }

  void set_scales_from_original(ThreadPool& pool) {
    std::vector<std::int64_t> position(at(k_));
    for (std::int64_t c = 0; c < k_; ++c) position[at(order_[at(c)])] = c;
    const std::int64_t size = options_.group_size;
    pool.parallel_for(k_ / size, 1, [&](std::int64_t begin, std::int64_t end, int) {
      std::vector<float> weights(at(size));
      for (std::int64_t g = begin; g < end; ++g)
        for (std::int64_t n = 0; n < n_; ++n) {
          for (std::int64_t i = 0; i < size; ++i)
            weights[at(i)] = w_[at(position[at(g * size + i)] * n_ + n)];
          scales_[at(g * n_ + n)] =
              group_scale(weights, rule(), std::span(importance_).subspan(at(g * size), at(size)));
        }
    });
  }

  ScaleRule rule() const {
    ScaleRule rule = options_.scale_rule;
    rule.bits = options_.bits;
    return rule;
  }

  // Scales of the group that begins at visited column c, from the given copy of its columns.
  void set_scales(std::int64_t c, const float* columns, std::int64_t stride, std::int64_t n0,
                  std::int64_t count) {
    std::vector<float> weights(at(options_.group_size)), importance(weights.size());
    for (std::int64_t i = 0; i < options_.group_size; ++i)
      importance[at(i)] = importance_[at(order_[at(c + i)])];
    for (std::int64_t n = 0; n < count; ++n) {
      for (std::int64_t i = 0; i < options_.group_size; ++i)
        weights[at(i)] = columns[i * stride + n];
      scales_[at(group(c) * n_ + n0 + n)] = group_scale(weights, rule(), importance);
    }
  }

  void rows(std::int64_t n0, std::int64_t n1) {
    const std::int64_t count = n1 - n0, g = options_.group_size;
    const int zero = 1 << (options_.bits - 1), max_code = (1 << options_.bits) - 1;
    std::vector<float> block(at(options_.block * kRows)), errors(at(options_.block * kRows));
    for (std::int64_t c0 = 0; c0 < k_; c0 += options_.block) {
      const std::int64_t c1 = std::min(c0 + options_.block, k_);
      for (std::int64_t c = c0; c < c1; ++c)
        std::copy_n(w_.data() + c * n_ + n0, count, block.data() + (c - c0) * kRows);
      for (std::int64_t c = c0; c < c1; ++c) {
        float* w = block.data() + (c - c0) * kRows;
        if (c % g == 0 && options_.scales == ScaleSource::stale)
          set_scales(c, w_.data() + c * n_ + n0, n_, n0, count);
        if (c % g == 0 && options_.scales == ScaleSource::fresh)
          set_scales_fresh(c, c0, c1, block, n0, count);
        const float d = u_[at(c * k_ + c)];
        float* error = errors.data() + (c - c0) * kRows;
        for (std::int64_t n = 0; n < count; ++n) {
          const float scale = scales_[at(group(c) * n_ + n0 + n)];
          const int code = nearest_code(w[n], scale, zero, max_code);
          codes_[at(c * n_ + n0 + n)] = static_cast<std::uint8_t>(code);
          const float q = scale * static_cast<float>(code - zero);
          const float e = (w[n] - q) / d;
          error[n] = e;
          loss_[at(n0 + n)] += 0.5 * static_cast<double>(e) * e;
          clipped_[at(n0 + n)] += std::fabs(w[n] - q) > 0.5f * scale * 1.0001f;
        }
        for (std::int64_t j = c; j < c1; ++j) {
          const float factor = u_[at(c * k_ + j)];
          float* to = block.data() + (j - c0) * kRows;
          for (std::int64_t n = 0; n < count; ++n) to[n] -= error[n] * factor;
        }
      }
      for (std::int64_t j = c1; j < k_; ++j) {
        float* to = w_.data() + j * n_ + n0;
        float sum[kRows] = {};
        for (std::int64_t c = c0; c < c1; ++c) {
          const float factor = u_[at(c * k_ + j)];
          const float* error = errors.data() + (c - c0) * kRows;
          for (std::int64_t n = 0; n < kRows; ++n) sum[n] += error[n] * factor;
        }
        for (std::int64_t n = 0; n < count; ++n) to[n] -= sum[n];
      }
    }
  }

  // A group may reach past the block: its later columns are still as the last block left them.
  void set_scales_fresh(std::int64_t c, std::int64_t c0, std::int64_t c1,
                        const std::vector<float>& block, std::int64_t n0, std::int64_t count) {
    std::vector<float> columns(at(options_.group_size * kRows));
    for (std::int64_t i = 0; i < options_.group_size; ++i) {
      const float* from =
          c + i < c1 ? block.data() + (c + i - c0) * kRows : w_.data() + (c + i) * n_ + n0;
      std::copy_n(from, count, columns.data() + i * kRows);
    }
    set_scales(c, columns.data(), kRows, n0, count);
  }

  std::int64_t n_, k_;
  const GptqOptions& options_;
  std::vector<float> w_;
  std::vector<std::int64_t> order_;
  std::vector<float> u_, importance_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> scales_;  // [original group][out]
  std::vector<double> loss_;
  std::vector<std::int64_t> clipped_;
};

// tr(W H W^T) for weights [out][in].
double weighted_norm(std::span<const float> weight, std::int64_t n, const std::vector<double>& h,
                     std::int64_t k, ThreadPool& pool) {
  std::vector<double> sums(at(n));
  pool.parallel_for(n, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<double> product(at(k));
    for (std::int64_t r = begin; r < end; ++r) {
      std::ranges::fill(product, 0.0);
      const float* w = weight.data() + r * k;
      for (std::int64_t i = 0; i < k; ++i) {
        const double factor = w[i];
        const double* row = h.data() + i * k;
        for (std::int64_t j = i; j < k; ++j) product[at(j)] += factor * row[j];
      }
      // The upper triangle twice, the diagonal once.
      double sum = 0;
      for (std::int64_t j = 0; j < k; ++j) {
        const double diagonal = static_cast<double>(w[j]) * h[at(j * k + j)];
        sum += w[j] * (2 * product[at(j)] - diagonal);
      }
      sums[at(r)] = sum;
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

std::vector<std::int64_t> column_order(std::span<const double> diag, ColumnOrder order,
                                       std::int64_t group_size) {
  const auto n = static_cast<std::int64_t>(diag.size());
  std::vector<std::int64_t> perm(at(n));
  std::iota(perm.begin(), perm.end(), std::int64_t{0});
  const auto larger = [&](std::int64_t a, std::int64_t b) { return diag[at(a)] > diag[at(b)]; };
  if (order == ColumnOrder::descending) std::ranges::stable_sort(perm, larger);
  if (order != ColumnOrder::group_aware) return perm;
  std::vector<std::int64_t> groups(at(n / group_size));
  std::iota(groups.begin(), groups.end(), std::int64_t{0});
  std::vector<double> best(groups.size());
  for (std::int64_t g = 0; g < n / group_size; ++g) {
    const auto begin = perm.begin() + g * group_size;
    std::ranges::stable_sort(begin, begin + group_size, larger);
    best[at(g)] = diag[at(*begin)];
  }
  std::ranges::stable_sort(
      groups, [&](std::int64_t a, std::int64_t b) { return best[at(a)] > best[at(b)]; });
  std::vector<std::int64_t> result;
  for (const std::int64_t g : groups)
    result.insert(result.end(), perm.begin() + g * group_size, perm.begin() + (g + 1) * group_size);
  return result;
}

QuantizedMatrix quantize_gptq(std::span<const float> weight, std::int64_t out_features,
                              std::int64_t in_features, std::vector<double> hessian,
                              std::int64_t num_tokens, const GptqOptions& options, ThreadPool& pool,
                              GptqReport* report) {
  const std::int64_t n = out_features, k = in_features;
  OCTET_CHECK(static_cast<std::int64_t>(weight.size()) == n * k && k % options.group_size == 0,
              "GPTQ of {} weights as {} x {} by {}", weight.size(), n, k, options.group_size);
  OCTET_CHECK(options.order != ColumnOrder::descending || options.scales == ScaleSource::original,
              "descending order needs the original scales: it visits no group as a whole");
  if (!std::ranges::all_of(weight, [](float w) { return std::isfinite(w); }))
    fail(ErrorCode::bad_data, "the weight is not finite");
  GptqReport r;
  std::vector<double> diag(at(k));
  std::vector<char> dead(at(k));
  for (std::int64_t i = 0; i < k; ++i) {
    double& d = hessian[at(i * k + i)];
    if (d == 0) {
      // An input that is always zero: its weight doesn't matter and becomes zero.
      d = 1;
      dead[at(i)] = 1;
      ++r.dead_columns;
    }
    diag[at(i)] = d;
  }
  auto order = column_order(diag, options.order, options.group_size);
  std::vector<double> permuted(hessian.size());
  for (std::int64_t i = 0; i < k; ++i)
    for (std::int64_t j = 0; j < k; ++j)
      permuted[at(i * k + j)] = hessian[at(order[at(i)] * k + order[at(j)])];
  const Factor factor = damped_factor(permuted, k, options, pool);
  permuted = {};
  r.damp_percent = factor.damp;

  std::vector<float> columns(weight.size());
  for (std::int64_t c = 0; c < k; ++c)
    for (std::int64_t i = 0; i < n; ++i)
      columns[at(c * n + i)] = dead[at(order[at(c)])] ? 0.0f : weight[at(i * k + order[at(c)])];
  ColumnLoop loop(std::move(columns), n, factor.u, diag, std::move(order), options);
  loop.run(pool);
  r.loss = loop.loss() / static_cast<double>(num_tokens);
  r.clipped = loop.clipped();
  if (!std::isfinite(r.loss)) fail(ErrorCode::bad_data, "the loss is not finite");
  // The losses of all columns are the damped error of the whole: tr(D Hd D^T) / 2.
  const double mean = std::accumulate(diag.begin(), diag.end(), 0.0) / static_cast<double>(k);
  for (std::int64_t i = 0; i < k; ++i) hessian[at(i * k + i)] += factor.damp * mean;
  const double whole = weighted_norm(weight, n, hessian, k, pool);
  r.relative_error = whole > 0 ? 2 * loop.loss() / whole : 0;
  if (report) *report = r;
  return loop.result();
}

}  // namespace octet::quantize
