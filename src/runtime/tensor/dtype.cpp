#include "runtime/tensor/dtype.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

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

namespace {

// Blocks are tested as a whole, without a branch in the loop; the place is searched afterwards.
template <typename Word>
std::int64_t first_with_full_exponent(std::span<const std::byte> bytes, Word exponent) {
  constexpr std::size_t kBlock = 4096;
  const std::size_t size = bytes.size() / sizeof(Word);
  std::array<Word, kBlock> words;
  for (std::size_t begin = 0; begin < size; begin += kBlock) {
    const std::size_t n = std::min(kBlock, size - begin);
    std::memcpy(words.data(), bytes.data() + begin * sizeof(Word), n * sizeof(Word));
    unsigned found = 0;
    for (std::size_t i = 0; i < n; ++i) found |= (words[i] & exponent) == exponent;
    if (!found) continue;
    for (std::size_t i = 0; i < n; ++i)
      if ((words[i] & exponent) == exponent) return static_cast<std::int64_t>(begin + i);
  }
  return -1;
}

}  // namespace

std::int64_t first_non_finite(DType type, std::span<const std::byte> bytes) {
  switch (type) {
    case DType::bf16:
      return first_with_full_exponent<std::uint16_t>(bytes, 0x7f80);
    case DType::f16:
      return first_with_full_exponent<std::uint16_t>(bytes, 0x7c00);
    case DType::f32:
      return first_with_full_exponent<std::uint32_t>(bytes, 0x7f800000);
    case DType::f64:
      return first_with_full_exponent<std::uint64_t>(bytes, 0x7ff0000000000000);
    default:
      return -1;
  }
}

}  // namespace octet
