#include "quantize/quantizer.h"

#include <algorithm>

#include "quantize/columns.h"
#include "runtime/base/cpu_features.h"
#include "runtime/base/thread_pool.h"

namespace octet::quantize {

const SolverKernels& choose_kernels(const std::string& isa) {
  [[maybe_unused]] const std::string name = choose_isa(isa);
#if defined(__x86_64__)
  if (name == "avx512" || name == "amx") return avx512_kernels();
  if (name == "avx2" || name == "avx_vnni") return avx2_kernels();
#endif
  return generic_kernels();
}

std::vector<float> ScaleRule::shares() const {
  std::vector<float> shares;
  if (search == ScaleSearch::none) shares.push_back(1);
  if (search == ScaleSearch::mse)
    for (int i = 0; i < 80; ++i) shares.push_back(1.0f - static_cast<float>(i) / 100);
  if (search == ScaleSearch::fine) {
    const int steps = bits == 8 ? 120 : 60;
    const float from = bits == 8 ? 0.94f : 0.5f, to = bits == 8 ? 1.06f : 1.1f;
    for (int i = 0; i <= steps; ++i)
      shares.push_back(from + static_cast<float>(i) / static_cast<float>(steps) * (to - from));
  }
  return shares;
}

QuantizedMatrix quantize_rtn(std::span<const float> weight, std::int64_t out_features,
                             std::int64_t in_features, std::int64_t group_size,
                             const ScaleRule& rule, const SolverKernels& kernels,
                             ThreadPool& pool) {
  QuantizedMatrix q{out_features, in_features, rule.bits, group_size, {}, {}};
  q.codes.resize(weight.size());
  q.scales.resize(weight.size() / static_cast<std::size_t>(group_size));
  const auto shares = rule.shares();
  const std::int64_t groups = q.num_groups();
  pool.parallel_for(
      (out_features + kStripe - 1) / kStripe, 1, [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<float> columns(size(group_size * kStripe)), scales(size(kStripe));
        for (std::int64_t n0 = begin * kStripe; n0 < std::min(end * kStripe, out_features);
             n0 += kStripe) {
          const std::int64_t count = std::min(kStripe, out_features - n0);
          for (std::int64_t g = 0; g < groups; ++g) {
            for (std::int64_t i = 0; i < group_size; ++i)
              for (std::int64_t n = 0; n < kStripe; ++n)
                columns[size(i * kStripe + n)] =
                    n < count ? weight[size((n0 + n) * in_features + g * group_size + i)] : 0;
            kernels.search_scales({.group_size = group_size,
                                   .lanes = kStripe,
                                   .ld = kStripe,
                                   .w = columns.data(),
                                   .importance = nullptr,
                                   .u = nullptr,
                                   .ldu = 0,
                                   .share = shares.data(),
                                   .num_shares = static_cast<std::int64_t>(shares.size()),
                                   .reference_quirk = rule.reference_quirk,
                                   .grid = rule.grid,
                                   .format = rule.format(),
                                   .scales = scales.data()});
            for (std::int64_t n = 0; n < count; ++n) {
              q.scales[size((n0 + n) * groups + g)] = scales[size(n)];
              for (std::int64_t i = 0; i < group_size; ++i)
                q.codes[size((n0 + n) * in_features + g * group_size + i)] =
                    static_cast<std::uint8_t>(nearest_code(columns[size(i * kStripe + n)],
                                                           scales[size(n)], rule.format()));
            }
          }
        }
      });
  return q;
}

}  // namespace octet::quantize
