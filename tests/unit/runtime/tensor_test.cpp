#include "runtime/tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>

namespace octet {
namespace {

TEST(DType, HalvesRoundTrip) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float f = f16_to_float(bits), b = bf16_to_float(bits);
    const std::uint16_t f_again = float_to_f16(f), b_again = float_to_bf16(b);
    ASSERT_TRUE(std::isnan(f) ? std::isnan(f16_to_float(f_again)) : f_again == bits) << i;
    ASSERT_TRUE(std::isnan(b) ? std::isnan(bf16_to_float(b_again)) : b_again == bits) << i;
  }
}

// Between two neighbours the nearer one, the even one at the middle.
TEST(DType, HalvesRoundToNearestEven) {
  for (std::uint32_t i = 0; i < 0x7bff; ++i) {
    const auto low = static_cast<std::uint16_t>(i), high = static_cast<std::uint16_t>(i + 1);
    const double a = f16_to_float(low), b = f16_to_float(high), middle = (a + b) / 2;
    const std::uint16_t even = i % 2 == 0 ? low : high;
    ASSERT_EQ(float_to_f16(static_cast<float>(middle)), even) << i;
    ASSERT_EQ(float_to_f16(std::nextafter(static_cast<float>(middle), 0.0f)), low) << i;
    ASSERT_EQ(float_to_f16(std::nextafter(static_cast<float>(middle), 1e9f)), high) << i;
  }
  EXPECT_EQ(float_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(float_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
}

TEST(DType, Names) {
  for (const char* name : {"F32", "F16", "BF16", "I32", "I64", "U8", "F8_E4M3", "BOOL"})
    EXPECT_EQ(to_string(*parse_dtype(name)), name);
  EXPECT_FALSE(parse_dtype("F4"));
  EXPECT_EQ(dtype_bytes(DType::bf16), 2u);
}

TEST(Tensor, OwnsAndMoves) {
  Tensor a = make_host_tensor(DType::f32, {3, 4});
  a.view().as<float>()[11] = 5;
  Tensor b = std::move(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(b.view().as<float>()[11], 5);
  EXPECT_EQ(b.view().rows(2, 1).as<float>()[3], 5);
  EXPECT_EQ(b.view().reshaped({12}).dim(0), 12);
  EXPECT_THROW(b.view().rows(2, 2), Error);
  EXPECT_THROW(b.view().reshaped({13}), Error);
  EXPECT_THROW(b.view().as<double>(), Error);
  EXPECT_EQ(make_host_tensor(DType::u8, {0}).view().bytes(), 0u);
}

TEST(Tensor, LargeBlocksAreAlignedAndZero) {
  const Tensor t = make_host_tensor(DType::u8, {5 << 20});
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.view().data()) % (2u << 20), 0u);
  for (int i = 0; i < 5 << 20; i += 4096) ASSERT_EQ(t.view().as<std::uint8_t>()[i], 0);
}

}  // namespace
}  // namespace octet
