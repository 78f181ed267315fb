// The gated delta rule in its recurrent form, by slices of 16 value dimensions. The columns of S
// don't meet each other, so a slice of [key_dim][16] floats (8 KB at the published sizes) stays in
// the first-level cache while all rows of the segment pass over it: the state is read and written
// once for each segment, and the same operations follow each other however the rows are chunked.

// state = decay * state + key delta^T for one slice.
OCTET_INLINE void update_slice(float* state, const float* key, const Vec* delta, Vec decay,
                               std::int64_t key_dim) {
  for (std::int64_t i = 0; i < key_dim; ++i) {
    const Vec k = splat(key[i]);
    for (int v = 0; v < kPanelVecs; ++v) {
      float* s = state + i * kPanel + v * kWidth;
      store(s, fma(k, delta[v], decay * load(s)));
    }
  }
}

void delta_update_head(float* state, const float* key, const float* delta, float decay,
                       std::int64_t key_dim, std::int64_t value_dim) {
  for (std::int64_t j = 0; j < value_dim; j += kPanel) {
    Vec d[kPanelVecs];
    for (int v = 0; v < kPanelVecs; ++v) {
      const std::int64_t left = value_dim - j - v * kWidth;
      d[v] = left >= kWidth ? load(delta + j + v * kWidth)
                            : load_part(delta + j + v * kWidth, left > 0 ? left : 0);
    }
    update_slice(state + j * key_dim, key, d, splat(decay), key_dim);
  }
}

// sum_i x[i] * state[i], four interleaved sums to hide the latency of the multiply-add.
OCTET_INLINE void read_slice(const float* state, const float* x, std::int64_t key_dim, Vec* out) {
  Vec sums[4][kPanelVecs] = {};
  std::int64_t i = 0;
  for (; i + 4 <= key_dim; i += 4)
    for (int c = 0; c < 4; ++c)
      for (int v = 0; v < kPanelVecs; ++v)
        sums[c][v] = fma(splat(x[i + c]), load(state + (i + c) * kPanel + v * kWidth), sums[c][v]);
  for (; i < key_dim; ++i)
    for (int v = 0; v < kPanelVecs; ++v)
      sums[0][v] = fma(splat(x[i]), load(state + i * kPanel + v * kWidth), sums[0][v]);
  for (int v = 0; v < kPanelVecs; ++v)
    out[v] = (sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v]);
}

// update_slice, and read_slice of what it leaves, in one pass over the state.
OCTET_INLINE void update_and_read_slice(float* state, const float* key, const Vec* delta, Vec decay,
                                        const float* query, std::int64_t key_dim, Vec* out) {
  Vec sums[4][kPanelVecs] = {};
  std::int64_t i = 0;
  const auto step = [&](std::int64_t row, int c) __attribute__((always_inline)) {
    const Vec k = splat(key[row]), q = splat(query[row]);
    for (int v = 0; v < kPanelVecs; ++v) {
      float* s = state + row * kPanel + v * kWidth;
      const Vec x = fma(k, delta[v], decay * load(s));
      store(s, x);
      sums[c][v] = fma(q, x, sums[c][v]);
    }
  };
  for (; i + 4 <= key_dim; i += 4)
    for (int c = 0; c < 4; ++c) step(i + c, c);
  for (; i < key_dim; ++i) step(i, 0);
  for (int v = 0; v < kPanelVecs; ++v)
    out[v] = (sums[0][v] + sums[1][v]) + (sums[2][v] + sums[3][v]);
}

void delta_rule_head(const DeltaRuleHead& h) {
  for (std::int64_t j = 0; j < h.value_dim; j += kPanel) {
    float* state = h.state + j * h.key_dim;
    for (std::int64_t t = 0; t < h.rows; ++t) {
      const float* key = h.key + t * h.key_stride;
      const float decay = h.decay[t * h.gate_stride], beta = h.beta[t * h.gate_stride];
      Vec predicted[kPanelVecs], delta[kPanelVecs], out[kPanelVecs];
      read_slice(state, key, h.key_dim, predicted);
      for (int v = 0; v < kPanelVecs; ++v) {
        const std::int64_t at = j + v * kWidth, left = h.value_dim - at;
        const float* value = h.value + t * h.value_stride + at;
        const Vec x = left >= kWidth ? load(value) : load_part(value, left > 0 ? left : 0);
        delta[v] = fma(-splat(decay), predicted[v], x) * splat(beta);
      }
      update_and_read_slice(state, key, delta, splat(decay), h.query + t * h.key_stride, h.key_dim,
                            out);
      for (int v = 0; v < kPanelVecs; ++v) {
        const std::int64_t at = j + v * kWidth, left = h.value_dim - at;
        const std::int64_t count = left >= kWidth ? kWidth : (left > 0 ? left : 0);
        put(h.out + t * h.out_stride + at, out[v], count);
        if (h.delta) put(h.delta + t * h.delta_stride + at, delta[v], count);
      }
    }
  }
}
