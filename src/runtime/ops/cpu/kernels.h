// ops/cpu: the operations on CPUs. kernels.inl is compiled once for each instruction set, inside a
// target region and a namespace of its own; the rest of the folder is ordinary code that cuts the
// work for the pool and calls the table of kernels chosen at start-up.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/tensor/dtype.h"

namespace octet::ops::cpu {

/// Output features in a panel: one AVX-512 register of float32.
inline constexpr std::int64_t kPanel = 16;
inline constexpr std::int64_t round_to_panel(std::int64_t n) {
  return (n + kPanel - 1) / kPanel * kPanel;
}
/// Input features between two roundings to the running total: short sums of float32, added up.
/// Part of a result's definition: every kernel sums blocks of this length, in this order.
inline constexpr std::int64_t kBlock = 128;

enum class PanelKind {
  f32,   ///< [k][16] float
  bf16,  ///< [k / 2][16][2]: even k in the low half of a 32-bit word
  u8,    ///< for each group: codes [group / 4][16][4], scales [16], zeros [16] if any
  u4,    ///< the same in half the bytes, [group / 8][16][4]: a byte holds k in its low and k + 4 in
         ///< its high half; every zero point is 8, groups are multiples of 32
};

/// The panels of one part of a linear.
struct PanelWeight {
  const std::byte* data = nullptr;
  std::size_t panel_bytes = 0;
  std::int64_t out_features = 0;  ///< the last panel may be filled only in part
  std::int64_t in_features = 0;
  std::int64_t group_size = 0;  ///< codes: multiple of 4
  std::size_t group_bytes = 0;  ///< codes, scales and zeros of a group
  PanelKind kind = PanelKind::f32;
  bool f32_scales = false;  ///< codes: scales are float32, otherwise float16
  bool has_zeros = false;   ///< u8: otherwise every zero point is 128

