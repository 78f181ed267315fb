#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

namespace {
float softplus(float x) {
  return x > 20.0f ? x : std::log1p(std::exp(x));
}
}  // namespace

void CpuBackend::gated_delta_rule(const DeltaRuleInputs& in, const RaggedBatch& batch,
                                  StateCache& states, std::int64_t layer, TensorView out) {
  const auto& cache = static_cast<const CpuStateCache&>(states);
  const StateCacheShape& shape = cache.shape();
  const std::int64_t nk = shape.num_key_heads, nv = shape.num_value_heads;
  const std::int64_t dk = shape.key_head_dim, dv = shape.value_head_dim, ratio = nv / nk;
  check_batch("gated_delta_rule", batch, in.mixed);
  check_rows("gated_delta_rule", out, batch.num_rows, nv * dv);

  // Unit keys and scaled unit queries [row][query | key][key head][dk]; gates [row][decay | beta].
  float* unit = scratch(keys_, batch.num_rows * 2 * nk * dk);
  float* gates = scratch(gates_, batch.num_rows * 2 * nv);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dk));
  pool_.parallel_for(batch.num_rows, 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* mixed = in.mixed.as<float>() + r * shape.conv_dim();
      for (std::int64_t h = 0; h < 2 * nk; ++h)
        kernels_.l2_norm(mixed + h * dk, h < nk ? scale : 1.0f, dk, unit + (r * 2 * nk + h) * dk);
      const float* b = in.b.tensor.as<float>() + r * in.b.tensor.dim(1) + in.b.begin;
      const float* a = in.a.tensor.as<float>() + r * in.a.tensor.dim(1) + in.a.begin;
      float* decay = gates + r * 2 * nv;
      for (std::int64_t h = 0; h < nv; ++h) {
        const float g =
            -std::exp(in.A_log.as<float>()[h]) * softplus(a[h] + in.dt_bias.as<float>()[h]);
        decay[h] = std::exp(g);
        decay[nv + h] = 1.0f / (1.0f + std::exp(-b[h]));
      }
    }
  });

  // Accepted rows first, everywhere, before any head records a new draft over them.
  const auto num_segments = static_cast<std::int64_t>(batch.segments.size());
  if (std::ranges::any_of(batch.segments, [](const Segment& s) { return s.accepted_rows > 0; }))
    pool_.parallel_for(num_segments * nv, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t item = begin; item < end; ++item) {
        const Segment& s = batch.segments[size(item / nv)];
        const std::int64_t h = item % nv;
        for (std::int64_t r = 0; r < s.accepted_rows; ++r)
          kernels_.delta_update(cache.state(s.state_slot, layer, h),
                                cache.draft_key(s.state_slot, layer, r) + h / ratio * dk,
                                cache.draft_delta(s.state_slot, layer, r) + h * dv,
                                cache.draft_decay(s.state_slot, layer, r)[h], dk, dv);
      }
    });

  const std::int64_t state_size = cache.head_state_size();
  float* copies = scratch(worker_scratch_, pool_.num_threads() * state_size);
  pool_.parallel_for(num_segments * nv, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t item = begin; item < end; ++item) {
      const Segment& s = batch.segments[size(item / nv)];
      const std::int64_t h = item % nv;
      float* state = cache.state(s.state_slot, layer, h);
      const std::int64_t r0 = s.row_begin;
      DeltaRuleHead head{
          .state = state,
          .key = unit + (r0 * 2 * nk + nk + h / ratio) * dk,
          .query = unit + (r0 * 2 * nk + h / ratio) * dk,
          .key_stride = 2 * nk * dk,
          .value = in.mixed.as<float>() + r0 * shape.conv_dim() + 2 * nk * dk + h * dv,
          .value_stride = shape.conv_dim(),
          .decay = gates + r0 * 2 * nv + h,
          .beta = gates + r0 * 2 * nv + nv + h,
          .gate_stride = 2 * nv,
          .out = out.as<float>() + (r0 * nv + h) * dv,
          .out_stride = nv * dv,
          .delta = nullptr,
          .delta_stride = nv * dv,
          .rows = s.num_rows,
          .key_dim = dk,
          .value_dim = dv};
      if (s.draft) {
        head.state = copies + worker * state_size;
        std::memcpy(head.state, state, size(state_size) * sizeof(float));
        head.delta = cache.draft_delta(s.state_slot, layer, 0) + h * dv;
        for (std::int64_t r = 0; r < s.num_rows; ++r) {
          cache.draft_decay(s.state_slot, layer, r)[h] = head.decay[r * head.gate_stride];
          if (h % ratio == 0)
            std::memcpy(cache.draft_key(s.state_slot, layer, r) + h / ratio * dk,
                        head.key + r * head.key_stride, size(dk) * sizeof(float));
        }
      }
      kernels_.delta_rule(head);
    }
  });
}

}  // namespace octet::ops::cpu
