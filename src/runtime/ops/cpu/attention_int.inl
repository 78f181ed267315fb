// Pages of integers (kv_rounding.h, attention.inl). Queries are rounded to int16 by their L2 norm
// as keys are, the weights of a page to at most 15 bits, so that all products of a page are exact
// in int32 and the same on every instruction set; what is float32 is one multiply-add for each page.

// What the codes of a page's weights add up to at most: times the largest code of a value, less
// than 2^31, with room for rounding. An eighth of it fits int16.
constexpr float kWeightCodes = 262000.0f;
constexpr float kQueryNorm = 32700.0f;

// kWidth words of two int16 from as many pairs of codes.
template <class Code>
OCTET_INLINE VecI load_pairs(const std::byte* base, std::int64_t word) {
  if constexpr (sizeof(Code) == 2) {
    return load_words(base + 4 * word);
  } else {
#ifdef OCTET_VEC_LOAD_I8_PAIRS
    return OCTET_VEC_LOAD_I8_PAIRS(base + 2 * word);
#else
    std::int16_t wide[2 * kWidth];
    for (int i = 0; i < 2 * kWidth; ++i)
      wide[i] = static_cast<std::int8_t>(base[2 * word + i]);
    return load_words(reinterpret_cast<const std::byte*>(wide));
#endif
  }
}

// Low halves of kWidth words; they hold the value.
OCTET_INLINE void store_halves(std::int16_t* to, VecI v) {
  typedef std::int16_t Halves __attribute__((vector_size(kWidth * 2)));
  const Halves h = __builtin_convertvector(v, Halves);
  __builtin_memcpy(to, &h, sizeof h);
}

OCTET_INLINE VecI round_vec(Vec x) {
  const Vec magic = splat(12582912.0f);
  return (VecI)(x + magic) - (VecI)magic;
}

template <class Code>
struct IntPages {
  static constexpr int kPerStep = 2;
  static constexpr std::int64_t kBytes = sizeof(Code);

  // Words of two codes [d / 2][count].
  static OCTET_INLINE void pack(const QueryRow* rows, int count, std::int64_t d, float* query,
                                float* scales) {
    auto* words = reinterpret_cast<std::byte*>(query);
    for (int r = 0; r < count; ++r) {
      Vec squares = {};
      for (std::int64_t j = 0; j < d; j += kWidth) {
        const Vec q = load(rows[r].query + j);
        squares = fma(q, q, squares);
      }
      const float norm = __builtin_sqrtf(sum(squares));
      const bool finite = norm <= __FLT_MAX__;
      const bool zero = !finite || norm < 1e-18f;  // its square must not underflow
      const Vec inverse = splat(zero ? 0.0f : kQueryNorm / norm);
      scales[r] = !finite ? __builtin_nanf("") : (zero ? 0.0f : norm / kQueryNorm);
      for (std::int64_t j = 0; j < d; j += kWidth) {
        std::int16_t codes[kWidth];
        store_halves(codes, zero ? VecI{} : round_vec(load(rows[r].query + j) * inverse));
        for (int i = 0; i < kWidth / 2; ++i)
          __builtin_memcpy(words + ((j / 2 + i) * count + r) * 4, codes + 2 * i, 4);
      }
    }
  }

  template <int kRows>
  static void scores(const float* query, const float* scales, std::int64_t d,
                     const std::byte* keys, Ahead ahead, float* out) {
    const auto* words = reinterpret_cast<const std::byte*>(query);
    const auto* key_scales = reinterpret_cast<const float*>(keys + 64 * d * kBytes);
    for (int v0 = 0; v0 < kPageVecs; v0 += kQueryVecs) {
      VecI sums[kRows][kQueryVecs] = {};
      for (std::int64_t j = 0; j < d / 2; ++j) {
        ahead.fetch();
        VecI k[kQueryVecs];
        for (int v = 0; v < kQueryVecs; ++v)
          k[v] = load_pairs<Code>(keys, j * 64 + (v0 + v) * kWidth);
        for (int r = 0; r < kRows; ++r) {
          const VecI q = splat_word(words + (j * kRows + r) * 4);
          for (int v = 0; v < kQueryVecs; ++v) sums[r][v] = OCTET_DOT_I16(sums[r][v], k[v], q);
        }
      }
      for (int v = 0; v < kQueryVecs; ++v) {
        const int t = (v0 + v) * kWidth;
        const Vec scale = load(key_scales + t);
        for (int r = 0; r < kRows; ++r)
          store(out + r * 64 + t, to_float(sums[r][v]) * (scale * splat(scales[r])));
      }
    }
  }

