// A vector of kWidth floats and what the kernels do with it. Compiler vectors: arithmetic is plain
// operators, only what those can't say is an intrinsic.
typedef float Vec __attribute__((vector_size(kWidth * 4)));
typedef float VecU __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef std::int32_t VecI __attribute__((vector_size(kWidth * 4)));
typedef std::int32_t VecIU __attribute__((vector_size(kWidth * 4), aligned(1), may_alias));

constexpr int kPanelVecs = static_cast<int>(kPanel) / kWidth;  // vectors in a panel row

OCTET_INLINE Vec load(const float* p) { return *reinterpret_cast<const VecU*>(p); }
OCTET_INLINE void store(float* p, Vec v) { *reinterpret_cast<VecU*>(p) = v; }
OCTET_INLINE VecI load_words(const std::byte* p) { return *reinterpret_cast<const VecIU*>(p); }
// x - 0 is x for every x, which x + 0 is not (-0): only so does the compiler leave the operation out.
OCTET_INLINE Vec splat(float x) { return x - Vec{}; }
OCTET_INLINE Vec fma(Vec a, Vec b, Vec c) { return OCTET_VEC_FMA(a, b, c); }
OCTET_INLINE Vec to_float(VecI v) { return __builtin_convertvector(v, Vec); }
OCTET_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
OCTET_INLINE Vec bf16_low(VecI words) { return (Vec)(words << 16); }
OCTET_INLINE Vec bf16_high(VecI words) { return (Vec)(words & static_cast<std::int32_t>(0xffff0000)); }

OCTET_INLINE Vec load_f16(const std::byte* p) {
#ifdef OCTET_VEC_LOAD_F16
  return OCTET_VEC_LOAD_F16(p);
#else
  Vec v{};
  for (int i = 0; i < kWidth; ++i) {
    std::uint16_t h;
    __builtin_memcpy(&h, p + 2 * i, 2);
    v[i] = f16_to_float(h);
  }
  return v;
#endif
}

OCTET_INLINE Vec load_bf16(const std::byte* p) {
#ifdef OCTET_VEC_LOAD_BF16
  return OCTET_VEC_LOAD_BF16(p);
#else
  VecI v{};
  for (int i = 0; i < kWidth; ++i) {
    std::uint16_t h;
    __builtin_memcpy(&h, p + 2 * i, 2);
    v[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(h) << 16);
  }
  return (Vec)v;
#endif
}

OCTET_INLINE Vec load_u8(const std::byte* p) {
#ifdef OCTET_VEC_LOAD_U8
  return OCTET_VEC_LOAD_U8(p);
#else
  Vec v{};
  for (int i = 0; i < kWidth; ++i) v[i] = static_cast<float>(static_cast<unsigned char>(p[i]));
  return v;
#endif
}

// The vector with its lanes i and i ^ kBit exchanged.
template <int kBit, int... kLanes>
OCTET_INLINE Vec exchanged(Vec v, std::integer_sequence<int, kLanes...>) {
  return __builtin_shufflevector(v, v, (kLanes ^ kBit)...);
}

// Sums in a fixed tree: halves, quarters, ...
template <int kHalf = kWidth / 2>
OCTET_INLINE float sum(Vec v) {
  v += exchanged<kHalf>(v, std::make_integer_sequence<int, kWidth>());
  if constexpr (kHalf > 1)
    return sum<kHalf / 2>(v);
  else
    return v[0];
}

template <int kHalf = kWidth / 2>
OCTET_INLINE float max_lane(Vec v) {
  v = max(v, exchanged<kHalf>(v, std::make_integer_sequence<int, kWidth>()));
  if constexpr (kHalf > 1)
    return max_lane<kHalf / 2>(v);
  else
    return v[0];
}

// exp to about one unit in the last place: x = n ln 2 + r, |r| <= ln 2 / 2, Taylor to the seventh
// power (the eighth is below 6e-9), then the exponent is raised by n. Below -87.3 the result is 0
// (it would be subnormal), so that masked scores of minus infinity weigh nothing.
OCTET_INLINE Vec exp(Vec x) {
  const Vec lowest = splat(-87.33654f), highest = splat(88.72283f);
  const Vec clamped = x < lowest ? lowest : (x > highest ? highest : x);
  // Adding 1.5 * 2^23 rounds to an integer in the low bits of the sum.
  const Vec magic = splat(12582912.0f);
  const Vec biased = fma(clamped, splat(1.44269504f), magic);
  const Vec n = biased - magic;
  // ln 2 in two pieces: the first has few enough bits that n times it is exact.
  Vec r = fma(n, splat(-0.693359375f), clamped);
  r = fma(n, splat(2.12194440e-4f), r);
  Vec p = splat(1.98412698e-4f);
  p = fma(p, r, splat(1.38888889e-3f));
  p = fma(p, r, splat(8.33333333e-3f));
  p = fma(p, r, splat(4.16666667e-2f));
  p = fma(p, r, splat(1.66666667e-1f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  // Two factors: 2^n itself overflows at n = 128, where p * 2^n may still be finite.
  const VecI whole = (VecI)biased - (VecI)magic;
  const VecI half = whole >> 1;
  const Vec scaled = p * (Vec)((half + 127) << 23) * (Vec)((whole - half + 127) << 23);
  return x < lowest ? Vec{} : scaled;
}

// ln(1 + e^x), to some units in the last place. With u = 1 + e^x rounded, ln u is corrected for what
// the rounding left out; u = 2^n m, m from sqrt(1/2) to sqrt(2), and ln m = 2 artanh((m-1)/(m+1)),
// whose series is cut where the next term is below 2e-9 of the sum.
OCTET_INLINE Vec softplus(Vec x) {
  const Vec one = splat(1.0f), y = exp(x), u = one + y;
  // The bits of sqrt(1/2); what is above it in the exponent field is n.
  const VecI bits = (VecI)u - 0x3f3504f3, n = bits >> 23;
  const Vec m = (Vec)((bits & 0x007fffff) + 0x3f3504f3);
  const Vec s = (m - one) / (m + one), z = s * s;
  Vec p = splat(2.0f / 9.0f);
  p = fma(p, z, splat(2.0f / 7.0f));
  p = fma(p, z, splat(2.0f / 5.0f));
  p = fma(p, z, splat(2.0f / 3.0f));
  p = fma(p * z, s, s + s);
  const Vec log_u = fma(to_float(n), splat(0.693147181f), p) + (y - (u - one)) / u;
  return x > splat(20.0f) ? x : log_u;
}

OCTET_INLINE Vec sigmoid(Vec x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }
OCTET_INLINE Vec silu(Vec x) { return x / (splat(1.0f) + exp(-x)); }

// The first `count` lanes; the others are zero.
OCTET_INLINE Vec load_part(const float* p, std::int64_t count) {
  float padded[kWidth] = {};
  for (std::int64_t i = 0; i < count; ++i) padded[i] = p[i];
  return load(padded);
}

OCTET_INLINE void store_part(float* p, Vec v, std::int64_t count) {
  float padded[kWidth];
  store(padded, v);
  for (std::int64_t i = 0; i < count; ++i) p[i] = padded[i];
}

// Adds a block's sums to the totals in y, or writes them if it is the first block.
OCTET_INLINE void put_total(float* y, Vec block, bool first, std::int64_t count) {
  if (count >= kWidth) {
    store(y, first ? block : load(y) + block);
  } else if (count > 0) {
    store_part(y, first ? block : load_part(y, count) + block, count);
  }
}
