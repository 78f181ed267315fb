#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/vec_avx512.inl"
#include "runtime/tensor/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((                                                                                \
        target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
#endif
namespace octet::ops::cpu::amx_int8 {
// Up to eight rows go the way of AVX-512 VNNI; more fill tiles of 16.
#include "runtime/ops/cpu/int8_avx512.inl"

#define OCTET_INT8_OWN_TABLE
#include "runtime/ops/cpu/int8_linear.inl"

constexpr std::int64_t kTileRows = 16;
// Rounded inputs that stay in the second-level cache (2 MiB on the first CPUs with AMX) while the
// panels of a task pass over them.
constexpr std::int64_t kRowBlockBytes = std::int64_t{1} << 20;

// The intrinsics of some compilers don't say which memory they read: what was written before must
// be there.
OCTET_INLINE void settle_memory() {
  asm volatile("" ::: "memory");
}

struct TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Tiles 0 and 1: sums [16][16]. 2 and 3: inputs [16][32]. 4: codes of a group [8][16][4].
TileShapes group_shapes() {
  TileShapes s;
  for (const int t : {0, 1, 2, 3}) s.rows[t] = kTileRows;
  for (const int t : {0, 1}) s.row_bytes[t] = 64;
  for (const int t : {2, 3}) s.row_bytes[t] = kInt8Group;
  s.rows[4] = kInt8Group / 4;
  s.row_bytes[4] = 64;
  return s;
}

// 16 rows times one panel. The tile unit adds up 32 products in one go; correction, scale and the
// sum over groups are vector work, and what limits.
template <int kTerms, bool kHalves>
void amx_tile(const PanelWeight& w, std::int64_t panel, const std::int8_t* x, const float* scales,
              const std::int32_t* corrections, std::int64_t rows, float* y, std::int64_t ldy) {
  Vec totals[kTileRows] = {};
  alignas(64) std::int32_t sums[kTerms][kTileRows][16];
  alignas(64) std::byte unpacked[kInt8Group * kPanel];
  const std::byte* at = w.data + static_cast<std::size_t>(panel) * w.panel_bytes;
  const std::size_t scale_bytes = w.group_bytes - w.code_bytes();
  for (std::int64_t k0 = 0; k0 < w.in_features; k0 += w.group_size) {
    const Vec scale = group_scale(w, at + w.code_bytes(), 0);
    for (std::int64_t k = 0; k < w.group_size; k += kInt8Group) {
      if constexpr (kHalves) {
        for (int i = 0; i < kInt8Group / 4; ++i) {
          const VecI words = code_words<true>(at, i);
          std::memcpy(unpacked + i * 64, &words, 64);
        }
        settle_memory();
        _tile_loadd(4, unpacked, 64);
      } else {
        _tile_loadd(4, at, 64);
      }
      _tile_loadd(2, x, kInt8Group);
      _tile_zero(0);
      _tile_dpbsud(0, 2, 4);
      _tile_stored(0, sums[0], 64);
      if constexpr (kTerms == 2) {
        _tile_loadd(3, x + kTileRows * kInt8Group, kInt8Group);
        _tile_zero(1);
        _tile_dpbsud(1, 3, 4);
        _tile_stored(1, sums[1], 64);
      }
      for (int r = 0; r < kTileRows; ++r) {
        const VecI correction = correction_of<kHalves>(corrections + r);
        VecI sum;
        std::memcpy(&sum, sums[kTerms - 1][r], 64);
        if constexpr (kTerms == 2) {
          VecI high;
          std::memcpy(&high, sums[0][r], 64);
          sum += high << 7;
        }
        totals[r] = fma(to_float(sum + correction), scale * splat(scales[r]), totals[r]);
      }
      x += kTerms * kInt8Group * kTileRows;
      scales += kTileRows;
      corrections += kTileRows;
      at += kInt8Group * kPanel / (kHalves ? 2 : 1);
    }
    at += scale_bytes;
  }
  for (std::int64_t r = 0; r < rows; ++r)
    put_total(y + r * ldy + panel * kPanel, totals[r], true, w.out_features - panel * kPanel);
}

template <int kTerms, bool kHalves>
void amx_panels(const PanelWeight& w, std::int64_t begin, std::int64_t end, const Int8Rows& x,
                float* y, std::int64_t ldy) {
  const std::int64_t groups = w.in_features / kInt8Group;
  const std::int64_t fit = kRowBlockBytes / (w.in_features * kTerms) / kTileRows * kTileRows;
  const std::int64_t block = fit > kTileRows ? fit : kTileRows;
  const TileShapes shapes = group_shapes();
  settle_memory();
  _tile_loadconfig(&shapes);
  for (std::int64_t first = 0; first < x.rows; first += block) {
    const std::int64_t last = first + block < x.rows ? first + block : x.rows;
    for (std::int64_t panel = begin; panel < end; ++panel)
      for (std::int64_t r = first; r < last; r += kTileRows)
        amx_tile<kTerms, kHalves>(w, panel, x.codes + r * kTerms * w.in_features,
                                  x.scales + r * groups, x.corrections + r * groups,
                                  last - r < kTileRows ? last - r : kTileRows, y + r * ldy, ldy);
  }
  _tile_release();
}

template <int kTerms>
void amx_linear_panels(const PanelWeight& w, std::int64_t begin, std::int64_t end,
                       const Int8Rows& x, float* y, std::int64_t ldy) {
  if (x.tile != kTileRows)
    int8_linear_panels<kTerms>(w, begin, end, x, y, ldy);
  else if (w.kind == PanelKind::u4)
    amx_panels<kTerms, true>(w, begin, end, x, y, ldy);
  else
    amx_panels<kTerms, false>(w, begin, end, x, y, ldy);
}

// Codes [in / 32][terms][16][32], scales and corrections [in / 32][16]; rows that are missing count
// as zero.
template <int kTerms>
void amx_quantize_rows(const float* x, std::int64_t rows, std::int64_t tile, std::int64_t ldx,
                       std::int64_t k, std::int8_t* codes, float* scales,
                       std::int32_t* corrections) {
  if (tile != kTileRows)
    return quantize_rows<kTerms>(x, rows, tile, ldx, k, codes, scales, corrections);
  const std::int64_t groups = k / kInt8Group;
  if (rows < kTileRows) {
    std::memset(codes, 0, static_cast<std::size_t>(kTileRows * k * kTerms));
    std::memset(scales, 0, static_cast<std::size_t>(kTileRows * groups) * sizeof *scales);
    std::memset(corrections, 0, static_cast<std::size_t>(kTileRows * groups) * sizeof *corrections);
  }
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      std::int8_t rounded[kTerms][kInt8Group];
      quantize_group<kTerms>(x + r * ldx + g * kInt8Group, rounded, scales + g * kTileRows + r,
                             corrections + g * kTileRows + r);
      for (int t = 0; t < kTerms; ++t)
        std::memcpy(codes + ((g * kTerms + t) * kTileRows + r) * kInt8Group, rounded[t],
                    kInt8Group);
    }
}

