// What the rows of a block of the delta rule are to each other.

// Sums of pairs of neighbours: of a in the low half, of b in the high half.
template <std::size_t... kLanes>
OCTET_INLINE Vec pair_sums(Vec a, Vec b, std::index_sequence<kLanes...>) {
  return __builtin_shufflevector(a, b, static_cast<int>(2 * kLanes)...) +
         __builtin_shufflevector(a, b, static_cast<int>(2 * kLanes + 1)...);
}

// Lane i of the result is the sum of v[i]; one tree of additions for all.
OCTET_INLINE Vec sums_of(Vec* v) {
  for (int count = kWidth; count > 1; count /= 2)
    for (int i = 0; i < count / 2; ++i)
      v[i] = pair_sums(v[2 * i], v[2 * i + 1], std::make_index_sequence<kWidth>{});
  return v[0];
}

// sums[4 b + a] = k[a] . x[b]
OCTET_INLINE void product_tile(const float* const* k, const float* const* x, std::int64_t n,
                               float* products) {
  Vec sums[16] = {};
  for_vectors(
      n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
        Vec row[4];
        for (int a = 0; a < 4; ++a) row[a] = get(k[a] + i, count);
        for (int b = 0; b < 4; ++b) {
          const Vec other = get(x[b] + i, count);
          for (int a = 0; a < 4; ++a) sums[4 * b + a] = fma(row[a], other, sums[4 * b + a]);
        }
      });
  for (int part = 0; part < 16; part += kWidth) store(products + part, sums_of(sums + part));
}

void delta_products_block(const float* const* keys, std::int64_t begin, std::int64_t count,
                          std::int64_t key_dim, DeltaProducts& products) {
  const std::int64_t end = begin + count;
  // The new rows' keys, then their queries; the last is repeated to fill a tile.
  const float* x[2 * kDeltaBlock];
  std::int64_t row[2 * kDeltaBlock];
  for (std::int64_t i = 0; i < count; ++i) {
    x[i] = keys[begin + i];
    row[i] = begin + i;
    x[count + i] = keys[begin + i] + key_dim;
    row[count + i] = kDeltaBlock + begin + i;
  }
  for (std::int64_t i = 2 * count; i % 4 != 0; ++i) {
    x[i] = x[2 * count - 1];
    row[i] = row[2 * count - 1];
  }
  for (std::int64_t i = 0; i < 2 * count; i += 4) {
    std::int64_t newest = 0;
    for (int b = 0; b < 4; ++b) {
      const std::int64_t r = row[i + b] % kDeltaBlock;
      newest = r > newest ? r : newest;
    }
    for (std::int64_t s = 0; s <= newest; s += 4) {
      const float* k[4];
      for (std::int64_t a = 0; a < 4; ++a) k[a] = keys[s + a < end ? s + a : end - 1];
      float tile[16];
      product_tile(k, x + i, key_dim, tile);
      for (int b = 0; b < 4; ++b)
        __builtin_memcpy(products.of[row[i + b]] + s, tile + 4 * b, 4 * sizeof(float));
    }
  }
}

// The decays of the first `rows` rows: their products from the beginning of the block, and from
// each row to the last. One order of multiplications, however many rows are known.
OCTET_INLINE void delta_decays(const float* decays, std::int64_t rows, DeltaWeights& w) {
  float total = 1.0f;
  for (std::int64_t t = 0; t < kDeltaBlock; ++t) w.since[t] = 0.0f;
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t s = 0; s < kDeltaBlock; ++s) w.since[s] *= decays[t];
    w.since[t] = 1.0f;
    w.total[t] = total *= decays[t];
  }
}

void delta_weights_block(const DeltaProducts& products, const float* decays, std::int64_t begin,
                         std::int64_t count, DeltaWeights& w) {
  delta_decays(decays, begin, w);
  float total = begin > 0 ? w.total[begin - 1] : 1.0f;
  for (std::int64_t t = begin; t < begin + count; ++t) {
    for (std::int64_t s = 0; s < kDeltaBlock; ++s) w.since[s] *= decays[t];
    w.since[t] = 1.0f;
    w.total[t] = total *= decays[t];
    for (std::int64_t s = 0; s <= t; ++s) {
      w.with_key[t][s] = products.of[t][s] * w.since[s];
      w.with_query[t][s] = products.of[kDeltaBlock + t][s] * w.since[s];
    }
  }
}
