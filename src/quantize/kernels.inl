// Included once by each isa_*.cpp, inside its namespace and target region, which define kWidth
// (floats of a vector) and OCTET_FMA. No standard containers, exceptions or allocation in here (see
// runtime/ops/cpu/kernels.inl).
#define OCTET_INLINE inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(kWidth * 4)));
typedef float VecM __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef std::int32_t VecI __attribute__((vector_size(kWidth * 4)));
typedef std::uint8_t Bytes __attribute__((vector_size(kWidth), aligned(1), may_alias));

OCTET_INLINE Vec load(const float* p) { return *reinterpret_cast<const VecM*>(p); }
OCTET_INLINE void store(float* p, Vec v) { *reinterpret_cast<VecM*>(p) = v; }
OCTET_INLINE Vec splat(float x) { return Vec{} + x; }
OCTET_INLINE Vec fma(Vec a, Vec b, Vec c) { return OCTET_FMA(a, b, c); }
OCTET_INLINE Vec min(Vec a, Vec b) { return a < b ? a : b; }
OCTET_INLINE Vec max(Vec a, Vec b) { return a > b ? a : b; }
OCTET_INLINE Vec load_codes(const std::uint8_t* p) {
  return __builtin_convertvector(*reinterpret_cast<const Bytes*>(p), Vec);
}
OCTET_INLINE void store_codes(std::uint8_t* p, Vec v) {
  *reinterpret_cast<Bytes*>(p) = __builtin_convertvector(__builtin_convertvector(v, VecI), Bytes);
}

// Halves to even, for |x| < 2^22.
OCTET_INLINE Vec nearest(Vec x) {
  const Vec magic = splat(12582912.0f);
  return (x + magic) - magic;
}

// x with `bits` low bits of its significand rounded away, halves to even.
OCTET_INLINE Vec drop_bits(Vec x, int bits) {
  const VecI i = (VecI)x;
  return (Vec)((i + ((i >> bits) & 1) + ((1 << (bits - 1)) - 1)) & ~((1 << bits) - 1));
}

OCTET_INLINE Vec round_f16(Vec x) {
  const Vec magnitude = (Vec)((VecI)x & 0x7fffffff);
  // Below 2^-14 float16 counts in steps of 2^-24: adding 1.5 * 2^-1 rounds to them.
  const Vec step = splat(0.75f);
  const Vec rounded = magnitude < splat(0x1p-14f) ? (x + step) - step : drop_bits(x, 13);
  return min(max(rounded, splat(-65504.0f)), splat(65504.0f));
}

OCTET_INLINE Vec on_grid(Vec scale, ScaleGrid grid) {
  if (grid == ScaleGrid::f32) return scale;
  // The smallest float16 is 2^-24: a scale of zero would lose the group.
  if (grid == ScaleGrid::f16) return max(round_f16(scale), splat(0x1p-24f));
  // bfloat16 has 8 bits; below 2^-17 a multiple of 2^-24 has no more either.
  const Vec step = splat(0.75f);
  const Vec rounded = scale < splat(0x1p-17f) ? (scale + step) - step : drop_bits(scale, 16);
  return min(max(rounded, splat(0x1p-24f)), splat(65280.0f));
}

// code - zero of the nearest code.
OCTET_INLINE Vec nearest_level(Vec w, Vec scale, const CodeFormat& f) {
  // A true division: it decides ties as the reference does.
  const Vec low = splat(static_cast<float>(-f.zero));
  const Vec high = splat(static_cast<float>(f.max_code - f.zero));
  // The clamp comes first, so that nearest() stays in range; its bounds are whole numbers.
  return nearest(min(max(w / scale, low), high));
}

OCTET_INLINE Vec served(Vec level, Vec scale, ServeType serve) {
  const Vec q = scale * level;
  if (serve == ServeType::f16) return round_f16(q);
  if (serve == ServeType::bf16) return drop_bits(q, 16);
  return q;
}

// Vectors of lanes that a loop takes along together, to have enough independent sums.
constexpr int kGang = 64 / kWidth > 4 ? 4 : 64 / kWidth;

