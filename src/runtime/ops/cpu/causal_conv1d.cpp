#include <algorithm>
#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

void CpuBackend::causal_conv1d(Columns x, TensorView weight, const RaggedBatch& batch,
                               StateCache& states, std::int64_t layer, TensorView y) {
  const auto& cache = static_cast<const CpuStateCache&>(states);
  constexpr std::int64_t kTaps = 3;
  const std::int64_t channels = x.count, stride = x.tensor.dim(1);
  check_batch("causal_conv1d", batch, x.tensor);
  check_rows("causal_conv1d", y, batch.num_rows, channels);
  const auto num_segments = static_cast<std::int64_t>(batch.segments.size());
  constexpr std::int64_t kPiece = 512;  // channels: three rows of history stay in the L1 cache
  const std::int64_t pieces = (channels + kPiece - 1) / kPiece;
  pool_.parallel_for(num_segments * pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t item = begin; item < end; ++item) {
      const Segment& s = batch.segments[size(item / pieces)];
      const std::int64_t c = item % pieces * kPiece, count = std::min(kPiece, channels - c);
      const std::size_t bytes = size(count) * sizeof(float);
      float* history = cache.conv(s.state_slot, layer) + c;

      // The last three columns before the segment, of what the history and the accepted rows of
      // the last draft hold; kept apart because the rows below may overwrite the records.
      float before[kTaps][kPiece];
      for (std::int64_t i = 0; i < kTaps; ++i) {
        const std::int64_t source = s.accepted_rows + i;  // in history | accepted rows
        const float* from = source < kTaps
                                ? history + source * channels
                                : cache.draft_column(s.state_slot, layer, source - kTaps) + c;
        std::memcpy(before[i], from, bytes);
      }
      const float* in = x.tensor.as<float>() + s.row_begin * stride + x.begin + c;
      const auto column = [&](std::int64_t t) {
        return t < 0 ? before[t + kTaps] : in + t * stride;
      };
      const float* w[4];
      for (std::int64_t i = 0; i < 4; ++i) w[i] = weight.as<float>() + i * channels + c;
      for (std::int64_t t = 0; t < s.num_rows; ++t) {
        // A row's piece is too short for the hardware to see what comes next.
        if (t + 2 < s.num_rows)
          for (std::int64_t i = 0; i < count; i += kPanel) {
            __builtin_prefetch(in + (t + 2) * stride + i);
            __builtin_prefetch(y.as<float>() + (s.row_begin + t + 2) * channels + c + i, 1);
          }
        const float* taps[4] = {column(t - 3), column(t - 2), column(t - 1), column(t)};
        kernels_.conv4_silu(taps, w, count, y.as<float>() + (s.row_begin + t) * channels + c);
        if (s.draft)
          std::memcpy(cache.draft_column(s.state_slot, layer, t) + c, in + t * stride, bytes);
      }
      // A draft leaves the history as it was before its rows (with the accepted ones taken in).
      const std::int64_t last = s.draft ? 0 : s.num_rows;
      for (std::int64_t i = 0; i < kTaps; ++i) {
        const float* from = column(last - kTaps + i);
        std::memmove(history + i * channels, from, bytes);
      }
    }
  });
}

}  // namespace octet::ops::cpu
