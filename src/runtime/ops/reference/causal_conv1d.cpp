#include <algorithm>

#include "runtime/ops/reference/reference_impl.h"

namespace octet::ops::reference {

void ReferenceBackend::causal_conv1d(Columns x, TensorView weight, const RaggedBatch& batch,
                                     StateCache& states, std::int64_t layer, TensorView y) {
  auto& cache = static_cast<ReferenceStateCache&>(states);
  const std::int64_t channels = x.count, kernel = cache.shape().conv_kernel, taps = kernel - 1;
  check_batch("causal_conv1d", batch, x.tensor);
  check_rows("causal_conv1d", y, batch.num_rows, channels);
  for (const Segment& s : batch.segments) {
    StateSlot& slot = cache.slot(s.state_slot);
    float* history = slot.conv.data() + layer * taps * channels;
    const auto push = [&](const float* column) {
      std::copy(history + channels, history + taps * channels, history);
      std::copy_n(column, channels, history + (taps - 1) * channels);
    };
    for (std::int32_t i = 0; i < s.accepted_rows; ++i)
      push(slot.draft[static_cast<std::size_t>(i)].column.data() + layer * channels);
    const std::vector<float> before(history, history + taps * channels);
    for (std::int64_t i = 0; i < s.num_rows; ++i) {
      const std::int64_t row = s.row_begin + i;
      const float* column = x.tensor.as<float>() + row * x.tensor.dim(1) + x.begin;
      for (std::int64_t c = 0; c < channels; ++c) {
        const float* w = weight.as<float>() + c;  // taps lie `channels` apart, oldest first
        double sum = static_cast<double>(w[taps * channels]) * column[c];
        for (std::int64_t t = 0; t < taps; ++t)
          sum += static_cast<double>(w[t * channels]) * history[t * channels + c];
        y.as<float>()[row * channels + c] = static_cast<float>(silu(sum));
      }
      push(column);
      if (s.draft)
        std::copy_n(column, channels,
                    slot.draft[static_cast<std::size_t>(i)].column.data() + layer * channels);
    }
    if (s.draft) std::ranges::copy(before, history);
  }
}

}  // namespace octet::ops::reference
