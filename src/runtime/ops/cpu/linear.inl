// y = x w^T over panels of 16 output features.
//
// The result is defined once and computed in two ways with equal bits: for each output feature,
// blocks of kBlock input features are summed in order of k by multiply-add from zero, and the
// blocks' sums are added in order. Weights are float32 values: bf16 widened, or
// fma(code, scale, -zero * scale), which is scale * (code - zero) rounded once.
//
// Few rows read the packed weights directly (bound by memory). Many rows unpack a block of one or
// two panels to float32 first and reuse it for all rows (bound by multiply-adds).

// Scales and -zero * scale of one group of a panel.
OCTET_INLINE void group_constants(const PanelWeight& w, const std::byte* group, Vec* scale,
                                  Vec* offset) {
  const std::byte* p = group + w.code_bytes();
  const std::size_t scale_bytes = w.f32_scales ? 4 : 2;
  for (int s = 0; s < kPanelVecs; ++s) {
    scale[s] = w.f32_scales ? load(reinterpret_cast<const float*>(p + s * kWidth * 4))
                            : load_f16(p + s * kWidth * 2);
    const Vec zero = w.has_zeros
                         ? load_u8(p + static_cast<std::size_t>(kPanel) * scale_bytes + s * kWidth)
                         : splat(w.kind == PanelKind::u4 ? 8.0f : 128.0f);
    offset[s] = -(zero * scale[s]);
  }
}

OCTET_INLINE Vec code(VecI words, int j) {
  return to_float((words >> (8 * j)) & 255);
}

// Code j of eight in halves of bytes: the low halves are the first four.
OCTET_INLINE Vec half_code(VecI words, int j) {
  return to_float((words >> (8 * (j % 4) + 4 * (j / 4))) & 15);
}

// Unpacks input features [k0, k0 + count) of a panel to out[count][16].
OCTET_INLINE void unpack_block(const PanelWeight& w, const std::byte* panel, std::int64_t k0,
                               std::int64_t count, float* out) {
  if (w.kind == PanelKind::bf16) {
    for (std::int64_t k = 0; k < count; k += 2)
      for (int s = 0; s < kPanelVecs; ++s) {
        const VecI words = load_words(panel + (k0 + k) * 2 * kPanel + s * kWidth * 4);
        store(out + k * kPanel + s * kWidth, bf16_low(words));
        if (k + 1 < count) store(out + (k + 1) * kPanel + s * kWidth, bf16_high(words));
      }
  } else if (w.kind == PanelKind::f32) {
    __builtin_memcpy(out, panel + k0 * kPanel * 4, static_cast<std::size_t>(count * kPanel) * 4);
  } else {
    for (std::int64_t k = 0; k < count;) {
      const std::int64_t g = (k0 + k) / w.group_size, in_group = (k0 + k) % w.group_size;
      const std::byte* group = panel + static_cast<std::size_t>(g) * w.group_bytes;
      Vec scale[kPanelVecs], offset[kPanelVecs];
      group_constants(w, group, scale, offset);
      const std::int64_t left = w.group_size - in_group;
      const std::int64_t end = k + (left < count - k ? left : count - k);
      if (w.kind == PanelKind::u4) {
        for (const std::byte* codes = group + in_group * kPanel / 2; k < end;
             k += 8, codes += 4 * kPanel)
          for (int s = 0; s < kPanelVecs; ++s) {
            const VecI words = load_words(codes + s * kWidth * 4);
            for (int j = 0; j < 8; ++j)
              store(out + (k + j) * kPanel + s * kWidth,
                    fma(half_code(words, j), scale[s], offset[s]));
          }
        continue;
      }
      const std::byte* codes = group + in_group * kPanel;
      for (; k < end; k += 4, codes += 4 * kPanel)
        for (int s = 0; s < kPanelVecs; ++s) {
          const VecI words = load_words(codes + s * kWidth * 4);
          for (int j = 0; j < 4; ++j)
            store(out + (k + j) * kPanel + s * kWidth, fma(code(words, j), scale[s], offset[s]));
        }
    }
  }
}

