// Attention of a few query rows over the pages of one KV head, with a running softmax. Pages are
// visited in order and each is one step of the running sums, so a row's bits don't depend on its
// neighbours in the tile: a page beyond a row's limit changes nothing of that row.
//
// keys [head_dim][64], head_dim a multiple of kPanel: scores of a page are 64 sums side by side, no sum across lanes.

constexpr int kPageVecs = 64 / kWidth;
constexpr float kMinusInfinity = -__builtin_inff();

template <bool kBf16>
OCTET_INLINE Vec load_cached(const std::byte* base, std::int64_t i) {
  if constexpr (kBf16)
    return load_bf16(base + 2 * i);
  else
    return load(reinterpret_cast<const float*>(base) + i);
}

template <int kRows, bool kBf16>
OCTET_INLINE void page_scores(const QueryRow* rows, std::int64_t d, const std::byte* keys,
                              float* scores) {
  // At most sixteen sums at a time fit the registers of every instruction set; a power of two
  // divides the page.
  constexpr int kFit = kRows > 2 ? 4 : 16 / kRows;
  constexpr int kVecs = kFit < kPageVecs ? kFit : kPageVecs;
  for (int v0 = 0; v0 < kPageVecs; v0 += kVecs) {
    Vec sums[kRows][kVecs] = {};
    for (std::int64_t j = 0; j < d; ++j) {
      Vec k[kVecs];
      for (int v = 0; v < kVecs; ++v) k[v] = load_cached<kBf16>(keys, j * 64 + (v0 + v) * kWidth);
      for (int r = 0; r < kRows; ++r) {
        const Vec q = splat(rows[r].query[j]);
        for (int v = 0; v < kVecs; ++v) sums[r][v] = fma(q, k[v], sums[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v) store(scores + r * 64 + (v0 + v) * kWidth, sums[r][v]);
  }
}

template <int kRows, bool kBf16>
OCTET_INLINE void add_values(std::int64_t d, std::int64_t keys, const std::byte* values,
                             const float* weights, const float* correction, float* out) {
  constexpr int kVecs = 4;
  std::int64_t i = 0;
  for (; i + kVecs * kWidth <= d; i += kVecs * kWidth) {
    Vec sums[kRows][kVecs];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v)
        sums[r][v] = load(out + r * d + i + v * kWidth) * splat(correction[r]);
    for (std::int64_t t = 0; t < keys; ++t) {
      Vec u[kVecs];
      for (int v = 0; v < kVecs; ++v) u[v] = load_cached<kBf16>(values, t * d + i + v * kWidth);
      for (int r = 0; r < kRows; ++r) {
        const Vec p = splat(weights[r * 64 + t]);
        for (int v = 0; v < kVecs; ++v) sums[r][v] = fma(p, u[v], sums[r][v]);
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v) store(out + r * d + i + v * kWidth, sums[r][v]);
  }
  for (; i < d; i += kWidth)
    for (int r = 0; r < kRows; ++r) {
      Vec s = load(out + r * d + i) * splat(correction[r]);
      for (std::int64_t t = 0; t < keys; ++t)
        s = fma(splat(weights[r * 64 + t]), load_cached<kBf16>(values, t * d + i), s);
      store(out + r * d + i, s);
    }
}

template <int kRows, bool kBf16>
void attention_rows(const QueryRow* rows, const AttentionPages& kv, float* scratch) {
  const std::int64_t d = kv.head_dim;
  float* scores = scratch;              // [kRows][64]
  float* out = scratch + kRows * 64;    // [kRows][head_dim]
  float top[kRows], total[kRows];
  std::int64_t longest = 0;
  for (int r = 0; r < kRows; ++r) {
    top[r] = kMinusInfinity;
    total[r] = 0;
    longest = rows[r].limit > longest ? rows[r].limit : longest;
  }
  for (std::int64_t i = 0; i < kRows * d; ++i) out[i] = 0;
  for (std::int64_t first = 0; first < longest; first += 64) {
    const std::size_t at =
        static_cast<std::size_t>(kv.pages[first / 64]) * kv.page_stride + kv.head_offset;
    page_scores<kRows, kBf16>(rows, d, kv.keys + at, scores);
    float correction[kRows];
    for (int r = 0; r < kRows; ++r) {
      float* s = scores + r * 64;
      for (std::int64_t t = rows[r].limit > first ? rows[r].limit - first : 0; t < 64; ++t)
        s[t] = kMinusInfinity;
      Vec best = load(s);
      for (int v = 1; v < kPageVecs; ++v) best = max(best, load(s + v * kWidth));
      const float page_top = max_lane(best);
      const float new_top = page_top > top[r] ? page_top : top[r];
      Vec sums = {};
      for (int v = 0; v < kPageVecs; ++v) {
        const Vec p = exp(load(s + v * kWidth) - splat(new_top));
        store(s + v * kWidth, p);
        sums += p;
      }
      float lanes[kWidth];
      store(lanes, exp(splat(top[r] - new_top)));
      // No score so far: nothing to correct. (The difference of infinities has no value.)
      correction[r] = top[r] == kMinusInfinity ? 0.0f : (top[r] == new_top ? 1.0f : lanes[0]);
      total[r] = total[r] * correction[r] + sum(sums);
      top[r] = new_top;
    }
    const std::int64_t keys = longest - first < 64 ? longest - first : 64;
    add_values<kRows, kBf16>(d, keys, kv.values + at, scores, correction, out);
  }
  for (int r = 0; r < kRows; ++r) {
    const Vec scale = splat(1.0f / total[r]);
    for_vectors(d, [&](std::int64_t i, std::int64_t count) {
      put(rows[r].out + i, get(out + r * d + i, count) * scale * sigmoid(get(rows[r].gate + i, count)),
          count);
    });
  }
}

template <bool kBf16>
OCTET_INLINE void attention_any(const QueryRow* rows, int num_rows, const AttentionPages& kv,
                                float* scratch) {
  switch (num_rows) {
    case 1: return attention_rows<1, kBf16>(rows, kv, scratch);
    case 2: return attention_rows<2, kBf16>(rows, kv, scratch);
    case 3: return attention_rows<3, kBf16>(rows, kv, scratch);
    default: return attention_rows<4, kBf16>(rows, kv, scratch);
  }
}

void attention_tile(const QueryRow* rows, int num_rows, const AttentionPages& kv, float* scratch) {
  if (kv.bf16)
    attention_any<true>(rows, num_rows, kv, scratch);
  else
    attention_any<false>(rows, num_rows, kv, scratch);
}