void round_columns(const RoundColumns& r) {
  for (std::int64_t l0 = 0; l0 < r.lanes; l0 += kWidth * kGang)
    for (std::int64_t c = r.begin; c < r.end; ++c) {
      const Vec d = splat(r.u[c * r.count + c]);
      Vec error[kGang], before[kGang];
      const int gang = r.lanes - l0 < kWidth * kGang ? static_cast<int>((r.lanes - l0) / kWidth) : kGang;
      for (int v = 0; v < gang; ++v) {
        const std::int64_t l = l0 + v * kWidth, at = c * r.ld + l;
        const Vec w = load(r.w + at), scale = load(r.scales + l);
        const Vec level = nearest_level(w, scale, r.format);
        const Vec q = served(level, scale, r.format.serve);
        store_codes(r.codes + at, level + splat(static_cast<float>(r.format.zero)));
        const Vec off = w - q;
        Vec e = off;
        if (r.beta != 0) e = off - splat(r.beta) * (w - load(r.raw + at));
        e = e / d;
        error[v] = e;
        before[v] = w;
        store(r.errors + at, e);
        store(r.loss + l, load(r.loss + l) + splat(0.5f) * ((off / d) * (off / d)));
        const Vec distance = off < splat(0.0f) ? -off : off;
        const Vec one = distance > splat(0.50005f) * scale ? splat(1.0f) : splat(0.0f);
        store(r.clipped + l, load(r.clipped + l) + one);
      }
      for (std::int64_t j = c; j < r.count; ++j) {
        const Vec factor = splat(-r.u[c * r.count + j]);
        float* to = r.w + j * r.ld + l0;
        if (r.p) {
          const Vec shift = splat(r.p[c * r.count + j]);
          for (int v = 0; v < gang; ++v)
            store(to + v * kWidth,
                  fma(before[v], shift, fma(error[v], factor, load(to + v * kWidth))));
        } else {
          for (int v = 0; v < gang; ++v)
            store(to + v * kWidth, fma(error[v], factor, load(to + v * kWidth)));
        }
      }
      if (r.beta != 0 && c + 1 < r.count)
        for (int v = 0; v < gang; ++v) {
          const std::int64_t at = (c + 1) * r.ld + l0 + v * kWidth;
          const Vec w = load(r.w + at);
          store(r.w + at, w - splat(r.beta) * (w - load(r.raw + at)));
        }
    }
}

OCTET_INLINE Vec plain_cost(const SearchScales& s, std::int64_t l, Vec scale) {
  Vec cost = {};
  for (std::int64_t k = 0; k < s.group_size; ++k) {
    const Vec w = load(s.w + k * s.ld + l);
    const Vec e = served(nearest_level(w, scale, s.format), scale, s.format.serve) - w;
    cost = s.importance ? fma(splat(s.importance[k]) * e, e, cost) : fma(e, e, cost);
  }
  return cost;
}

// Cost with error feedback inside the group, on a copy of its weights.
OCTET_INLINE Vec feedback_cost(const SearchScales& s, std::int64_t l, Vec scale) {
  Vec w[128];
  for (std::int64_t k = 0; k < s.group_size; ++k) w[k] = load(s.w + k * s.ld + l);
  Vec cost = {};
  for (std::int64_t k = 0; k < s.group_size; ++k) {
    const float* u = s.u + k * s.ldu;
    const Vec q = served(nearest_level(w[k], scale, s.format), scale, s.format.serve);
    const Vec e = (w[k] - q) / splat(u[k]);
    cost = fma(e, e, cost);
    for (std::int64_t j = k + 1; j < s.group_size; ++j) w[j] = fma(e, splat(-u[j]), w[j]);
  }
  return cost;
}

void search_scales(const SearchScales& s) {
  const Vec max_code = splat(static_cast<float>(s.format.max_code));
  for (std::int64_t l = 0; l < s.lanes; l += kWidth) {
    Vec low = {}, high = {};
    for (std::int64_t k = 0; k < s.group_size; ++k) {
      const Vec w = load(s.w + k * s.ld + l);
      low = min(low, w);
      high = max(high, w);
    }
    const Vec largest = max(-low, high);
    Vec span = splat(2.0f) * largest;
    if (s.reference_quirk) span = low < splat(0.0f) ? span : largest;
    span = largest > splat(0.0f) ? span : splat(2.0f);  // all zero: any scale will do
    Vec best = {}, least = splat(3.4e38f), previous = {};
    for (std::int64_t i = 0; i < s.num_shares; ++i) {
      const Vec scale = on_grid(splat(s.share[i]) * span / max_code, s.grid);
      VecI fresh = scale != previous;  // on a coarse grid neighbours are often the same number
      bool any = false;
      for (int v = 0; v < kWidth; ++v) any |= fresh[v] != 0;
      if (!any) continue;
      previous = scale;
      if (s.num_shares == 1) {
        best = scale;
        break;
      }
      const Vec cost = s.u ? feedback_cost(s, l, scale) : plain_cost(s, l, scale);
      const VecI better = cost < least;
      least = better ? cost : least;
      best = better ? scale : best;
    }
    // Costs that overflow leave none: the first candidate stands.
    best = best > splat(0.0f) ? best : on_grid(splat(s.share[0]) * span / max_code, s.grid);
    store(s.scales + l, best);
  }
}

