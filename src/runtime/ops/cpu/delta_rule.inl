// The gated delta rule by blocks of kDeltaBlock tokens (docs/model.md §3.7.2). The state that is
// kept is the one at the beginning of the block; the rows since then are kept as they are, key,
// delta and decay, and are multiplied into the state together when the block is complete. A row
// reads the state and makes up for the rows before it in the block:
//   d_t = beta_t (v_t - G_t S^T k_t - sum_{s<t} D_st (k_s . k_t) d_s)
//   o_t = G_t S^T q_t + sum_{s<=t} D_st (k_s . q_t) d_s
//   S  <- G_7 S + sum_s D_s7 k_s d_s^T           (after the last row of the block)
// with G_t the product of the decays of rows 0..t and D_st that of rows s+1..t.
//
// Every row is computed in this way, whether it comes alone or in a prompt, so its bits don't
// depend on where a segment begins or ends. Beside the recurrence, which reads and stores the state
// for each row, the state is stored once for eight rows (a 64-byte store costs as much as two
// multiply-adds), a decode step only reads it, and a draft has nothing to undo.
//
// The columns of S don't meet each other: two vectors of columns ([key_dim][32] floats at most, 16
// KB at the published sizes) stay in the first-level cache while all rows of the segment pass over
// them.

#include "runtime/ops/cpu/delta_weights.inl"

constexpr int kDeltaVecs = 2;                    // vectors of columns that share the broadcasts
constexpr int kReadRows = kWidth >= 16 ? 4 : 2;  // rows that share the state's loads: registers

// A vector of columns of which `left` exist (any number).
OCTET_INLINE Vec get_columns(const float* p, std::int64_t left) {
  return left >= kWidth ? load(p) : load_part(p, left > 0 ? left : 0);
}

OCTET_INLINE void put_columns(float* p, Vec v, std::int64_t left) {
  if (left >= kWidth)
    store(p, v);
  else if (left > 0)
    store_part(p, v, left);
}

// Where the vectors of a group of columns lie: offsets of the v-th from the first.
OCTET_INLINE std::int64_t column_offset(int v, std::int64_t key_dim) {
  return kWidth >= kPanel ? v * kPanel * key_dim : v * kWidth;
}

// keys[t] = state^T key_t and queries[t] = state^T query_t; each sum goes through i in order,
// however many rows are read together. kAhead: asks for the columns that follow, as a decode step
// waits for nothing but memory. Not inlined, for the sake of its registers.
template <int kVecs, int kRows, bool kAhead>
__attribute__((noinline)) void block_read(const float* state, const float* const* key,
                                          std::int64_t key_dim, Vec (*keys)[kVecs],
                                          Vec (*queries)[kVecs]) {
  Vec sums[2 * kRows][kVecs] = {};
  const float* rows[kRows];
  for (int t = 0; t < kRows; ++t) rows[t] = key[t];
  for (std::int64_t i = 0; i < key_dim; ++i) {
    Vec s[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      const float* from = state + column_offset(v, key_dim) + i * kPanel;
      s[v] = load(from);
      if constexpr (kAhead)
        __builtin_prefetch(from + (kWidth >= kPanel ? kVecs : 1) * kPanel * key_dim);
    }
    for (int t = 0; t < kRows; ++t) {
      const Vec k = splat(rows[t][i]), q = splat(rows[t][key_dim + i]);
      for (int v = 0; v < kVecs; ++v) {
        sums[t][v] = fma(k, s[v], sums[t][v]);
        sums[kRows + t][v] = fma(q, s[v], sums[kRows + t][v]);
      }
    }
  }
  for (int t = 0; t < kRows; ++t)
    for (int v = 0; v < kVecs; ++v) {
      keys[t][v] = sums[t][v];
      queries[t][v] = sums[kRows + t][v];
    }
}

