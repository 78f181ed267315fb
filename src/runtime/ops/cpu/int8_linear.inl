// Included once by each int8_*.cpp, inside its namespace and target region, as kernels.inl is by
// isa_*.cpp; they define kWidth, the tile sizes, kName, OCTET_DOT_U8, OCTET_DOT_I16 and the OCTET_VEC_* macros.
#define OCTET_INLINE inline __attribute__((always_inline))

#include "runtime/ops/cpu/vec.inl"

// y = x w^T with both sides as integers: the weight's codes and inputs rounded to integers.
//
// The result is defined once, for every instruction set and any rows side by side. Each 32 inputs
// of a row have a largest magnitude m and codes q = round(x * (L / m)), halves to even, with L =
// 127 (one term) or 127 * 128 (two terms: q = 128 high + low, both int8). The sum of products of
// codes over 32 inputs is exact in int32; these sums, times weight scale times m / L, are added in
// float32 by multiply-add in order of k, from zero. Inputs below 1e-30 count as zero; a group with
// an input that is not finite gives NaN.

template <int kTerms>
constexpr float kInt8Levels = kTerms == 1 ? 127.0f : 127.0f * 128.0f;

// One group of a row: its codes by term, its scale and -128 times the sum of its codes.
template <int kTerms>
OCTET_INLINE void quantize_group(const float* in, std::int8_t (*codes)[kInt8Group], float* scale,
                                 std::int32_t* correction) {
  constexpr int kVecs = kInt8Group / kWidth;
  const Vec magic = splat(12582912.0f);  // 1.5 * 2^23: the sum's low bits are the rounded integer
  Vec v[kVecs], top = {};
  VecI bad = {};  // all ones where the exponent is that of infinities and NaN
  for (int i = 0; i < kVecs; ++i) {
    v[i] = load(in + i * kWidth);
    bad |= ((VecI)v[i] & 0x7f800000) == 0x7f800000;
    top = max(top, max(v[i], -v[i]));
  }
  std::int32_t any_bad = 0;
  for (int i = 0; i < kWidth; ++i) any_bad |= bad[i];
  float largest = max_lane(top);
  if (any_bad != 0 || !(largest > 1e-30f)) {
    for (int i = 0; i < kVecs; ++i) v[i] = Vec{};
    largest = 0;
  }
  const Vec inverse = splat(largest > 0 ? kInt8Levels<kTerms> / largest : 0.0f);
  std::int32_t wide[kTerms][kInt8Group];
  VecI sums = {};
  for (int i = 0; i < kVecs; ++i) {
    const VecI q = (VecI)(v[i] * inverse + magic) - (VecI)magic;
    sums += q;
    // The high part rounded: both parts fit int8.
    const VecI high = kTerms == 1 ? q : (q + 64) >> 7;
    __builtin_memcpy(wide[0] + i * kWidth, &high, sizeof high);
    if constexpr (kTerms == 2) {
      const VecI low = q - (high << 7);
      __builtin_memcpy(wide[1] + i * kWidth, &low, sizeof low);
    }
  }
  for (int t = 0; t < kTerms; ++t)
    for (int i = 0; i < kInt8Group; ++i) codes[t][i] = static_cast<std::int8_t>(wide[t][i]);
  std::int32_t sum = 0;
  for (int i = 0; i < kWidth; ++i) sum += sums[i];
  *scale = any_bad != 0 ? __builtin_nanf("") : largest / kInt8Levels<kTerms>;
  *correction = -128 * sum;
}

// Up to a tile of rows, laid out so that the products read it in one stream. kernels.h: Int8Rows.
template <int kTerms>
void quantize_rows(const float* x, std::int64_t rows, std::int64_t /*tile*/, std::int64_t ldx,
                   std::int64_t k, std::int8_t* codes, float* scales, std::int32_t* corrections) {
  constexpr int kWords = kInt8Group / 4;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < k / kInt8Group; ++g) {
      std::int8_t rounded[kTerms][kInt8Group];
      quantize_group<kTerms>(x + r * ldx + g * kInt8Group, rounded, scales + g * rows + r,
                             corrections + g * rows + r);
      for (int t = 0; t < kTerms; ++t)
        for (std::int64_t i = 0; i < kWords; ++i)
          __builtin_memcpy(codes + (((g * kWords + i) * kTerms + t) * rows + r) * 4,
                           rounded[t] + i * 4, 4);
    }
}

