// How KV caches of integers round: one definition for every backend.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/tensor/dtype.h"

namespace octet::ops {

/// Largest codes. Keys of 16 bits are scaled by their L2 norm, so that no sum of products with a
/// query rounded in the same way leaves int32, however long the head: norm times norm bounds it.
inline constexpr float kKeyNorm16 = 32700.0f;
/// Values of 16 bits keep 13 bits and the sign: 262,000, the most that the weights of a page add
/// up to, times this is still an int32.
inline constexpr float kValueLevels16 = 8191.0f;
inline constexpr float kKvLevels8 = 127.0f;

/// Is a cache of this type held as integers, with one float32 scale for each head of a token?
inline bool is_kv_rounded(DType type) {
  return type == DType::i8 || type == DType::i16;
}

/// Codes of one head's key (after norm and rotation) and the scale that they are to be multiplied
/// by: round(x * levels / size), halves to even, where size is the L2 norm (i16) or the largest
/// magnitude (i8). A size below 1e-30 gives zeros and scale 0, an element that is not finite zeros
/// and scale NaN. codes: as many as x, at most 4096.
float round_key(DType type, std::span<const float> x, std::int16_t* codes);
/// The same for a value; size is the largest magnitude. Attention rounds a page's weights times its
/// values' scales once more, with a step of the largest over 32,751: a value below about 1e-26, or
/// with a weight that is zero in float32, then counts as zero, whatever it is.
float round_value(DType type, std::span<const float> x, std::int16_t* codes);

}  // namespace octet::ops