  // Codes of weight times the value's scale; gives what they are to be multiplied by.
  static OCTET_INLINE float weights(const float* weights, const std::byte* values, std::int64_t d,
                                    std::int16_t* codes) {
    const auto* value_scales = reinterpret_cast<const float*>(values + 64 * d * kBytes);
    Vec p[kPageVecs], top = {}, sums = {};
    for (int v = 0; v < kPageVecs; ++v) {
      const Vec w = load(weights + v * kWidth);
      // A key that is not seen weighs nothing, whatever its scale holds.
      p[v] = w == Vec{} ? Vec{} : w * load(value_scales + v * kWidth);
      top = max(top, p[v]);
      sums += p[v];
    }
    const float all = sum(sums), largest = 8 * max_lane(top);
    const bool finite = all <= __FLT_MAX__;
    const float most = all > largest ? all : largest;
    const bool zero = !finite || most < 1e-30f;
    const Vec inverse = splat(zero ? 0.0f : kWeightCodes / most);
    for (int v = 0; v < kPageVecs; ++v)
      store_halves(codes + v * kWidth, zero ? VecI{} : round_vec(p[v] * inverse));
    return !finite ? __builtin_nanf("") : (zero ? 0.0f : most / kWeightCodes);
  }

  template <int kRows, int kVecs>
  static OCTET_INLINE void values_at(const QueryTile& tile, std::int64_t d, std::int64_t i,
                                     std::int64_t pairs, const std::byte* values,
                                     Ahead& ahead) {
    const auto* words = reinterpret_cast<const std::byte*>(tile.codes);
    VecI sums[kRows][kVecs] = {};
    for (std::int64_t t = 0; t < pairs; ++t) {
      ahead.fetch();
      VecI u[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        const std::int64_t j = i + v * kWidth;
        u[v] = load_pairs<Code>(values, (j / kPanel * 32 + t) * kPanel + j % kPanel);
      }
      for (int r = 0; r < kRows; ++r) {
        const VecI p = splat_word(words + (r * 32 + t) * 4);
        for (int v = 0; v < kVecs; ++v) sums[r][v] = OCTET_DOT_I16(sums[r][v], u[v], p);
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVecs; ++v) {
        float* to = tile.sums + r * attention_sums(d) + i + v * kWidth;
        store(to, fma(to_float(sums[r][v]), splat(tile.scales[r]),
                      load(to) * splat(tile.corrections[r])));
      }
  }

  template <int kRows>
  static void values(const QueryTile& tile, std::int64_t d, const std::byte* page,
                     Ahead ahead) {
    std::int64_t keys = 0;
    for (int r = 0; r < kRows; ++r) keys = tile.keys[r] > keys ? tile.keys[r] : keys;
    const std::int64_t pairs = (keys + 1) / 2;
    std::int64_t i = 0;
    for (; i + kQueryVecs * kWidth <= d; i += kQueryVecs * kWidth)
      values_at<kRows, kQueryVecs>(tile, d, i, pairs, page, ahead);
    for (; i < d; i += kWidth) values_at<kRows, 1>(tile, d, i, pairs, page, ahead);
  }
};

void int_attention_span(const QueryRow* rows, int count, const AttentionPages& kv,
                        std::int64_t span, float* sums, float* scratch) {
  if (kv.dtype == DType::i16)
    attention_span_of<IntPages<std::int16_t>>(rows, count, kv, span, sums, scratch);
  else
    attention_span_of<IntPages<std::int8_t>>(rows, count, kv, span, sums, scratch);
}