OCTET_INLINE VecI splat_word(const void* p) {
  std::int32_t word;
  __builtin_memcpy(&word, p, 4);
  return VecI{} + word;
}

// What to add to a row's sums over a group, for weight codes around 128 (halves: around 8).
template <bool kHalves>
OCTET_INLINE VecI correction_of(const std::int32_t* row) {
  if constexpr (kInt8Corrects) return splat_word(row) >> (kHalves ? 4 : 0);
  return VecI{};
}

// Scales of kWidth columns of a group, from the s-th vector of those at `factor`.
OCTET_INLINE Vec group_scale(const PanelWeight& w, const std::byte* factor, int s) {
  return w.f32_scales ? load(reinterpret_cast<const float*>(factor) + s * kWidth)
                      : load_f16(factor + s * kWidth * 2);
}

// The i-th four codes of each column of a group, as bytes around a zero point of 128 (or 8, where
// the corrections take that into account).
template <bool kHalves>
OCTET_INLINE VecI code_words(const std::byte* at, int i) {
  if constexpr (kHalves) {
    const VecI words = load_words(at + i / 2 * 4 * kPanel);
    const VecI codes = (i % 2 ? words >> 4 : words) & 0x0f0f0f0f;
    typedef std::uint32_t VecBits __attribute__((vector_size(kWidth * 4)));
    return kInt8Corrects ? codes : (VecI)((VecBits)codes + 0x78787878u);  // 120 to each byte
  } else {
    return load_words(at + i * 4 * kPanel);
  }
}

// Here because it is a product of integers too, in need of the same instructions.
#include "runtime/ops/cpu/attention.inl"

#include "runtime/ops/cpu/attention_int.inl"

