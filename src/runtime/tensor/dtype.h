// runtime/tensor: element types, shapes, tensors that own or borrow memory of a device.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace octet {

enum class DType {
  f32,
  f16,
  bf16,
  i32,
  i64,
  u8,
  i8,
  i16,
  u16,
  u32,
  u64,
  f64,
  boolean,
  f8_e4m3,
  f8_e5m2
};

/// Bytes of one element.
std::size_t dtype_bytes(DType type);
/// The name that safetensors uses: "F32", "BF16", "I32", ...
std::string_view to_string(DType type);
/// The reverse; nullopt for an unknown name.
std::optional<DType> parse_dtype(std::string_view name);

/// Sizes of the dimensions, slowest first (row-major).
using Shape = std::vector<std::int64_t>;
/// Product of the sizes. The caller vouches that it doesn't overflow.
std::int64_t num_elements(const Shape& shape);
/// "[5120, 17408]".
std::string to_string(const Shape& shape);

/// Index of the first element that is infinite or NaN; -1 if there is none, or the type has none.
/// The bytes may be unaligned. Runs at the speed of memory.
std::int64_t first_non_finite(DType type, std::span<const std::byte> bytes);

inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Round to nearest, ties to even; NaN stays NaN.
inline std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float f16_to_float(std::uint16_t bits);
/// Round to nearest, ties to even; overflow becomes infinity, as IEEE 754 says.
std::uint16_t float_to_f16(float value);

}  // namespace octet
