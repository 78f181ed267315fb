#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

namespace {
// The rows of a segment that lie in one block of the sequence.
struct BlockRows {
  std::size_t segment;
  std::int64_t row;           // in the segment
  std::int64_t begin, count;  // in the block
};
}  // namespace

void CpuBackend::gated_delta_rule(const DeltaRuleInputs& in, const RaggedBatch& batch,
                                  StateCache& states, std::int64_t layer, TensorView out) {
  auto& cache = static_cast<CpuStateCache&>(states);
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
  const auto key_of = [&](std::int64_t head, std::int64_t row) {
    return unit + (head * rows + row) * 2 * dk;
  };
  const float scale = 1.0f / std::sqrt(static_cast<float>(dk));
  // A row takes less time than waking a thread: those of a decode step stay on this one.
  pool_.parallel_for(rows, 8, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* mixed = in.mixed.as<float>() + r * shape.conv_dim();
      for (std::int64_t h = 0; h < nk; ++h) {
        kernels_.l2_norm(mixed + (nk + h) * dk, 1.0f, dk, key_of(h, r));
        kernels_.l2_norm(mixed + h * dk, scale, dk, key_of(h, r) + dk);
      }
      kernels_.delta_gates(in.a.tensor.as<float>() + r * in.a.tensor.dim(1) + in.a.begin,
                           in.b.tensor.as<float>() + r * in.b.tensor.dim(1) + in.b.begin,
                           in.A_log.as<float>(), in.dt_bias.as<float>(), nv, gates + r * 2 * nv,
                           gates + r * 2 * nv + nv);
    }
  });

  std::vector<BlockRows> blocks;
  std::vector<std::int64_t> first_block;  // of each segment
  for (std::size_t i = 0; i < batch.segments.size(); ++i) {
    const Segment& s = batch.segments[i];
    first_block.push_back(static_cast<std::int64_t>(blocks.size()));
    const std::int64_t before = cache.taken(s.state_slot, layer) + s.accepted_rows;
    for (std::int64_t row = 0; row < s.num_rows; row += blocks.back().count) {
      const std::int64_t begin = (before + row) % kDeltaBlock;
      blocks.push_back({i, row, begin, std::min(kDeltaBlock - begin, s.num_rows - row)});
    }
  }
  const auto num_blocks = static_cast<std::int64_t>(blocks.size());
  if (delta_weights_.size() < size(num_blocks * nv)) delta_weights_.resize(size(num_blocks * nv));
  DeltaWeights* weights = delta_weights_.data();  // [block][value head]
  pool_.parallel_for(num_blocks * nk, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t key_head = item % nk;
      const BlockRows& b = blocks[size(item / nk)];
      const Segment& s = batch.segments[b.segment];
      const std::int64_t row = s.row_begin + b.row - b.begin;  // of the block's first token
      const std::int64_t start =
          cache.taken(s.state_slot, layer) + s.accepted_rows + b.row - b.begin;
      const DeltaRecords records = cache.records(s.state_slot, layer, key_head, 0);
      const float* keys[kDeltaBlock];
      for (std::int64_t t = 0; t < b.begin + b.count; ++t)
        keys[t] = t < b.begin ? records.keys + (start + t) % records.count * records.key_stride
                              : key_of(key_head, row + t);
      DeltaProducts products;
      kernels_.delta_products(keys, b.begin, b.count, dk, products);
      for (std::int64_t h = key_head * ratio; h < (key_head + 1) * ratio; ++h) {
        float decays[kDeltaBlock];
        for (std::int64_t t = 0; t < b.begin + b.count; ++t)
          decays[t] = t < b.begin
                          ? records.decays[(start + t) % records.count * records.decay_stride + h]
                          : gates[(row + t) * 2 * nv + h];
        kernels_.delta_weights(products, decays, b.begin, b.count, weights[item / nk * nv + h]);
      }
    }
  });

  const std::int64_t scratch_size = 2 * kPanel * dk;
  float* copies = scratch(worker_scratch_, pool_.num_threads() * scratch_size);
  const auto num_segments = static_cast<std::int64_t>(batch.segments.size());
  pool_.parallel_for(num_segments * nv, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t i = item / nv, h = item % nv;
      const Segment& s = batch.segments[size(i)];
      const std::int64_t r0 = s.row_begin;
      kernels_.delta_rule(
          {.state = cache.state(s.state_slot, layer, h),
           .records = cache.records(s.state_slot, layer, h / ratio, h),
           .taken = cache.taken(s.state_slot, layer),
           .accepted_rows = s.accepted_rows,
           .key = key_of(h / ratio, r0),
           .key_stride = 2 * dk,
           .weights = weights + first_block[size(i)] * nv + h,
           .weight_stride = nv,
           .value = in.mixed.as<float>() + r0 * shape.conv_dim() + 2 * nk * dk + h * dv,
           .value_stride = shape.conv_dim(),
           .beta = gates + (2 * r0 + 1) * nv + h,
           .gate_stride = 2 * nv,
           .out = out.as<float>() + (r0 * nv + h) * dv,
           .out_stride = nv * dv,
           .draft = s.draft,
           .scratch = copies + worker * scratch_size,
           .rows = s.num_rows,
           .key_dim = dk,
           .value_dim = dv});
    }
  });

  // Keys and decays are recorded last: value heads share the keys, and read the records above.
  for (const Segment& s : batch.segments) {
    std::int64_t& taken = cache.taken(s.state_slot, layer);
    taken += s.accepted_rows;
    const std::int64_t end = taken + s.num_rows;
    // Rows of complete blocks are in the state, but not those of a draft.
    const std::int64_t first = s.draft ? taken : std::max(taken, end / kDeltaBlock * kDeltaBlock);
    const DeltaRecords records = cache.records(s.state_slot, layer, 0, 0);
    for (std::int64_t p = first; p < end; ++p) {
      const std::int64_t to = p % records.count, row = s.row_begin + p - taken;
      for (std::int64_t h = 0; h < nk; ++h)
        std::memcpy(records.keys + to * records.key_stride + h * dk, key_of(h, row),
                    size(dk) * sizeof(float));
      std::memcpy(records.decays + to * records.decay_stride, gates + row * 2 * nv,
                  size(nv) * sizeof(float));
    }
    if (!s.draft) taken = end;
  }
}

}  // namespace octet::ops::cpu