// kRows rows (a tile of the inputs) times kPanels panels. kAhead: they come from memory, so they are
// called some KiB ahead, because the hardware follows a few streams only up to the page's end.
template <int kTerms, bool kHalves, bool kAhead, int kRows, int kPanels>
void int8_tile(const PanelWeight& w, std::int64_t panel, const std::int8_t* x, const float* scales,
               const std::int32_t* corrections, float* y, std::int64_t ldy) {
  constexpr int kVecs = kPanels * kPanelVecs;
  Vec totals[kRows][kVecs] = {};
  const std::byte* at[kPanels];
  for (int p = 0; p < kPanels; ++p)
    at[p] = w.data + static_cast<std::size_t>(panel + p) * w.panel_bytes;
  // Two terms: both sums at once, or, where the registers hold only one, first the high terms and
  // then the low ones on top.
  constexpr bool kFold = kTerms == 2 && kRows * kVecs > kInt8BothSums;
  // More rows take longer over a line, and are over it in bursts.
  constexpr std::int64_t kDistance = kRows == 1 ? 2048 : 4096;
  constexpr std::int64_t kStep = kInt8Group * kPanel / (kHalves ? 2 : 1);
  const std::size_t scale_bytes = w.group_bytes - w.code_bytes();
  for (std::int64_t k0 = 0; k0 < w.in_features; k0 += w.group_size) {
    const std::byte* factor[kPanels];
    for (int p = 0; p < kPanels; ++p) factor[p] = at[p] + w.code_bytes();
    for (std::int64_t k = 0; k < w.group_size; k += kInt8Group) {
      VecI sums[kRows][kVecs], high[kRows][kVecs] = {};  // high: of two terms only
      for (int r = 0; r < kRows; ++r) {
        const VecI start = kFold ? VecI{} : correction_of<kHalves>(corrections + r);
        for (int v = 0; v < kVecs; ++v) sums[r][v] = start;
      }
      const auto add = [&](bool first, bool last) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int i = 0; i < kInt8Group / 4; ++i) {
          VecI words[kVecs];
          for (int p = 0; p < kPanels; ++p) {
            if (kAhead && first && (!kHalves || i % 2 == 0))
              __builtin_prefetch(at[p] + i * 4 * kPanel / (kHalves ? 2 : 1) + kDistance);
            for (int s = 0; s < kPanelVecs; ++s)
              words[p * kPanelVecs + s] = code_words<kHalves>(at[p] + s * kWidth * 4, i);
          }
          for (int r = 0; r < kRows; ++r) {
            if (kTerms == 2 && first) {
              auto& sum = kFold ? sums : high;
              const VecI top = splat_word(x + (2 * i * kRows + r) * 4);
              for (int v = 0; v < kVecs; ++v) sum[r][v] = OCTET_DOT_U8(sum[r][v], words[v], top);
            }
            if (!last) continue;
            const VecI in = splat_word(x + ((i * kTerms + kTerms - 1) * kRows + r) * 4);
            for (int v = 0; v < kVecs; ++v) sums[r][v] = OCTET_DOT_U8(sums[r][v], words[v], in);
          }
        }
      };
      if constexpr (kFold) {
        add(true, false);
        for (int r = 0; r < kRows; ++r) {
          const VecI correction = correction_of<kHalves>(corrections + r);
          for (int v = 0; v < kVecs; ++v) sums[r][v] = (sums[r][v] << 7) + correction;
        }
        add(false, true);
      } else {
        add(true, true);
      }
      for (int p = 0; p < kPanels; ++p)
        for (int s = 0; s < kPanelVecs; ++s) {
          const Vec scale = group_scale(w, factor[p], s);
          const int v = p * kPanelVecs + s;
          for (int r = 0; r < kRows; ++r) {
            const VecI sum = kTerms == 1 || kFold ? sums[r][v] : (high[r][v] << 7) + sums[r][v];
            totals[r][v] = fma(to_float(sum), scale * splat(scales[r]), totals[r][v]);
          }
        }
      x += kTerms * kInt8Group * kRows;
      scales += kRows;
      corrections += kRows;
      for (int p = 0; p < kPanels; ++p) at[p] += kStep;
    }
    for (int p = 0; p < kPanels; ++p) at[p] += scale_bytes;
  }
  for (int r = 0; r < kRows; ++r)
    for (int p = 0; p < kPanels; ++p)
      for (int s = 0; s < kPanelVecs; ++s) {
        const std::int64_t n = (panel + p) * kPanel + s * kWidth;
        put_total(y + r * ldy + n, totals[r][p * kPanelVecs + s], true, w.out_features - n);
      }
}

template <int kTerms, bool kHalves, bool kAhead, int kRows, int kPanels>
OCTET_INLINE void int8_any_rows(std::int64_t rows, const PanelWeight& w, std::int64_t panel,
                                const std::int8_t* x, const float* scales,
                                const std::int32_t* corrections, float* y, std::int64_t ldy) {
  if constexpr (kRows > 1) {
    if (rows < kRows)
      return int8_any_rows<kTerms, kHalves, kAhead, kRows - 1, kPanels>(rows, w, panel, x, scales,
                                                                corrections, y, ldy);
  }
  int8_tile<kTerms, kHalves, kAhead, kRows, kPanels>(w, panel, x, scales, corrections, y, ldy);
}

// All rows as one tile: the weight passes once, from memory.
template <int kTerms, bool kHalves, int kMost, int kPanels>
OCTET_INLINE void int8_few_rows(const PanelWeight& w, std::int64_t begin, std::int64_t end,
                                const Int8Rows& x, float* y, std::int64_t ldy) {
  std::int64_t panel = begin;
  for (; panel + kPanels <= end; panel += kPanels)
    int8_any_rows<kTerms, kHalves, true, kMost, kPanels>(x.rows, w, panel, x.codes, x.scales,
                                                         x.corrections, y, ldy);
  if constexpr (kPanels > 1) int8_few_rows<kTerms, kHalves, kMost, 1>(w, panel, end, x, y, ldy);
}