// Full tiles, 64 products deep, four sums at a time: what the unit can do at best.
double amx_peak_loop(std::int64_t iterations, std::int32_t* sink) {
  TileShapes shapes;
  for (int t = 0; t < 8; ++t) {
    shapes.rows[t] = kTileRows;
    shapes.row_bytes[t] = 64;
  }
  alignas(64) std::int8_t ones[kTileRows][64];
  std::memset(ones, 1, sizeof ones);
  settle_memory();
  _tile_loadconfig(&shapes);
  settle_memory();
  _tile_loadd(4, ones, 64);
  _tile_loadd(5, ones, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  // An eighth of what the loops of vector products are asked for takes about as long.
  const std::int64_t steps = iterations / 8;
  for (std::int64_t i = 0; i < steps; ++i) {
    _tile_dpbsud(0, 4, 5);
    _tile_dpbsud(1, 4, 5);
    _tile_dpbsud(2, 4, 5);
    _tile_dpbsud(3, 4, 5);
  }
  alignas(64) std::int32_t sums[kTileRows][16];
  _tile_stored(0, sums, 64);
  _tile_release();
  *sink = sums[0][0];
  return 4.0 * 2 * 16 * 16 * 64 * static_cast<double>(steps);
}

constexpr Int8Kernels kAmxKernels{"amx",
                                  {kTileRows, kTileRows},
                                  {kInt8FewRows[0], kInt8FewRows[1]},
                                  {amx_quantize_rows<1>, amx_quantize_rows<2>},
                                  {amx_linear_panels<1>, amx_linear_panels<2>},
                                  int_attention_span,
                                  amx_peak_loop};
}  // namespace octet::ops::cpu::amx_int8
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::ops::cpu {
const Int8Kernels& amx_int8_kernels() {
  return amx_int8::kAmxKernels;
}
}  // namespace octet::ops::cpu
#endif