  bool holds_codes() const { return kind == PanelKind::u8 || kind == PanelKind::u4; }
  /// Of one group, without scales and zeros.
  std::size_t code_bytes() const {
    return static_cast<std::size_t>(group_size * kPanel / (kind == PanelKind::u4 ? 2 : 1));
  }
};

/// One query row of attention: a head of a token.
struct QueryRow {
  const float* query;  ///< [head_dim], scaled by 1 / sqrt(head_dim)
  std::int64_t limit;  ///< keys that it sees
};

/// Pages of one KV head. Of each page, at base + number * page_stride, the keys and side_bytes
/// behind them the values:
///   f32, bf16: keys [head_dim][64], values [head_dim / 16][64][16]
///   i16, i8: keys [head_dim / 2][64][2], values [head_dim / 16][32][16][2]: codes, pairs along
///   what is summed, as the dot products of pairs want them; then scales [64] float32
/// (kv_rounding.h).
struct AttentionPages {
  const std::byte* base;
  std::size_t page_stride, side_bytes;
  const std::int32_t* pages;
  std::int64_t head_dim;
  DType dtype;
};

/// Bytes of the codes of a page's keys, or values: where the scales are.
inline std::size_t attention_scales_at(DType type, std::int64_t head_dim) {
  return static_cast<std::size_t>(64 * head_dim) * dtype_bytes(type);
}

/// The longest head that the caches of this backend take.
inline constexpr std::int64_t kMaxKvHeadDim = 4096;

/// Attention sums over spans of so many pages, each from zero, and adds the spans up in order. Part
/// of a result's definition: the spans of a row may be computed apart.
inline constexpr std::int64_t kSpanPages = 16;

/// Most query rows of a call of the attention kernel: so many share what is read of a page.
inline constexpr int kQueryBlock = 48;

/// A row's softmax so far: out [head_dim], the largest score, the sum of the weights, as floats.
inline constexpr std::int64_t attention_sums(std::int64_t head_dim) {
  return head_dim + 16;
}

/// Scratch of the attention kernel, per worker, as floats: queries, scores, codes of the weights.
inline constexpr std::int64_t attention_scratch(std::int64_t head_dim) {
  return kQueryBlock * (head_dim + 64 + 32);
}

/// Up to kQueryBlock query rows, limits ascending, over one span of their KV head's pages: writes
/// sums [num_rows][attention_sums(head_dim)]. Sums of rows that see nothing of the span are
/// unspecified.
using AttentionSpan = void (*)(const QueryRow* rows, int num_rows, const AttentionPages& kv,
                               std::int64_t span, float* sums, float* scratch);

/// The delta rule multiplies rows into the state by blocks of so many tokens, counted from the
/// beginning of the sequence; the rows of a block that isn't complete are kept as records.
inline constexpr std::int64_t kDeltaBlock = 8;
/// of[t][s], s <= t: the key of row t of a block times the key of row s; of[kDeltaBlock + t]: the
/// query of row t.
struct DeltaProducts {
  float of[2 * kDeltaBlock][kDeltaBlock];
};
/// The same times the decays between s and t, for one value head.
struct DeltaWeights {
  float with_key[kDeltaBlock][kDeltaBlock], with_query[kDeltaBlock][kDeltaBlock];
  float total[kDeltaBlock];  ///< product of the decays of rows 0..t
  float since[kDeltaBlock];  ///< of those after row s, up to the last that is known
};

/// Records of rows: the token at position p has record p % count. At least as many as the rows of
/// a block but one, and those of a draft.
struct DeltaRecords {
  float* keys;    ///< [count][key_dim] after l2norm, key_stride floats apart
  float* deltas;  ///< [count][value_dim]
  float* decays;  ///< [count]
  std::int64_t key_stride, delta_stride, decay_stride, count;
};

/// Gated delta rule of one value head over the rows of one segment.
struct DeltaRuleHead {
  float* state;          ///< [slices][key_dim][16] after the last complete block; updated
  DeltaRecords records;  ///< of the rows since; deltas of new ones are written, keys and decays not
  std::int64_t taken;    ///< tokens that state and records stand for
  std::int64_t accepted_rows;  ///< records after those, of rows that were accepted since
  const float* key;  ///< [rows][key | scaled query][key_dim] after l2norm, key_stride floats apart
  std::int64_t key_stride;
  const DeltaWeights* weights;  ///< for each block that has some of the rows, weight_stride apart
  std::int64_t weight_stride;
  const float* value;  ///< [rows], value_stride floats apart
  std::int64_t value_stride;
  const float* beta;  ///< [rows], gate_stride floats apart
  std::int64_t gate_stride;
  float* out;  ///< [rows], out_stride floats apart
  std::int64_t out_stride;
  /// The state takes in the accepted rows only, and all rows are recorded.
  bool draft;
  float* scratch;                         ///< draft: 2 * kPanel * key_dim floats
  std::int64_t rows, key_dim, value_dim;  ///< rows >= 1; value_dim may end inside the last slice
};

/// One set of kernels. All pointers to float may be unaligned unless said otherwise.
struct CpuKernels {
  const char* isa;
  /// Panels [begin, end) of w times rows of x: y[r * ldy + n] for their output features n.
  /// scratch: 2 * kBlock * kPanel floats.
  void (*linear)(const PanelWeight& w, std::int64_t begin, std::int64_t end, const float* x,
                 std::int64_t rows, std::int64_t ldx, float* y, std::int64_t ldy, float* scratch);
  void (*add)(float* x, const float* delta, std::int64_t n);
  void (*rms_norm)(const float* x, const float* weight, float eps, std::int64_t n, float* y);
  void (*gated_rms_norm)(const float* x, const float* gate, const float* weight, float eps,
                         bool sigmoid_gate, std::int64_t n, float* y);
  /// y = x * scale / sqrt(sum(x^2) + 1e-6)
  void (*l2_norm)(const float* x, float scale, std::int64_t n, float* y);
  void (*silu_mul)(const float* gate, const float* up, std::int64_t n, float* y);
  /// Four taps: y = silu(w0 x0 + w1 x1 + w2 x2 + w3 x3), channel by channel.
  void (*conv4_silu)(const float* const x[4], const float* const w[4], std::int64_t n, float* y);
  /// For pages of f32 or bf16.
  AttentionSpan attention_span;
  /// Adds a span's sums to those of the spans before it; first: there are none.
  void (*attention_merge)(float* sums, const float* span, std::int64_t head_dim, bool first);
  /// out = what the sums say, times sigmoid(gate); gate, out [head_dim].
  void (*attention_finish)(const float* sums, const float* gate, std::int64_t head_dim, float* out);
  void (*delta_rule)(const DeltaRuleHead& head);
  /// Of a block's rows [begin, begin + count); keys[t]: the key of row t, for these rows followed
  /// by the query.
  void (*delta_products)(const float* const* keys, std::int64_t begin, std::int64_t count,
                         std::int64_t key_dim, DeltaProducts& products);
  /// decays: of the rows [0, begin + count).
  void (*delta_weights)(const DeltaProducts& products, const float* decays, std::int64_t begin,
                        std::int64_t count, DeltaWeights& weights);
  /// decay = exp(-exp(A_log) softplus(a + dt_bias)), beta = sigmoid(b), for n heads.
  void (*delta_gates)(const float* a, const float* b, const float* A_log, const float* dt_bias,
                      std::int64_t n, float* decay, float* beta);
  /// Dot-free read of memory: sums 64-bit words, to measure bandwidth. bytes: multiple of 1024.
  std::uint64_t (*read_memory)(const std::byte* data, std::size_t bytes);
  /// Multiply-adds of float32 vectors in registers; returns flops done. For measuring the peak.
  double (*fma_peak)(std::int64_t iterations, float* sink);
};

/// Inputs that share a scale when they are rounded to int8.
inline constexpr std::int64_t kInt8Group = 32;

/// Rows of a linear's input as integers of one or two int8 terms, in tiles of `tile` rows; the
/// last may have fewer. A tile of R rows has codes [in / 4][terms][R][4] and, for each group of 32
/// inputs, scales [R] and corrections [R] (-128 times the sum of the codes: what weight codes that
/// are stored with a zero point of 128 are too much). Tiles of 16 rows for AMX: int8_amx.cpp.
struct Int8Rows {
  const std::int8_t* codes;
  const float* scales;
  const std::int32_t* corrections;
  std::int64_t rows, tile;
};

/// Products of integer inputs with panels of codes; a set for each integer instruction. Members of
/// two elements are for one term and for two.
struct Int8Kernels {
  const char* isa;
  /// Rows of a tile where there are many, and the most that pass over a weight together: up to so
  /// many rows are one tile.
  std::int64_t tile_rows[2], few_rows[2];
  /// One tile: rows of x [k], k a multiple of kInt8Group, of a call whose full tiles have `tile`
  /// rows. There is room for a full tile.
  void (*quantize_rows[2])(const float* x, std::int64_t rows, std::int64_t tile, std::int64_t ldx,
                           std::int64_t k, std::int8_t* codes, float* scales,
                           std::int32_t* corrections);
  /// Panels [begin, end) of w, of codes without zeros, groups multiples of kInt8Group. Tiles of x
  /// are as the two numbers above say.
  void (*linear[2])(const PanelWeight& w, std::int64_t begin, std::int64_t end, const Int8Rows& x,
                    float* y, std::int64_t ldy);
  /// For pages of i16 or i8.
  AttentionSpan attention_span;
  /// Dot products of integers in registers; returns operations done. For measuring the peak.
  double (*dot_peak)(std::int64_t iterations, std::int32_t* sink);
};

const Int8Kernels& generic_int8_kernels();
const Int8Kernels& avx2_int8_kernels();
const Int8Kernels& avx_vnni_int8_kernels();
const Int8Kernels& avx512_vnni_int8_kernels();
const Int8Kernels& amx_int8_kernels();

const CpuKernels& generic_kernels();
const CpuKernels& avx2_kernels();
const CpuKernels& avx512_kernels();

}  // namespace octet::ops::cpu