void sweep_columns(const SweepColumns& s) {
  const Vec zero = splat(static_cast<float>(s.format.zero));
  for (std::int64_t l0 = 0; l0 < s.lanes; l0 += kWidth * kGang) {
    const int gang = s.lanes - l0 < kWidth * kGang ? static_cast<int>((s.lanes - l0) / kWidth) : kGang;
    for (std::int64_t c = s.begin; c < s.end; ++c) {
      const Vec diagonal = splat(s.h[c * s.count + c]);
      Vec change[kGang];
      bool any = false;
      for (int v = 0; v < gang; ++v) {
        const std::int64_t l = l0 + v * kWidth, at = c * s.ld + l;
        const Vec scale = load(s.scales + l);
        const Vec q = served(load_codes(s.codes + at) - zero, scale, s.format.serve);
        const Vec level = nearest_level(q - load(s.g + at) / diagonal, scale, s.format);
        change[v] = served(level, scale, s.format.serve) - q;
        store_codes(s.codes + at, level + zero);
        store(s.d + at, load(s.d + at) + change[v]);
        const VecI moved = change[v] != splat(0.0f);
        VecI folded = moved;
        for (int i = 1; i < kWidth; ++i) folded[0] |= folded[i];
        any |= folded[0] != 0;
      }
      if (!any) continue;
      for (std::int64_t j = s.follow; j < s.count; ++j) {
        const Vec factor = splat(s.h[c * s.count + j]);
        float* to = s.g + j * s.ld + l0;
        for (int v = 0; v < gang; ++v)
          store(to + v * kWidth, fma(change[v], factor, load(to + v * kWidth)));
      }
    }
  }
}

void fit_scales(const FitScales& s) {
  const Vec zero = splat(static_cast<float>(s.format.zero));
  const std::int64_t size = s.end - s.begin;
  for (std::int64_t l = 0; l < s.lanes; l += kWidth) {
    const Vec scale = load(s.scales + l);
    Vec level[128], change[128];
    Vec slope = {}, curve = {};
    for (std::int64_t k = 0; k < size; ++k) {
      const std::int64_t at = (s.begin + k) * s.ld + l;
      level[k] = load_codes(s.codes + at) - zero;
      slope = fma(level[k], load(s.g + at), slope);
    }
    for (std::int64_t k = 0; k < size; ++k) {
      Vec product = {};
      const float* row = s.h + (s.begin + k) * s.count + s.begin;
      for (std::int64_t j = 0; j < size; ++j) product = fma(splat(row[j]), level[j], product);
      curve = fma(product, level[k], curve);
    }
    Vec better = curve > splat(0.0f) ? on_grid(scale - slope / curve, s.grid) : scale;
    // A scale may move by a tenth at a time: with all codes near zero the quotient means nothing.
    better = min(max(better, on_grid(splat(0.9f) * scale, s.grid)),
                 on_grid(splat(1.1f) * scale, s.grid));
    for (std::int64_t k = 0; k < size; ++k)
      change[k] = served(level[k], better, s.format.serve) - served(level[k], scale, s.format.serve);
    // The error's change: change^T (2 g + H change).
    Vec gain = {};
    for (std::int64_t k = 0; k < size; ++k) {
      const float* row = s.h + (s.begin + k) * s.count + s.begin;
      Vec product = splat(2.0f) * load(s.g + (s.begin + k) * s.ld + l);
      for (std::int64_t j = 0; j < size; ++j) product = fma(splat(row[j]), change[j], product);
      gain = fma(change[k], product, gain);
    }
    const VecI take = gain < splat(0.0f);
    bool any = false;
    for (int v = 0; v < kWidth; ++v) any |= take[v] != 0;
    if (!any) continue;
    store(s.scales + l, take ? better : scale);
    for (std::int64_t k = 0; k < size; ++k) {
      const Vec moved = take ? change[k] : Vec{};
      float* d = s.d + (s.begin + k) * s.ld + l;
      store(d, load(d) + moved);
      const float* row = s.h + (s.begin + k) * s.count;
      for (std::int64_t j = s.follow; j < s.count; ++j) {
        float* g = s.g + j * s.ld + l;
        store(g, fma(moved, splat(row[j]), load(g)));
      }
    }
  }
}

constexpr SolverKernels kKernels{round_columns, search_scales, sweep_columns, fit_scales};
