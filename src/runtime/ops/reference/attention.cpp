#include <algorithm>

#include "runtime/ops/reference/reference_impl.h"

namespace octet::ops::reference {

namespace {

// One head: zero-centred RMS norm, then rotation of the first rotary_dim elements in half-split
// pairs (i, i + rotary_dim / 2).
void norm_and_rotate(const AttentionShape& shape, const float* in, const float* weight,
                     const float* cos_sin, float* out) {
  const std::int64_t d = shape.head_dim, half = shape.rotary_dim / 2;
  double sum = 0;
  for (std::int64_t i = 0; i < d; ++i) sum += static_cast<double>(in[i]) * in[i];
  const double scale =
      1.0 / std::sqrt(sum / static_cast<double>(d) + static_cast<double>(shape.rms_norm_eps));
  std::vector<double> u(static_cast<std::size_t>(d));
  for (std::int64_t i = 0; i < d; ++i)
    u[static_cast<std::size_t>(i)] = in[i] * scale * (1.0 + weight[i]);
  for (std::int64_t i = 0; i < half; ++i) {
    const double a = u[static_cast<std::size_t>(i)], b = u[static_cast<std::size_t>(i + half)];
    const double c = cos_sin[i], s = cos_sin[half + i];
    u[static_cast<std::size_t>(i)] = a * c - b * s;
    u[static_cast<std::size_t>(i + half)] = b * c + a * s;
  }
  std::ranges::transform(u, out, [](double v) { return static_cast<float>(v); });
}

}  // namespace

void ReferenceBackend::attention_inputs(const AttentionShape& shape, TensorView projected,
                                        TensorView q_norm, TensorView k_norm, TensorView cos_sin,
                                        const RaggedBatch& batch, KvCache& cache,
                                        std::int64_t layer, TensorView query) {
  auto& kv = static_cast<ReferenceKvCache&>(cache);
  const std::int64_t d = shape.head_dim;
  check_batch("attention_inputs", batch, projected);
  check_rows("attention_inputs", projected, batch.num_rows, shape.columns());
  std::vector<float> head(static_cast<std::size_t>(d));
  for (const Segment& s : batch.segments)
    for (std::int64_t i = 0; i < s.num_rows; ++i) {
      const std::int64_t row = s.row_begin + i, token = s.past + i;
      const float* in = projected.as<float>() + row * shape.columns();
      const float* turn = cos_sin.as<float>() + row * shape.rotary_dim;
      for (std::int64_t h = 0; h < shape.num_heads; ++h)
        norm_and_rotate(shape, in + 2 * h * d, q_norm.as<float>(), turn,
                        query.as<float>() + (row * shape.num_heads + h) * d);
      const float* keys = in + shape.query_columns();
      const float* values = keys + shape.num_kv_heads * d;
      for (std::int64_t h = 0; h < shape.num_kv_heads; ++h) {
        norm_and_rotate(shape, keys + h * d, k_norm.as<float>(), turn, head.data());
        kv.put(layer, s, token, h, head.data(), values + h * d);
      }
    }
}

void ReferenceBackend::attention(const AttentionShape& shape, TensorView query,
                                 TensorView projected, const RaggedBatch& batch,
                                 const KvCache& cache, std::int64_t layer, TensorView out) {
  auto& kv = const_cast<ReferenceKvCache&>(static_cast<const ReferenceKvCache&>(cache));
  const std::int64_t d = shape.head_dim;
  const double scale = 1.0 / std::sqrt(static_cast<double>(d));
  for (const Segment& s : batch.segments)
    pool_.parallel_for(s.num_rows * shape.num_heads, 1, [&](std::int64_t b, std::int64_t e, int) {
      for (std::int64_t item = b; item < e; ++item) {
        const std::int64_t i = item / shape.num_heads, h = item % shape.num_heads;
        const std::int64_t row = s.row_begin + i, count = s.past + i + 1;
        const std::int64_t kv_head = h / (shape.num_heads / shape.num_kv_heads);
        const float* q = query.as<float>() + (row * shape.num_heads + h) * d;
        std::vector<double> p(static_cast<std::size_t>(count));
        for (std::int64_t t = 0; t < count; ++t) {
          double dot = 0;
          const float* k = kv.key(layer, s, t, kv_head);
          for (std::int64_t j = 0; j < d; ++j) dot += static_cast<double>(q[j]) * k[j];
          p[static_cast<std::size_t>(t)] = dot * scale;
        }
        const double top = *std::ranges::max_element(p);
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - top);
        std::vector<double> o(static_cast<std::size_t>(d));
        for (std::int64_t t = 0; t < count; ++t)
          for (std::int64_t j = 0; j < d; ++j)
            o[static_cast<std::size_t>(j)] +=
                p[static_cast<std::size_t>(t)] / sum * kv.value(layer, s, t, kv_head)[j];
        const float* gate = projected.as<float>() + row * shape.columns() + (2 * h + 1) * d;
        for (std::int64_t j = 0; j < d; ++j)
          out.as<float>()[(row * shape.num_heads + h) * d + j] =
              static_cast<float>(o[static_cast<std::size_t>(j)] * sigmoid(gate[j]));
      }
    });
}

}  // namespace octet::ops::reference