// to = from * decay + sum_t key_t delta_t^T; `from` and `to` may be the same.
template <int kVecs, int kStride>
__attribute__((noinline)) void block_write(const float* from, float* to, const float* const* key,
                                           std::int64_t key_dim, const Vec* delta, float decay) {
  Vec d[kDeltaBlock][kVecs];
  const float* rows[kDeltaBlock];
  for (int t = 0; t < kDeltaBlock; ++t) {
    rows[t] = key[t];
    for (int v = 0; v < kVecs; ++v) d[t][v] = delta[t * kStride + v];
  }
  for (std::int64_t i = 0; i < key_dim; ++i) {
    Vec x[kVecs];
    for (int v = 0; v < kVecs; ++v)
      x[v] = splat(decay) * load(from + column_offset(v, key_dim) + i * kPanel);
    for (int t = 0; t < kDeltaBlock; ++t) {
      const Vec k = splat(rows[t][i]);
      for (int v = 0; v < kVecs; ++v) x[v] = fma(k, d[t][v], x[v]);
    }
    for (int v = 0; v < kVecs; ++v) store(to + column_offset(v, key_dim) + i * kPanel, x[v]);
  }
}

// Some columns of a block: keys and deltas of the rows that are known so far.
template <int kVecs>
struct DeltaColumns {
  const float* keys[kDeltaBlock];
  Vec deltas[kDeltaBlock][kVecs];

  // Row t, the token at `position`, from its record.
  OCTET_INLINE void take_record(const DeltaRuleHead& h, std::int64_t position, std::int64_t column,
                                std::int64_t t) {
    const std::int64_t row = position % h.records.count;
    keys[t] = h.records.keys + row * h.records.key_stride;
    const float* delta = h.records.deltas + row * h.records.delta_stride + column;
    for (int v = 0; v < kVecs; ++v)
      deltas[t][v] = get_columns(delta + v * kWidth, h.value_dim - column - v * kWidth);
  }

  // Multiplies the complete block into the state.
  OCTET_INLINE void commit(const DeltaWeights& w, const float* from, float* to,
                           std::int64_t key_dim) {
    for (int s = 0; s < kDeltaBlock; ++s)
      for (int v = 0; v < kVecs; ++v) deltas[s][v] *= splat(w.since[s]);
    // All columns at once where the registers hold their deltas.
    constexpr int kTogether = kWidth >= 16 ? kVecs : 1;
    for (int v = 0; v < kVecs; v += kTogether) {
      const std::int64_t at = column_offset(v, key_dim);
      block_write<kTogether, kVecs>(from + at, to + at, keys, key_dim, deltas[0] + v,
                                    w.total[kDeltaBlock - 1]);
    }
  }
};

// Rows [row, row + count) of the segment, which are rows [begin, begin + count) of the block.
template <int kVecs>
OCTET_INLINE void block_rows(const DeltaRuleHead& h, const float* state, std::int64_t column,
                             std::int64_t row, std::int64_t begin, std::int64_t count,
                             const DeltaWeights& w, DeltaColumns<kVecs>& block) {
  Vec predicted[kDeltaBlock][kVecs], read[kDeltaBlock][kVecs];
  const std::int64_t end = begin + count;
  for (std::int64_t t = begin; t < end; ++t)
    block.keys[t] = h.key + (row + t - begin) * h.key_stride;
  // Values and results of the next rows: they lie too far apart for the hardware to foresee them.
  for (std::int64_t r = row + count; r < row + count + kDeltaBlock && r < h.rows; ++r)
    for (int v = 0; v < kVecs; ++v) {
      __builtin_prefetch(h.value + r * h.value_stride + column + v * kWidth);
      __builtin_prefetch(h.out + r * h.out_stride + column + v * kWidth, 1);
    }
  const auto read_rows = [&](auto ahead) __attribute__((always_inline)) {
    constexpr bool kAhead = decltype(ahead)::value;
    std::int64_t t = begin;
    for (; t + kReadRows <= end; t += kReadRows)
      block_read<kVecs, kReadRows, kAhead>(state, block.keys + t, h.key_dim, predicted + t,
                                           read + t);
    for (; t < end; ++t)
      block_read<kVecs, 1, kAhead>(state, block.keys + t, h.key_dim, predicted + t, read + t);
  };
  if (row + count == h.rows)
    read_rows(std::true_type{});
  else
    read_rows(std::false_type{});

  for (std::int64_t t = begin; t < end; ++t) {
    const std::int64_t r = row + t - begin;
    Vec p[kVecs], o[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      p[v] = predicted[t][v] * splat(w.total[t]);
      o[v] = read[t][v] * splat(w.total[t]);
    }
    for (std::int64_t s = 0; s < t; ++s)
      for (int v = 0; v < kVecs; ++v) {
        p[v] = fma(splat(w.with_key[t][s]), block.deltas[s][v], p[v]);
        o[v] = fma(splat(w.with_query[t][s]), block.deltas[s][v], o[v]);
      }
    const Vec beta = splat(h.beta[r * h.gate_stride]);
    const float* value = h.value + r * h.value_stride + column;
    float* out = h.out + r * h.out_stride + column;
    for (int v = 0; v < kVecs; ++v) {
      const std::int64_t left = h.value_dim - column - v * kWidth;
      const Vec d = (get_columns(value + v * kWidth, left) - p[v]) * beta;
      block.deltas[t][v] = d;
      put_columns(out + v * kWidth, fma(splat(w.with_query[t][t]), d, o[v]), left);
    }
  }
}