// Tile after tile over kPanels panels, which stay in the cache meanwhile.
template <int kTerms, bool kHalves, int kPanels>
OCTET_INLINE void int8_many_rows(const PanelWeight& w, std::int64_t begin, std::int64_t end,
                                 const Int8Rows& x, float* y, std::int64_t ldy) {
  constexpr std::int64_t kRows = kInt8TileRows[kTerms - 1];
  const std::int64_t groups = w.in_features / kInt8Group;
  std::int64_t panel = begin;
  for (; panel + kPanels <= end; panel += kPanels)
    for (std::int64_t r = 0; r < x.rows; r += kRows) {
      const std::int64_t rows = x.rows - r < kRows ? x.rows - r : kRows;
      int8_any_rows<kTerms, kHalves, false, kRows, kPanels>(
          rows, w, panel, x.codes + r * kTerms * w.in_features, x.scales + r * groups,
          x.corrections + r * groups, y + r * ldy, ldy);
    }
  if constexpr (kPanels > 1) int8_many_rows<kTerms, kHalves, 1>(w, panel, end, x, y, ldy);
}

template <int kTerms, bool kHalves>
OCTET_INLINE void int8_panels(const PanelWeight& w, std::int64_t begin, std::int64_t end,
                              const Int8Rows& x, float* y, std::int64_t ldy) {
  constexpr int kTile = kInt8TileRows[kTerms - 1], kFew = kInt8FewRows[kTerms - 1];
  if (x.rows > x.tile) return int8_many_rows<kTerms, kHalves, kInt8Panels>(w, begin, end, x, y, ldy);
  // One row is bound by memory: more streams at once.
  if (x.rows == 1)
    return int8_few_rows<kTerms, kHalves, 1, kInt8DirectPanels>(w, begin, end, x, y, ldy);
  // More rows than a tile has, with one panel: a second tile would compute while memory waits.
  if constexpr (kFew > kTile) {
    if (x.rows > kTile) return int8_few_rows<kTerms, kHalves, kFew, kInt8FewPanels>(w, begin, end, x, y, ldy);
  }
  int8_few_rows<kTerms, kHalves, kTile, kInt8Panels>(w, begin, end, x, y, ldy);
}

template <int kTerms>
void int8_linear_panels(const PanelWeight& w, std::int64_t begin, std::int64_t end,
                        const Int8Rows& x, float* y, std::int64_t ldy) {
  if (w.kind == PanelKind::u4)
    int8_panels<kTerms, true>(w, begin, end, x, y, ldy);
  else
    int8_panels<kTerms, false>(w, begin, end, x, y, ldy);
}

double dot_peak_loop(std::int64_t iterations, std::int32_t* sink) {
  constexpr int kChains = 10;
  VecI sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = VecI{} + c;  // equal chains would become one
  volatile std::int32_t a_source = 0x81828384, b_source = 0x01020304;  // unknown to the compiler
  const VecI a = VecI{} + a_source, b = VecI{} + b_source;
  for (std::int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) sums[c] = OCTET_DOT_U8(sums[c], a, b);
  VecI total = {};
  for (int c = 0; c < kChains; ++c) total += sums[c];
  *sink = total[0];
  return 2.0 * 4 * kChains * kWidth * static_cast<double>(iterations);
}

#ifndef OCTET_INT8_OWN_TABLE
constexpr Int8Kernels kInt8Kernels{kName,
                                   {kInt8TileRows[0], kInt8TileRows[1]},
                                   {kInt8FewRows[0], kInt8FewRows[1]},
                                   {quantize_rows<1>, quantize_rows<2>},
                                   {int8_linear_panels<1>, int8_linear_panels<2>},
                                   int_attention_span,
                                   dot_peak_loop};
#endif