// Rows times unpacked panels [kTilePanels][kBlock][16] over `count` input features.
template <int kRows, int kPanels>
OCTET_INLINE void tile(const float* weights, std::int64_t count, const float* x, std::int64_t ldx,
                       float* y, std::int64_t ldy, bool first, std::int64_t columns) {
  constexpr int kVecs = kPanels * kPanelVecs;
  Vec sums[kRows][kVecs] = {};
  for (std::int64_t k = 0; k < count; ++k) {
    Vec w[kVecs];
    for (int v = 0; v < kVecs; ++v)
      w[v] = load(weights + (v / kPanelVecs) * kBlock * kPanel + k * kPanel +
                  (v % kPanelVecs) * kWidth);
    for (int r = 0; r < kRows; ++r) {
      const Vec in = splat(x[r * ldx + k]);
      for (int v = 0; v < kVecs; ++v) sums[r][v] = fma(in, w[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVecs; ++v)
      put_total(y + r * ldy + v * kWidth, sums[r][v], first, columns - v * kWidth);
}

template <int kRows, int kPanels>
void tile_rows(const float* weights, std::int64_t count, const float* x, std::int64_t rows,
               std::int64_t ldx, float* y, std::int64_t ldy, bool first, std::int64_t columns) {
  std::int64_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    tile<kRows, kPanels>(weights, count, x + r * ldx, ldx, y + r * ldy, ldy, first, columns);
  if constexpr (kRows > 1) {
    if (r < rows)
      tile_rows<(kRows + 1) / 2, kPanels>(weights, count, x + r * ldx, rows - r, ldx, y + r * ldy,
                                          ldy, first, columns);
  }
}

template <int kPanels>
void many_rows(const PanelWeight& w, std::int64_t panel, const float* x, std::int64_t rows,
               std::int64_t ldx, float* y, std::int64_t ldy, float* scratch) {
  const std::int64_t columns = w.out_features - panel * kPanel;
  for (std::int64_t k = 0; k < w.in_features; k += kBlock) {
    const std::int64_t count = w.in_features - k < kBlock ? w.in_features - k : kBlock;
    for (int p = 0; p < kPanels; ++p)
      unpack_block(w, w.data + static_cast<std::size_t>(panel + p) * w.panel_bytes, k, count,
                   scratch + p * kBlock * kPanel);
    tile_rows<kTileRows, kPanels>(scratch, count, x + k, rows, ldx, y + panel * kPanel, ldy, k == 0,
                                  columns);
  }
}

// Sums of a few rows over kPanels panels, straight from the packed weights.
template <int kRows, int kPanels>
struct Direct {
  Vec sums[kRows][kPanels][kPanelVecs] = {};

  OCTET_INLINE void take(const float* x, std::int64_t ldx, int p, int s, Vec w) {
    for (int r = 0; r < kRows; ++r) sums[r][p][s] = fma(splat(x[r * ldx]), w, sums[r][p][s]);
  }

  OCTET_INLINE void block_f32(const std::byte* const* panels, std::int64_t k0, std::int64_t count,
                              const float* x, std::int64_t ldx) {
    for (std::int64_t k = 0; k < count; ++k)
      for (int p = 0; p < kPanels; ++p)
        for (int s = 0; s < kPanelVecs; ++s)
          take(
              x + k, ldx, p, s,
              load(reinterpret_cast<const float*>(panels[p] + (k0 + k) * kPanel * 4) + s * kWidth));
  }

  OCTET_INLINE void block_bf16(const std::byte* const* panels, std::int64_t k0, std::int64_t count,
                               const float* x, std::int64_t ldx) {
    for (std::int64_t k = 0; k < count; k += 2)
      for (int p = 0; p < kPanels; ++p)
        for (int s = 0; s < kPanelVecs; ++s) {
          const std::byte* at = panels[p] + (k0 + k) * 2 * kPanel + s * kWidth * 4;
          // Some KiB ahead: the hardware follows a few streams only up to the page's end.
          if (s == 0) __builtin_prefetch(at + (kRows == 1 ? 2048 : 4096));
          const VecI words = load_words(at);
          take(x + k, ldx, p, s, bf16_low(words));
          if (k + 1 < count) take(x + k + 1, ldx, p, s, bf16_high(words));
        }
  }

  template <bool kHalves>
  OCTET_INLINE void block_codes(const PanelWeight& w, const std::byte* const* panels,
                                std::int64_t k0, std::int64_t count, const float* x,
                                std::int64_t ldx) {
    for (std::int64_t k = 0; k < count;) {
      const std::int64_t g = (k0 + k) / w.group_size, in_group = (k0 + k) % w.group_size;
      const std::int64_t left = w.group_size - in_group;
      const std::int64_t end = k + (left < count - k ? left : count - k);
      Vec scale[kPanels][kPanelVecs], offset[kPanels][kPanelVecs];
      const std::byte* codes[kPanels];
      for (int p = 0; p < kPanels; ++p) {
        const std::byte* group = panels[p] + static_cast<std::size_t>(g) * w.group_bytes;
        group_constants(w, group, scale[p], offset[p]);
        codes[p] = group + in_group * kPanel / (kHalves ? 2 : 1);
      }
      constexpr int kCodes = kHalves ? 8 : 4;  // of a column in a word
      for (; k < end; k += kCodes)
        for (int p = 0; p < kPanels; ++p) {
          __builtin_prefetch(codes[p] + (kRows == 1 ? 2048 : 4096));
          for (int s = 0; s < kPanelVecs; ++s) {
            const VecI words = load_words(codes[p] + s * kWidth * 4);
            for (int j = 0; j < kCodes; ++j)
              take(x + k + j, ldx, p, s,
                   fma(kHalves ? half_code(words, j) : code(words, j), scale[p][s], offset[p][s]));
          }
          codes[p] += 4 * kPanel;
        }
    }
  }
};

template <int kRows, int kPanels>
void few_rows(const PanelWeight& w, std::int64_t panel, const float* x, std::int64_t ldx, float* y,
              std::int64_t ldy) {
  const std::byte* panels[kPanels];
  for (int p = 0; p < kPanels; ++p)
    panels[p] = w.data + static_cast<std::size_t>(panel + p) * w.panel_bytes;
  for (std::int64_t k = 0; k < w.in_features; k += kBlock) {
    const std::int64_t count = w.in_features - k < kBlock ? w.in_features - k : kBlock;
    Direct<kRows, kPanels> block;
    if (w.kind == PanelKind::u8)
      block.template block_codes<false>(w, panels, k, count, x + k, ldx);
    else if (w.kind == PanelKind::u4)
      block.template block_codes<true>(w, panels, k, count, x + k, ldx);
    else if (w.kind == PanelKind::bf16)
      block.block_bf16(panels, k, count, x + k, ldx);
    else
      block.block_f32(panels, k, count, x + k, ldx);
    for (int r = 0; r < kRows; ++r)
      for (int p = 0; p < kPanels; ++p)
        for (int s = 0; s < kPanelVecs; ++s) {
          const std::int64_t n = (panel + p) * kPanel + s * kWidth;
          put_total(y + r * ldy + n, block.sums[r][p][s], k == 0, w.out_features - n);
        }
  }
}

template <int kPanels, int kRows = kDirectRows>
OCTET_INLINE void any_rows(const PanelWeight& w, std::int64_t panel, const float* x,
                           std::int64_t rows, std::int64_t ldx, float* y, std::int64_t ldy) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return any_rows<kPanels, kRows - 1>(w, panel, x, rows, ldx, y, ldy);
  }
  few_rows<kRows, kPanels>(w, panel, x, ldx, y, ldy);
}

void linear_panels(const PanelWeight& w, std::int64_t begin, std::int64_t end, const float* x,
                   std::int64_t rows, std::int64_t ldx, float* y, std::int64_t ldy,
                   float* scratch) {
  std::int64_t panel = begin;
  if (rows <= 8 || (rows <= 2 * kDirectRows && !w.holds_codes())) {
    if (rows == 1)
      for (; panel + kDirectPanels <= end; panel += kDirectPanels)
        few_rows<1, kDirectPanels>(w, panel, x, ldx, y, ldy);
    // A few rows at a time: the next ones find the panels in the cache.
    const auto by_few = [&](const auto& run) {
      for (std::int64_t r = 0; r < rows; r += kDirectRows)
        run(x + r * ldx, rows - r < kDirectRows ? rows - r : kDirectRows, y + r * ldy);
    };
    if constexpr (kDirectPanels > 1)
      for (; panel + 2 <= end; panel += 2)
        by_few([&](const float* in, std::int64_t count, float* out) {
          any_rows<2>(w, panel, in, count, ldx, out, ldy);
        });
    for (; panel < end; ++panel)
      by_few([&](const float* in, std::int64_t count, float* out) {
        any_rows<1>(w, panel, in, count, ldx, out, ldy);
      });
    return;
  }
  for (; panel + kTilePanels <= end; panel += kTilePanels)
    many_rows<kTilePanels>(w, panel, x, rows, ldx, y, ldy, scratch);
  for (; panel < end; ++panel) many_rows<1>(w, panel, x, rows, ldx, y, ldy, scratch);
}
