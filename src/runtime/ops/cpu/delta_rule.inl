// The gated delta rule in its recurrent form, row by row. The columns of S don't meet each other,
// so two vectors of columns ([key_dim][32] floats at most, 16 KB at the published sizes) stay in
// the first-level cache while all rows of the segment pass over them: the state is read and written
// once for each segment, and the same operations follow each other however the rows are chunked.
//
// What is stored is S / scale, with one scale for the head. A row's decay multiplies the scale
// instead of the state, so that a row costs three multiply-adds for each element of the state, the
// fewest that any form of the rule has: write k d^T, read by q, and predict by the next row's k.
// All three happen in one pass. When the scale becomes small it is multiplied into the state (the
// row that brings it there folds it) and starts from one again: nothing overflows, and as scale and
// state hold all there is, a row's bits don't depend on where its segment began.

constexpr int kDeltaVecs = 2;                     // vectors of columns that share the broadcasts
constexpr int kDeltaSums = kWidth >= 16 ? 4 : 2;  // interleaved sums hide the latency; registers
constexpr std::int64_t kDeltaAhead = 4;           // rows between a prefetch and its use

struct Yes {
  static constexpr bool value = true;
};
struct No {
  static constexpr bool value = false;
};

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

// What a row's decay does to the scale.
struct DeltaScale {
  float before;  // of the decayed state, before the row is written
  float after;   // of the state that is stored
  bool fold;     // the state is multiplied by `before`
};

OCTET_INLINE DeltaScale decay_scale(float scale, float decay) {
  const float before = scale * decay;
  // 2^-40: far from where its inverse times a value overflows, and rare. (NaN goes to the state.)
  if (before >= 0x1p-40f) return {before, before, false};
  return {before, 1.0f, true};
}

// Where the vectors of a group of columns lie: offsets of the v-th from the first.
OCTET_INLINE std::int64_t column_offset(int v, std::int64_t key_dim) {
  return kWidth >= kPanel ? v * kPanel * key_dim : v * kWidth;
}

// sum_i x[i] * state[i], in the order of delta_pass.
template <int kVecs>
OCTET_INLINE void delta_read(const float* state, const float* x, std::int64_t key_dim, Vec* out) {
  Vec sums[kDeltaSums][kVecs] = {};
  const auto step = [&](std::int64_t i, int c) __attribute__((always_inline)) {
    const Vec k = splat(x[i]);
    for (int v = 0; v < kVecs; ++v)
      sums[c][v] = fma(k, load(state + column_offset(v, key_dim) + i * kPanel), sums[c][v]);
  };
  std::int64_t i = 0;
  for (; i + kDeltaSums <= key_dim; i += kDeltaSums)
    for (int c = 0; c < kDeltaSums; ++c) step(i + c, c);
  for (; i < key_dim; ++i) step(i, 0);
  for (int v = 0; v < kVecs; ++v) {
    out[v] = sums[0][v] + sums[1][v];
    if constexpr (kDeltaSums == 4) out[v] += sums[2][v] + sums[3][v];
  }
}

// One row in one pass: to = from (times fold) + key delta^T, out = to^T query, and what the next row
// predicts, to^T next_key. `from` and `to` may be the same. The last row of a segment has no next
// one: it asks for the memory of the columns that follow, as a decode step waits for nothing else.
template <int kVecs, bool kFold, bool kNext>
OCTET_INLINE void delta_pass(const float* from, float* to, const float* key, const Vec* delta,
                             float fold, const float* query, const float* next_key,
                             std::int64_t key_dim, Vec* out, Vec* predicted) {
  Vec reads[kDeltaSums][kVecs] = {}, predictions[kDeltaSums][kVecs] = {};
  const Vec factor = splat(fold);
  const auto step = [&](std::int64_t i, int c) __attribute__((always_inline)) {
    const Vec k = splat(key[i]), q = splat(query[i]), n = splat(kNext ? next_key[i] : 0.0f);
    // All loads before the stores: slices lie 4096 bytes times something apart, and a load waits for
    // an earlier store whose address has the same low bits.
    Vec old[kVecs];
    for (int v = 0; v < kVecs; ++v)
      old[v] = load(from + column_offset(v, key_dim) + i * kPanel);
    for (int v = 0; v < kVecs; ++v) {
      const std::int64_t at = column_offset(v, key_dim) + i * kPanel;
      const Vec x = fma(k, delta[v], kFold ? factor * old[v] : old[v]);
      store(to + at, x);
      reads[c][v] = fma(q, x, reads[c][v]);
      if constexpr (kNext)
        predictions[c][v] = fma(n, x, predictions[c][v]);
      else
        __builtin_prefetch(from + at + (kWidth >= kPanel ? kVecs : 1) * kPanel * key_dim);
    }
  };
  std::int64_t i = 0;
  for (; i + kDeltaSums <= key_dim; i += kDeltaSums)
    for (int c = 0; c < kDeltaSums; ++c) step(i + c, c);
  for (; i < key_dim; ++i) step(i, 0);
  for (int v = 0; v < kVecs; ++v) {
    out[v] = reads[0][v] + reads[1][v];
    predicted[v] = predictions[0][v] + predictions[1][v];
    if constexpr (kDeltaSums == 4) {
      out[v] += reads[2][v] + reads[3][v];
      predicted[v] += predictions[2][v] + predictions[3][v];
    }
  }
}

