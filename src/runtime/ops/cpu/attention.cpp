#include <algorithm>
#include <cmath>
#include <ranges>

#include "runtime/ops/cpu/cpu_impl.h"
#include "runtime/ops/kv_rounding.h"

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

namespace {

// Query rows of one KV head of a segment: tokens by heads, so that limits ascend.
struct Block {
  const Segment* segment;
  std::int64_t kv_head, first, count;
  std::int64_t spans;      // that its last row sees
  std::int64_t sums = -1;  // apart: where its spans' sums begin
};

// Few long sequences give too few blocks for the threads. A block that is more than a thread's
// share of the work is computed span by span, as tasks of their own; the result is the same, as
// every block is added up by spans. The sums of spans take memory, so not without limit.
std::int64_t take_apart(std::vector<Block>& blocks, std::int64_t row_sums, int threads) {
  constexpr std::int64_t kMostSums = std::int64_t{16} << 20;  // floats
  std::int64_t work = 0, used = 0;
  for (const Block& b : blocks) work += b.count * b.spans;
  for (Block& b : blocks) {
    const std::int64_t need = b.spans * b.count * row_sums;
    if (threads == 1 || b.spans == 1 || b.count * b.spans * 2 * threads <= work ||
        used + need > kMostSums)
      continue;
    b.sums = used;
    used += need;
  }
  return used;
}

}  // namespace

void CpuBackend::attention(const AttentionShape& shape, TensorView query, TensorView projected,
                           const RaggedBatch& batch, const KvCache& cache, std::int64_t layer,
                           TensorView out) {
  const auto& kv = static_cast<const CpuKvCache&>(cache);
  const std::int64_t d = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
  check_batch("attention", batch, projected);
  check_rows("attention", out, batch.num_rows, shape.num_heads * d);
  check_rows("attention query", query, batch.num_rows, shape.num_heads * d);
  OCTET_CHECK(kv.shape().head_dim == d && kv.shape().num_kv_heads == shape.num_kv_heads,
              "attention: {} KV heads of {} in a cache of {} of {}", shape.num_kv_heads, d,
              kv.shape().num_kv_heads, kv.shape().head_dim);
  const AttentionSpan span_kernel =
      is_kv_rounded(kv.shape().dtype) ? int8_->attention_span : kernels_.attention_span;
  const std::int64_t row_sums = attention_sums(d);

  std::vector<Block> blocks;
  for (const Segment& s : batch.segments) {
    OCTET_CHECK(static_cast<std::int64_t>(s.pages.size()) * kPageTokens >= s.past + s.num_rows,
                "attention: {} pages for {} tokens", s.pages.size(), s.past + s.num_rows);
    for (std::int64_t q = 0; q < s.num_rows * group; q += kQueryBlock) {
      const std::int64_t count = std::min<std::int64_t>(kQueryBlock, s.num_rows * group - q);
      const std::int64_t keys = s.past + (q + count - 1) / group + 1;
      for (std::int64_t h = 0; h < shape.num_kv_heads; ++h)
        blocks.push_back({&s, h, q, count, (keys - 1) / (kSpanPages * kPageTokens) + 1});
    }
  }
  float* apart = scratch(attention_sums_, take_apart(blocks, row_sums, pool_.num_threads()));
  struct Task {
    const Block* block;
    std::int64_t span;  // -1: all of them
  };
  std::vector<Task> tasks;
  // The longest first: the last tasks to end are short ones.
  for (const Block& b : blocks)
    for (std::int64_t s = 0; b.sums >= 0 && s < b.spans; ++s) tasks.push_back({&b, s});
  for (const Block& b : std::views::reverse(blocks))
    if (b.sums < 0) tasks.push_back({&b, -1});

  // Scratch of a worker: the kernel's, sums of a span, sums of all spans.
  const std::int64_t block_sums = kQueryBlock * row_sums;
  const std::int64_t need = attention_scratch(d) + 2 * block_sums;
  float* scratch_base = scratch(worker_scratch_, pool_.num_threads() * need);
  const auto set_rows = [&](const Block& b, QueryRow* rows) {
    for (std::int64_t i = 0; i < b.count; ++i) {
      const std::int64_t token = (b.first + i) / group, row = b.segment->row_begin + token;
      const std::int64_t head = b.kv_head * group + (b.first + i) % group;
      rows[i] = {.query = query.as<float>() + (row * shape.num_heads + head) * d,
                 .limit = b.segment->past + token + 1};
    }
  };
  const auto sees = [](const QueryRow& row, std::int64_t span) {
    return row.limit > span * kSpanPages * kPageTokens;
  };
  const auto finish = [&](const Block& b, std::int64_t i, const float* sums) {
    const std::int64_t row = b.segment->row_begin + (b.first + i) / group;
    const std::int64_t head = b.kv_head * group + (b.first + i) % group;
    kernels_.attention_finish(sums,
                              projected.as<float>() + row * shape.columns() + (2 * head + 1) * d, d,
                              out.as<float>() + (row * shape.num_heads + head) * d);
  };
  pool_.parallel_for(
      static_cast<std::int64_t>(tasks.size()), 1,
      [&](std::int64_t begin, std::int64_t end, int worker) {
        float* own = scratch_base + worker * need;
        float* sums = own + attention_scratch(d);
        float* span_sums = sums + block_sums;
        for (std::int64_t t = begin; t < end; ++t) {
          const auto [block, span] = tasks[size(t)];
          const int count = static_cast<int>(block->count);
          QueryRow rows[kQueryBlock];
          set_rows(*block, rows);
          const AttentionPages pages = kv.pages(layer, block->kv_head, block->segment->pages);
          if (span >= 0) {
            span_kernel(rows, count, pages, span, apart + block->sums + span * count * row_sums,
                        own);
            continue;
          }
          for (std::int64_t s = 0; s < block->spans; ++s) {
            span_kernel(rows, count, pages, s, span_sums, own);
            for (std::int64_t i = 0; i < count; ++i)
              if (sees(rows[i], s))
                kernels_.attention_merge(sums + i * row_sums, span_sums + i * row_sums, d, s == 0);
          }
          for (std::int64_t i = 0; i < count; ++i) finish(*block, i, sums + i * row_sums);
        }
      });
  if (tasks.size() == blocks.size()) return;
  pool_.parallel_for(static_cast<std::int64_t>(blocks.size()), 1,
                     [&](std::int64_t begin, std::int64_t end, int worker) {
                       float* sums = scratch_base + worker * need;
                       for (std::int64_t t = begin; t < end; ++t) {
                         const Block& b = blocks[size(t)];
                         if (b.sums < 0) continue;
                         QueryRow rows[kQueryBlock];
                         set_rows(b, rows);
                         for (std::int64_t i = 0; i < b.count; ++i) {
                           for (std::int64_t s = 0; s < b.spans; ++s)
                             if (sees(rows[i], s))
                               kernels_.attention_merge(
                                   sums, apart + b.sums + (s * b.count + i) * row_sums, d, s == 0);
                           finish(b, i, sums);
                         }
                       }
                     });
}

}  // namespace octet::ops::cpu
