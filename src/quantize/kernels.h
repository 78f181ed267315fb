// The inner loops of the solver, along output features ("lanes": rows of the weight are
// independent of each other). kernels.inl is compiled once for each instruction set, as in
// runtime/ops/cpu.
//
// Matrices lie column by column: [in_features][ld] with ld a multiple of kLaneStep and the padding
// lanes harmless (weights 0, scales 1).
#pragma once

#include <cstdint>
#include <string>

namespace octet::quantize {

inline constexpr std::int64_t kLaneStep = 16;

/// The numbers that a scale may be.
enum class ScaleGrid {
  f32,       ///< any; rounded to float16 when it is written (the reference)
  f16,       ///< what the file can hold
  f16_bf16,  ///< what float16 and bfloat16 can hold both: served alike in either
};

/// What scale * (code - zero) becomes when the weight is used.
enum class ServeType {
  f32,   ///< the product itself: octet
  f16,   ///< rounded: other servers with --dtype half
  bf16,  ///< rounded: other servers with --dtype bfloat16
};

/// How codes stand for weights.
struct CodeFormat {
  int zero = 128, max_code = 255;
  ServeType serve = ServeType::f32;
};

/// Rounds columns [begin, end) of a block of `count` columns; all lie in one group.
/// For each column c in turn: code of w, e = ((w - q) - beta (w - raw)) / u_cc, then
/// w_j -= e u_cj - w p_cj for all columns j >= c of the block, then the next column of the block is
/// pulled towards raw by beta. docs/quantization.md
struct RoundColumns {
  std::int64_t begin, end, count, lanes, ld;
  float* w;             ///< [count][ld] weights as corrected so far; afterwards the rounded ones
  const float* scales;  ///< [ld]
  const float* u;       ///< [count][count]
  const float* p;       ///< [count][count] or null
  const float* raw;     ///< [count][ld] original weights, if beta != 0
  float beta;
  CodeFormat format;
  float* errors;        ///< [count][ld]
  std::uint8_t* codes;  ///< [count][ld]
  float* loss;          ///< [ld] += e^2 / 2
  float* clipped;       ///< [ld] += 1 for each weight farther than half a step from its value
};

/// Finds a scale for one group: of scale(lane) * share[i], each put on the grid, the first of least
/// cost. Cost: sum_k importance_k (q_k - w_k)^2, or, with u, the loss of rounding the group's
/// columns in order with error feedback among them: sum_k ((w_k - q_k) / u_kk)^2.
struct SearchScales {
  std::int64_t group_size, lanes, ld;  ///< group_size at most 128 with u
  const float* w;                      ///< [group_size][ld]
  const float* importance;             ///< [group_size], or null: all 1
  const float* u;                      ///< [group_size][ldu], or null
  std::int64_t ldu;
  const float* share;  ///< [num_shares]
  std::int64_t num_shares;
  /// The candidate of a share: share * span / max_code, in this order of operations.
  bool reference_quirk;  ///< span = max|w| instead of twice that, if no weight is negative
  ScaleGrid grid;
  CodeFormat format;
  float* scales;  ///< [ld]
};

/// Coordinate descent on columns [begin, end) of a block, all of one group: with g = H (Q - W) of
/// the block's columns, each code in turn becomes the nearest to q - g / h_cc, and g follows for
/// columns [follow, count).
struct SweepColumns {
  std::int64_t begin, end, follow, count, lanes, ld;
  float* g;        ///< [count][ld]
  float* d;        ///< [count][ld] Q - W, follows too
  const float* h;  ///< [count][count]
  const float* scales;
  CodeFormat format;
  std::uint8_t* codes;
};

/// The scale of least error for columns [begin, end) (one group, at most 128) with codes fixed, put
/// on the grid; taken where it lessens the error. g and d follow as in SweepColumns.
struct FitScales {
  std::int64_t begin, end, follow, count, lanes, ld;
  float* g;
  float* d;
  const float* h;
  float* scales;
  ScaleGrid grid;
  CodeFormat format;
  const std::uint8_t* codes;
};

struct SolverKernels {
  void (*round_columns)(const RoundColumns&);
  void (*search_scales)(const SearchScales&);
  void (*sweep_columns)(const SweepColumns&);
  void (*fit_scales)(const FitScales&);
};

const SolverKernels& generic_kernels();
const SolverKernels& avx2_kernels();
const SolverKernels& avx512_kernels();

/// Errors: as choose_isa (runtime/base/cpu_features.h).
const SolverKernels& choose_kernels(const std::string& isa);

}  // namespace octet::quantize