// Accepted rows of a draft, all in one pass; returns the scale after them. Element by element the
// operations of delta_pass: multiplying by a fold of one changes no bit.
template <int kVecs>
OCTET_INLINE float delta_accept(const DeltaRuleHead& h, float* state, std::int64_t column,
                                float scale) {
  Vec deltas[kMaxAcceptedRows][kVecs];
  float folds[kMaxAcceptedRows];
  for (std::int64_t r = 0; r < h.accepted_rows; ++r) {
    const DeltaScale s = decay_scale(scale, h.accepted_decay[r * h.gate_record_stride]);
    scale = s.after;
    folds[r] = s.fold ? s.before : 1.0f;
    const Vec inverse = splat(1.0f / scale);
    const float* record = h.accepted_delta + r * h.delta_stride + column;
    for (int v = 0; v < kVecs; ++v)
      deltas[r][v] = get_columns(record + v * kWidth, h.value_dim - column - v * kWidth) * inverse;
  }
  for (std::int64_t i = 0; i < h.key_dim; ++i)
    for (int v = 0; v < kVecs; ++v) {
      float* s = state + column_offset(v, h.key_dim) + i * kPanel;
      Vec x = load(s);
      for (std::int64_t r = 0; r < h.accepted_rows; ++r)
        x = fma(splat(h.accepted_key[r * h.key_record_stride + i]), deltas[r][v],
                splat(folds[r]) * x);
      store(s, x);
    }
  return scale;
}

// All rows over the columns [column, column + kVecs * kWidth); returns the scale to be kept.
template <int kVecs>
OCTET_INLINE float delta_columns(const DeltaRuleHead& h, std::int64_t column) {
  const std::int64_t key_dim = h.key_dim;
  float* state = h.state + column / kPanel * kPanel * key_dim + column % kPanel;
  float scale = h.state[round_to_panel(h.value_dim) * key_dim];
  if (scale == 0.0f) scale = 1.0f;  // a cleared slot
  if (h.accepted_rows > 0) scale = delta_accept<kVecs>(h, state, column, scale);
  const float kept = scale;
  const float* from = state;
  float* to = h.delta ? h.scratch : state;  // a draft works on a copy
  Vec predicted[kVecs];
  delta_read<kVecs>(state, h.key, key_dim, predicted);
  for (std::int64_t t = 0; t < h.rows; ++t) {
    const float* key = h.key + t * h.key_stride;
    const float* query = h.query + t * h.key_stride;
    const float* value = h.value + t * h.value_stride + column;
    float* result = h.out + t * h.out_stride + column;
    if (t + kDeltaAhead < h.rows)
      for (int v = 0; v < kVecs; ++v) {
        __builtin_prefetch(value + kDeltaAhead * h.value_stride + v * kWidth);
        __builtin_prefetch(result + kDeltaAhead * h.out_stride + v * kWidth, 1);
      }
    const DeltaScale s = decay_scale(scale, h.decay[t * h.gate_stride]);
    scale = s.after;
    const Vec beta = splat(h.beta[t * h.gate_stride]), inverse = splat(1.0f / scale);
    Vec delta[kVecs], out[kVecs];
    for (int v = 0; v < kVecs; ++v) {
      const std::int64_t left = h.value_dim - column - v * kWidth;
      const Vec d =
          fma(-splat(s.before), predicted[v], get_columns(value + v * kWidth, left)) * beta;
      if (h.delta) put_columns(h.delta + t * h.delta_stride + column + v * kWidth, d, left);
      delta[v] = d * inverse;
    }
    const auto pass = [&](auto fold, auto next) __attribute__((always_inline)) {
      delta_pass<kVecs, decltype(fold)::value, decltype(next)::value>(
          from, to, key, delta, s.before, query, key + h.key_stride, key_dim, out, predicted);
    };
    const bool next = t + 1 < h.rows;
    if (s.fold)
      next ? pass(Yes{}, Yes{}) : pass(Yes{}, No{});
    else
      next ? pass(No{}, Yes{}) : pass(No{}, No{});
    from = to;
    for (int v = 0; v < kVecs; ++v)
      put_columns(result + v * kWidth, out[v] * splat(scale), h.value_dim - column - v * kWidth);
  }
  return h.delta ? kept : scale;
}

void delta_rule_head(const DeltaRuleHead& h) {
  float scale = 1.0f;
  std::int64_t j = 0;
  for (; j + (kDeltaVecs - 1) * kWidth < h.value_dim; j += kDeltaVecs * kWidth)
    scale = delta_columns<kDeltaVecs>(h, j);
  if (j < h.value_dim) scale = delta_columns<1>(h, j);
  h.state[round_to_panel(h.value_dim) * h.key_dim] = scale;
}
