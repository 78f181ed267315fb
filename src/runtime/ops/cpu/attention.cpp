#include <algorithm>
#include <cmath>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

namespace {

// The first 2 * half elements of a head, in half-split pairs.
void rotate(float* u, const float* cos_sin, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = u[i], b = u[i + half], c = cos_sin[i], s = cos_sin[half + i];
    u[i] = a * c - b * s;
    u[i + half] = b * c + a * s;
  }
}

}  // namespace

void CpuBackend::attention_inputs(const AttentionShape& shape, TensorView projected,
                                  TensorView q_norm, TensorView k_norm, TensorView cos_sin,
                                  const RaggedBatch& batch, KvCache& cache, std::int64_t layer,
                                  TensorView query) {
  auto& kv = static_cast<CpuKvCache&>(cache);
  const std::int64_t d = shape.head_dim, half = shape.rotary_dim / 2;
  check_batch("attention_inputs", batch, projected);
  check_rows("attention_inputs", projected, batch.num_rows, shape.columns());
  check_rows("attention_inputs query", query, batch.num_rows, shape.num_heads * d);
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  float* heads = scratch(worker_scratch_, pool_.num_threads() * d);
  for (const Segment& s : batch.segments)
    pool_.parallel_for(s.num_rows, 2, [&](std::int64_t begin, std::int64_t end, int worker) {
      float* head = heads + worker * d;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = s.row_begin + i, token = s.past + i;
        const float* in = projected.as<float>() + row * shape.columns();
        const float* turn = cos_sin.as<float>() + row * 2 * half;
        for (std::int64_t h = 0; h < shape.num_heads; ++h) {
          float* q = query.as<float>() + (row * shape.num_heads + h) * d;
          kernels_.rms_norm(in + 2 * h * d, q_norm.as<float>(), shape.rms_norm_eps, d, q);
          rotate(q, turn, half);
          // Scaled here once instead of at each score.
          for (std::int64_t j = 0; j < d; ++j) q[j] *= scale;
        }
        const float* keys = in + shape.query_columns();
        const float* values = keys + shape.num_kv_heads * d;
        for (std::int64_t h = 0; h < shape.num_kv_heads; ++h) {
          kernels_.rms_norm(keys + h * d, k_norm.as<float>(), shape.rms_norm_eps, d, head);
          rotate(head, turn, half);
          kv.put(layer, s.pages[size(token / kPageTokens)], token % kPageTokens, h, head,
                 values + h * d);
        }
      }
    });
}

void CpuBackend::attention(const AttentionShape& shape, TensorView query, TensorView projected,
                           const RaggedBatch& batch, const KvCache& cache, std::int64_t layer,
                           TensorView out) {
  const auto& kv = static_cast<const CpuKvCache&>(cache);
  const std::int64_t d = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
  check_rows("attention", out, batch.num_rows, shape.num_heads * d);
  const std::int64_t need = attention_scratch(d);
  float* scratch_base = scratch(worker_scratch_, pool_.num_threads() * need);

  // A task is up to kQueryTile query rows (tokens x heads of one KV head), which share the keys.
  struct Task {
    const Segment* segment;
    std::int64_t kv_head, first, count;
  };
  std::vector<Task> tasks;
  for (const Segment& s : batch.segments)
    for (std::int64_t h = 0; h < shape.num_kv_heads; ++h)
      for (std::int64_t q = 0; q < s.num_rows * group; q += kQueryTile)
        tasks.push_back({&s, h, q, std::min<std::int64_t>(kQueryTile, s.num_rows * group - q)});

  pool_.parallel_for(
      static_cast<std::int64_t>(tasks.size()), 1,
      [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t t = begin; t < end; ++t) {
          const Task& task = tasks[size(t)];
          QueryRow rows[kQueryTile];
          for (std::int64_t i = 0; i < task.count; ++i) {
            const std::int64_t token = (task.first + i) / group;
            const std::int64_t head = task.kv_head * group + (task.first + i) % group;
            const std::int64_t row = task.segment->row_begin + token;
            const std::int64_t at = (row * shape.num_heads + head) * d;
            rows[i] = {.query = query.as<float>() + at,
                       .gate = projected.as<float>() + row * shape.columns() + (2 * head + 1) * d,
                       .out = out.as<float>() + at,
                       .limit = task.segment->past + token + 1};
          }
          kernels_.attention(rows, static_cast<int>(task.count),
                             kv.pages(layer, task.kv_head, task.segment->pages),
                             scratch_base + worker * need);
        }
      });
}

}  // namespace octet::ops::cpu
