#include "runtime/tensor/dtype.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <cmath>

namespace octet {

namespace {
struct Entry {
  DType type;
  std::string_view name;
  std::size_t bytes;
};
// In the order of the enumeration.
constexpr std::array<Entry, 15> kTypes{{{DType::f32, "F32", 4},
                                        {DType::f16, "F16", 2},
                                        {DType::bf16, "BF16", 2},
                                        {DType::i32, "I32", 4},
                                        {DType::i64, "I64", 8},
                                        {DType::u8, "U8", 1},
                                        {DType::i8, "I8", 1},
                                        {DType::i16, "I16", 2},
                                        {DType::u16, "U16", 2},
                                        {DType::u32, "U32", 4},
                                        {DType::u64, "U64", 8},
                                        {DType::f64, "F64", 8},
                                        {DType::boolean, "BOOL", 1},
                                        {DType::f8_e4m3, "F8_E4M3", 1},
                                        {DType::f8_e5m2, "F8_E5M2", 1}}};
}  // namespace

std::size_t dtype_bytes(DType type) {
  return kTypes[static_cast<std::size_t>(type)].bytes;
}
std::string_view to_string(DType type) {
  return kTypes[static_cast<std::size_t>(type)].name;
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const auto& e : kTypes)
    if (e.name == name) return e.type;
  return std::nullopt;
}

std::int64_t num_elements(const Shape& shape) {
  std::int64_t n = 1;
  for (const auto d : shape) n *= d;
  return n;
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits >> 10 & 0x1fu;
  const std::uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

std::uint16_t float_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 65520.0f) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x1p-14f) {
    // Subnormal: a multiple of 2^-24; nearbyint rounds ties to even, and 1024 carries over into
    // the smallest normal number.
    const auto n = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(magnitude, 24)));
    return static_cast<std::uint16_t>(sign | n);
  }
  const std::uint32_t m = bits & 0x7fffffffu;
  const std::uint32_t rounded = m + 0xfffu + (m >> 13 & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

}  // namespace octet
