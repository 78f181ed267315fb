#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

static_assert(kMaxAcceptedRows == kMaxDraftRows);

void CpuBackend::gated_delta_rule(const DeltaRuleInputs& in, const RaggedBatch& batch,
                                  StateCache& states, std::int64_t layer, TensorView out) {
  const auto& cache = static_cast<const CpuStateCache&>(states);
  const StateCacheShape& shape = cache.shape();
  const std::int64_t nk = shape.num_key_heads, nv = shape.num_value_heads;
  const std::int64_t dk = shape.key_head_dim, dv = shape.value_head_dim, ratio = nv / nk;
  const std::int64_t rows = batch.num_rows;
  check_batch("gated_delta_rule", batch, in.mixed);
  check_rows("gated_delta_rule", out, rows, nv * dv);

  // Unit keys and scaled unit queries [key head][row][key | query][dk], so that a head's rows are
  // read in one stream; gates [row][decay | beta].
  float* unit = scratch(keys_, rows * 2 * nk * dk);
  float* gates = scratch(gates_, rows * 2 * nv);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dk));
  // A row takes less time than waking a thread: those of a decode step stay on this one.
  pool_.parallel_for(rows, 8, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* mixed = in.mixed.as<float>() + r * shape.conv_dim();
      for (std::int64_t h = 0; h < nk; ++h) {
        float* key = unit + (h * rows + r) * 2 * dk;
        kernels_.l2_norm(mixed + (nk + h) * dk, 1.0f, dk, key);
        kernels_.l2_norm(mixed + h * dk, scale, dk, key + dk);
      }
      kernels_.delta_gates(in.a.tensor.as<float>() + r * in.a.tensor.dim(1) + in.a.begin,
                           in.b.tensor.as<float>() + r * in.b.tensor.dim(1) + in.b.begin,
                           in.A_log.as<float>(), in.dt_bias.as<float>(), nv, gates + r * 2 * nv,
                           gates + r * 2 * nv + nv);
    }
  });

  const auto num_segments = static_cast<std::int64_t>(batch.segments.size());
  const std::int64_t scratch_size = 2 * kPanel * dk;
  float* copies = scratch(worker_scratch_, pool_.num_threads() * scratch_size);
  pool_.parallel_for(num_segments * nv, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t item = begin; item < end; ++item) {
      const Segment& s = batch.segments[size(item / nv)];
      const std::int64_t h = item % nv, r0 = s.row_begin;
      const float* key = unit + (h / ratio * rows + r0) * 2 * dk;
      DeltaRuleHead head{
          .state = cache.state(s.state_slot, layer, h),
          .key = key,
          .query = key + dk,
          .key_stride = 2 * dk,
          .value = in.mixed.as<float>() + r0 * shape.conv_dim() + 2 * nk * dk + h * dv,
          .value_stride = shape.conv_dim(),
          .decay = gates + r0 * 2 * nv + h,
          .beta = gates + r0 * 2 * nv + nv + h,
          .gate_stride = 2 * nv,
          .out = out.as<float>() + (r0 * nv + h) * dv,
          .out_stride = nv * dv,
          .delta = nullptr,
          .scratch = copies + worker * scratch_size,
          .accepted_key = nullptr,
          .accepted_delta = nullptr,
          .accepted_decay = nullptr,
          .accepted_rows = s.accepted_rows,
          .key_record_stride = nk * dk,
          .delta_stride = nv * dv,
          .gate_record_stride = nv,
          .rows = s.num_rows,
          .key_dim = dk,
          .value_dim = dv};
      if (s.accepted_rows > 0) {
        head.accepted_key = cache.draft_key(s.state_slot, layer, 0) + h / ratio * dk;
        head.accepted_delta = cache.draft_delta(s.state_slot, layer, 0) + h * dv;
        head.accepted_decay = cache.draft_decay(s.state_slot, layer, 0) + h;
      }
      if (s.draft) head.delta = cache.draft_delta(s.state_slot, layer, 0) + h * dv;
      kernels_.delta_rule(head);
      for (std::int64_t r = 0; s.draft && r < s.num_rows; ++r)
        cache.draft_decay(s.state_slot, layer, r)[h] = head.decay[r * head.gate_stride];
    }
  });

  // Keys of a draft last: value heads share them, and those of the accepted rows were read above.
  for (const Segment& s : batch.segments)
    for (std::int64_t r = 0; s.draft && r < s.num_rows; ++r)
      for (std::int64_t h = 0; h < nk; ++h)
        std::memcpy(cache.draft_key(s.state_slot, layer, r) + h * dk,
                    unit + (h * rows + s.row_begin + r) * 2 * dk, size(dk) * sizeof(float));
}

}  // namespace octet::ops::cpu