// All rows over the columns [column, column + kVecs * kWidth).
template <int kVecs>
OCTET_INLINE void delta_columns(const DeltaRuleHead& h, std::int64_t column) {
  float* state = h.state + column / kPanel * kPanel * h.key_dim + column % kPanel;
  const std::int64_t taken = h.taken + h.accepted_rows;  // tokens before the first row
  std::int64_t start = h.taken / kDeltaBlock * kDeltaBlock;
  for (; start + kDeltaBlock <= taken; start += kDeltaBlock) {  // blocks that became complete
    DeltaColumns<kVecs> block;
    DeltaWeights w;
    float decays[kDeltaBlock];
    for (std::int64_t t = 0; t < kDeltaBlock; ++t) {
      block.take_record(h, start + t, column, t);
      decays[t] = h.records.decays[(start + t) % h.records.count * h.records.decay_stride];
    }
    delta_decays(decays, kDeltaBlock, w);
    block.commit(w, state, state, h.key_dim);
  }
  const float* from = state;
  float* to = h.draft ? h.scratch : state;
  const DeltaWeights* w = h.weights;
  for (std::int64_t row = 0; row < h.rows; start += kDeltaBlock, w += h.weight_stride) {
    DeltaColumns<kVecs> block;
    const std::int64_t begin = taken + row - start, left = h.rows - row;
    const std::int64_t count = left < kDeltaBlock - begin ? left : kDeltaBlock - begin;
    for (std::int64_t t = 0; t < begin; ++t) block.take_record(h, start + t, column, t);
    block_rows<kVecs>(h, from, column, row, begin, count, *w, block);
    const bool complete = begin + count == kDeltaBlock;
    if (h.draft || !complete)
      for (std::int64_t t = begin; t < begin + count; ++t) {
        float* record = h.records.deltas + (start + t) % h.records.count * h.records.delta_stride;
        for (int v = 0; v < kVecs; ++v)
          put_columns(record + column + v * kWidth, block.deltas[t][v],
                      h.value_dim - column - v * kWidth);
      }
    row += count;
    if (complete && (!h.draft || row < h.rows)) {
      block.commit(*w, from, to, h.key_dim);
      from = to;
    }
  }
}

void delta_rule_head(const DeltaRuleHead& h) {
  std::int64_t j = 0;
  // One row is done when its columns have come from memory, which they do faster in one stream.
  if (h.rows > 1)
    for (; j + kWidth < h.value_dim; j += kDeltaVecs * kWidth) delta_columns<kDeltaVecs>(h, j);
  for (; j < h.value_dim; j += kWidth) delta_columns<1>(h, j);
}
