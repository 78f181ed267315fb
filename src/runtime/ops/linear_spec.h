#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/tensor/tensor.h"

namespace octet::ops {

/// How a linear is divided among tensor-parallel ranks. A property of the packed weight: the
/// model asks for the split when it packs, and sums after a `columns` linear.
enum class Split {
  none,     ///< every rank holds all of it
  rows,     ///< a rank holds some output features; outputs are complete where they are
  columns,  ///< a rank holds some input features; the ranks' outputs are to be summed
};

/// A 16- or 32-bit weight [out_features, in_features], row-major. `data` may be unaligned (a view
/// into a mapped file) and is read only while packing.
struct DenseWeight {
  const std::byte* data = nullptr;
  DType dtype = DType::bf16;  ///< bf16, f16, f32
};

/// An 8-bit-code weight: w[n, k] = scale[g, n] * (code[k, n] - zero[g, n]) with g = group of k.
/// Fewer bits are the same with smaller codes. All pointers are read only while packing.
struct QuantizedWeight {
  /// Codes in GPTQ's 8-bit order: word [k / 4, n] holds k, k+1, k+2, k+3 from its low byte up.
  /// [in_features / 4, out_features], may be unaligned.
  const std::byte* codes = nullptr;
  std::vector<float> scales;        ///< [groups, out_features]
  std::vector<std::uint8_t> zeros;  ///< [groups, out_features]; empty: all 128
  std::int64_t group_size = 32;     ///< input features a group, divides in_features
  /// Act-order: group of each input feature. Empty: k / group_size.
  std::vector<std::int32_t> group_index;
};

/// One of the weights that are stacked into a linear.
struct LinearPart {
  std::int64_t out_features = 0;
  std::int64_t in_features = 0;
  bool quantized = false;
  DenseWeight dense;
  QuantizedWeight codes;
};

/// Which part of a linear this rank packs.
struct RankSlice {
  Split split = Split::none;
  int rank = 0;
  int num_ranks = 1;
};

/// Outputs [begin, begin + count) or inputs of a part that a rank holds: equal shares, the split
/// dimension must be divisible (by num_ranks, and by the group size where groups would be cut).
/// Errors: invalid_argument.
struct Range {
  std::int64_t begin = 0, count = 0;
};
Range output_range(const LinearPart& part, const RankSlice& slice);
Range input_range(const LinearPart& part, const RankSlice& slice);

/// The weight as float32 [rows.count, in.count], in double precision rounded once: what every
/// packed form must stand for. For tests, the reference backend and odd formats.
std::vector<float> dequantize(const LinearPart& part, Range out, Range in);

}  // namespace octet::ops
