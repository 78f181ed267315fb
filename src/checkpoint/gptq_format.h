#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace octet::checkpoint {

/// A GPTQ-quantized linear as its four tensors (docs/formats/gptq.md). Weight [n, k] =
/// scale[group, n] * (code[n, k] - zero[group, n]) with group = g_idx[k].
struct GptqLinear {
  TensorInfo qweight;               ///< I32 [in * bits / 32, out]
  TensorInfo qzeros;                ///< I32 [groups, out * bits / 32]
  TensorInfo scales;                ///< F16, BF16 or F32 [groups, out]
  std::optional<TensorInfo> g_idx;  ///< I32 [in]
  std::int64_t out_features = 0, in_features = 0;
  std::int64_t bits = 8, group_size = 32, num_groups = 0;
  bool zeros_minus_one = true;  ///< format gptq (v1); false: gptq_v2
  bool sym = true;
};

/// The scales as float32 [groups, out]. Errors: bad_data if one is not finite.
std::vector<float> gptq_scales(const GptqLinear& linear);
/// Zero points [groups, out]. Of a symmetric 3-bit file the words that GPTQModel 5 wrote with its
/// own constants are read as what they mean, 4.
std::vector<std::uint8_t> gptq_zeros(const GptqLinear& linear);
/// Group of each input feature; empty if it is k / group_size everywhere.
/// Errors: bad_data if an entry is out of range.
std::vector<std::int32_t> gptq_group_index(const GptqLinear& linear);
/// Codes in the 8-bit order [in / 4][out][4]: four consecutive k of an output lie together,
/// whatever the file's bits.
std::vector<std::byte> gptq_codes(const GptqLinear& linear);
/// True if the file's qweight bytes are in that order already (8 bits).
bool gptq_codes_are_direct(const GptqLinear& linear);

/// The four tensors of a module as bytes, ready to be written (v1 zeros, trivial g_idx).
struct PackedGptq {
  std::vector<std::byte> qweight, qzeros, scales, g_idx;
};
/// codes [out, in] (0 .. 2^bits - 1), scales [out, groups]; symmetric: every zero is 2^(bits - 1).
/// out and in must be multiples of 32, in of the group size (checked).
PackedGptq pack_gptq(std::span<const std::uint8_t> codes, std::span<const float> scales,
                     std::int64_t out_features, std::int64_t in_features, std::int64_t bits,
                     std::int64_t group_size);

}  // namespace octet::checkpoint
