#include "quantize/columns.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/thread_pool.h"
#include "runtime/tensor/dtype.h"

namespace octet::quantize {

int nearest_code(float w, float scale, const CodeFormat& f) {
  const float low = static_cast<float>(-f.zero), high = static_cast<float>(f.max_code - f.zero);
  // Halves to even is the rounding mode that every program starts with.
  return static_cast<int>(std::nearbyint(std::clamp(w / scale, low, high))) + f.zero;
}

float served_value(int level, float scale, ServeType serve) {
  const float q = scale * static_cast<float>(level);
  if (serve == ServeType::f16) return f16_to_float(float_to_f16(q));
  if (serve == ServeType::bf16) return bf16_to_float(float_to_bf16(q));
  return q;
}

void round_to_nearest(const std::vector<float>& w, std::span<const float> importance,
                      const ScaleRule& rule, const SolverKernels& kernels, ThreadPool& pool,
                      bool codes_too, Columns& to) {
  const auto shares = rule.shares();
  const std::int64_t g_size = to.group_size;
  std::vector<std::int64_t> position(size(to.k));
  for (std::int64_t c = 0; c < to.k; ++c) position[size(to.order[size(c)])] = c;
  to.scales.resize(size(to.num_groups() * to.ld));
  if (codes_too) to.codes.resize(w.size());
  const std::int64_t stripes = (to.ld + kStripe - 1) / kStripe;
  pool.parallel_for(to.num_groups() * stripes, 1, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> columns(size(g_size * kStripe)), weights(size(g_size));
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t g = t / stripes, n0 = t % stripes * kStripe;
      const std::int64_t lanes = std::min(kStripe, to.ld - n0);
      for (std::int64_t i = 0; i < g_size; ++i) {
        const std::int64_t c = position[size(g * g_size + i)];
        std::copy_n(w.data() + c * to.ld + n0, lanes, columns.data() + i * kStripe);
        if (!importance.empty()) weights[size(i)] = importance[size(c)];
      }
      float* scales = to.scales.data() + g * to.ld + n0;
      kernels.search_scales({.group_size = g_size,
                             .lanes = lanes,
                             .ld = kStripe,
                             .w = columns.data(),
                             .importance = importance.empty() ? nullptr : weights.data(),
                             .u = nullptr,
                             .ldu = 0,
                             .share = shares.data(),
                             .num_shares = static_cast<std::int64_t>(shares.size()),
                             .reference_quirk = rule.reference_quirk,
                             .grid = rule.grid,
                             .format = rule.format(),
                             .scales = scales});
      if (!codes_too) continue;
      for (std::int64_t i = 0; i < g_size; ++i) {
        std::uint8_t* codes = to.codes.data() + position[size(g * g_size + i)] * to.ld + n0;
        for (std::int64_t n = 0; n < lanes; ++n)
          codes[n] = static_cast<std::uint8_t>(
              nearest_code(columns[size(i * kStripe + n)], scales[n], rule.format()));
      }
    }
  });
}

QuantizedMatrix to_matrix(const Columns& columns, std::int64_t bits) {
  const std::int64_t n = columns.n, k = columns.k;
  QuantizedMatrix q{n, k, bits, columns.group_size, {}, {}};
  q.codes.resize(size(n * k));
  q.scales.resize(size(n * q.num_groups()));
  for (std::int64_t n0 = 0; n0 < n; n0 += kStripe)
    for (std::int64_t c = 0; c < k; ++c)
      for (std::int64_t i = n0; i < std::min(n0 + kStripe, n); ++i)
        q.codes[size(i * k + columns.order[size(c)])] = columns.codes[size(c * columns.ld + i)];
  for (std::int64_t g = 0; g < q.num_groups(); ++g)
    for (std::int64_t i = 0; i < n; ++i)
      q.scales[size(i * q.num_groups() + g)] = columns.scales[size(g * columns.ld + i)];
  return q;
}

}  // namespace octet::quantize
