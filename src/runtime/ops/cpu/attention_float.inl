// Pages of float32 and bfloat16, and what is done once for a row. attention.inl.

template <bool kBf16>
struct FloatPages {
  static constexpr int kPerStep = 1;

  static OCTET_INLINE Vec load_cached(const std::byte* base, std::int64_t i) {
    if constexpr (kBf16)
      return load_bf16(base + 2 * i);
    else
      return load(reinterpret_cast<const float*>(base) + i);
  }

  static OCTET_INLINE void pack(const QueryRow* rows, int count, std::int64_t d, float* query,
                                float*) {
    for (int r = 0; r < count; ++r)
      for (std::int64_t j = 0; j < d; ++j) query[j * count + r] = rows[r].query[j];
  }

  template <int kRows>
  static void scores(const float* query, const float*, std::int64_t d, const std::byte* keys,
                     Ahead ahead, float* out) {
    for (int v0 = 0; v0 < kPageVecs; v0 += kQueryVecs) {
      Vec sums[kRows][kQueryVecs] = {};
      for (std::int64_t j = 0; j < d; ++j) {
        ahead.fetch();
        Vec k[kQueryVecs];
        for (int v = 0; v < kQueryVecs; ++v) k[v] = load_cached(keys, j * 64 + (v0 + v) * kWidth);
        for (int r = 0; r < kRows; ++r) {
          const Vec q = splat(query[j * kRows + r]);
          for (int v = 0; v < kQueryVecs; ++v) sums[r][v] = fma(q, k[v], sums[r][v]);
        }
      }
      for (int r = 0; r < kRows; ++r)
        for (int v = 0; v < kQueryVecs; ++v) store(out + r * 64 + (v0 + v) * kWidth, sums[r][v]);
    }
  }

  static OCTET_INLINE float weights(const float*, const std::byte*, std::int64_t, std::int16_t*) {
    return 0;
  }

  template <int kRows, int kVecs>
  static OCTET_INLINE void values_at(const QueryTile& tile, std::int64_t d, std::int64_t i,
                                     std::int64_t common, const std::byte* values,
                                     Ahead& ahead) {
    const std::int64_t stride = attention_sums(d);
    const auto at = [&](std::int64_t t, int v) {
      const std::int64_t j = i + v * kWidth;
      return load_cached(values, (j / kPanel * 64 + t) * kPanel + j % kPanel);
    };
    Vec sums[kRows][kVecs];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v)
        sums[r][v] = load(tile.sums + r * stride + i + v * kWidth) * splat(tile.corrections[r]);
    for (std::int64_t t = 0; t < common; ++t) {
      ahead.fetch();
      Vec u[kVecs];
      for (int v = 0; v < kVecs; ++v) u[v] = at(t, v);
      for (int r = 0; r < kRows; ++r) {
        const Vec p = splat(tile.weights[r * 64 + t]);
        for (int v = 0; v < kVecs; ++v) sums[r][v] = fma(p, u[v], sums[r][v]);
      }
    }
    // A row takes no part in keys that it does not see: they may hold anything, and zero times
    // infinity is no zero.
    for (int r = 0; r < kRows; ++r) {
      for (std::int64_t t = common; t < tile.keys[r]; ++t)
        for (int v = 0; v < kVecs; ++v)
          sums[r][v] = fma(splat(tile.weights[r * 64 + t]), at(t, v), sums[r][v]);
      for (int v = 0; v < kVecs; ++v) store(tile.sums + r * stride + i + v * kWidth, sums[r][v]);
    }
  }

  template <int kRows>
  static void values(const QueryTile& tile, std::int64_t d, const std::byte* page,
                     Ahead ahead) {
    std::int64_t common = 64;
    for (int r = 0; r < kRows; ++r) common = tile.keys[r] < common ? tile.keys[r] : common;
    std::int64_t i = 0;
    for (; i + kQueryVecs * kWidth <= d; i += kQueryVecs * kWidth)
      values_at<kRows, kQueryVecs>(tile, d, i, common, page, ahead);
    for (; i < d; i += kWidth) values_at<kRows, 1>(tile, d, i, common, page, ahead);
  }
};

void float_attention_span(const QueryRow* rows, int count, const AttentionPages& kv,
                          std::int64_t span, float* sums, float* scratch) {
  if (kv.dtype == DType::bf16)
    attention_span_of<FloatPages<true>>(rows, count, kv, span, sums, scratch);
  else
    attention_span_of<FloatPages<false>>(rows, count, kv, span, sums, scratch);
}

void attention_merge_row(float* sums, const float* span, std::int64_t d, bool first) {
  if (first) {
    for (std::int64_t i = 0; i < d + 2; ++i) sums[i] = span[i];
    return;
  }
  const float top = span[d] > sums[d] ? span[d] : sums[d];
  float old_part[kWidth], new_part[kWidth];
  store(old_part, exp(splat(sums[d] - top)));
  store(new_part, exp(splat(span[d] - top)));
  const Vec a = splat(sums[d] == top ? 1.0f : old_part[0]);
  const Vec b = splat(span[d] == top ? 1.0f : new_part[0]);
  for_vectors(d, [&](std::int64_t i, std::int64_t count) {
    put(sums + i, fma(get(span + i, count), b, get(sums + i, count) * a), count);
  });
  sums[d + 1] = sums[d + 1] * a[0] + span[d + 1] * b[0];
  sums[d] = top;
}

void attention_finish_row(const float* sums, const float* gate, std::int64_t d, float* out) {
  const Vec scale = splat(1.0f / sums[d + 1]);
  for_vectors(d, [&](std::int64_t i, std::int64_t count) {
    put(out + i, get(sums + i, count) * scale * sigmoid(get(gate + i, count)), count);
  });
}
