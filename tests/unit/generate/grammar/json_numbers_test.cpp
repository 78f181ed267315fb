#include "generate/grammar/json_numbers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "recognizer.h"

namespace octet::generate::grammar {
namespace {

NumberBound bound(const json::value& v, bool exclusive = false) {
  return {to_decimal(v), exclusive};
}

bool in_language(const NodePtr& node, const std::string& text) {
  const Rules none;
  return node && Recognizer(none, node).matches(text);
}

TEST(JsonNumbers, DecimalsOfJsonNumbers) {
  const auto shown = [](const json::value& v) {
    const Decimal d = to_decimal(v);
    return fmt::format("{}{}.{}", d.negative ? "-" : "", d.whole, d.fraction);
  };
  EXPECT_EQ(shown(0), "0.");
  EXPECT_EQ(shown(-0.0), "0.");
  EXPECT_EQ(shown(-17), "-17.");
  EXPECT_EQ(shown(18446744073709551615u), "18446744073709551615.");
  EXPECT_EQ(shown(0.1), "0.1");
  EXPECT_EQ(shown(-12.5), "-12.5");
  EXPECT_EQ(shown(1e-7), "0.0000001");
  EXPECT_EQ(shown(1.25e20), "125000000000000000000.");
  EXPECT_EQ(to_decimal(5e-324).fraction.size(), 324u);
}

TEST(JsonNumbers, OrderOfDecimals) {
  const double values[]{-1e30, -100, -10.5, -10.25, -1, -0.5, -0.05, 0, 0.05, 0.5, 1, 9, 10, 10.5, 1e30};
  for (const double a : values)
    for (const double b : values)
      EXPECT_EQ(compare(to_decimal(a), to_decimal(b)) < 0, a < b) << a << " " << b;
}

// Every integer near a window, and only those of the window.
TEST(JsonNumbers, IntegersOfWindowsExactly) {
  std::mt19937 rng(1);
  for (int round = 0; round < 300; ++round) {
    const std::int64_t spread = round % 3 == 0 ? 12 : round % 3 == 1 ? 150 : 2200;
    std::uniform_int_distribution<std::int64_t> pick(-spread, spread);
    std::int64_t a = pick(rng), b = pick(rng);
    if (a > b) std::swap(a, b);
    const bool open_below = round % 7 == 1, open_above = round % 7 == 2;
    const bool ex_a = rng() % 4 == 0, ex_b = rng() % 4 == 0;
    const NodePtr node = integer_between(
        open_below ? std::nullopt : std::optional(bound(a, ex_a)),
        open_above ? std::nullopt : std::optional(bound(b, ex_b)));
    const std::int64_t step = spread > 200 ? 7 : 1;
    for (std::int64_t v = a - 30 * step; v <= b + 30 * step; v += step) {
      const bool expected =
          (open_below || (ex_a ? v > a : v >= a)) && (open_above || (ex_b ? v < b : v <= b));
      ASSERT_EQ(in_language(node, std::to_string(v)), expected) << v << " in " << a << " " << b;
    }
    for (const char* bad : {"", "-", "-0", "00", "01", "1.0", "+1", "1e2"})
      ASSERT_FALSE(in_language(node, bad)) << bad << " in " << a << " " << b;
  }
}

TEST(JsonNumbers, EmptyWindowsAreNull) {
  EXPECT_EQ(integer_between(bound(3), bound(2)), nullptr);
  EXPECT_EQ(integer_between(bound(-2), bound(-3)), nullptr);
  EXPECT_EQ(integer_between(bound(2, true), bound(3, true)), nullptr);
  EXPECT_EQ(integer_between(bound(0.1), bound(0.9)), nullptr);
  EXPECT_EQ(number_between(bound(3), bound(2)), nullptr);
  EXPECT_EQ(number_between(bound(2, true), bound(2)), nullptr);
  EXPECT_NE(number_between(bound(2), bound(2)), nullptr);
}

TEST(JsonNumbers, FractionsBoundIntegersToo) {
  const NodePtr node = integer_between(bound(-2.5), bound(2.5));
  EXPECT_TRUE(in_language(node, "-2"));
  EXPECT_FALSE(in_language(node, "-3"));
  EXPECT_TRUE(in_language(node, "2"));
  EXPECT_FALSE(in_language(node, "3"));
  const NodePtr small = integer_between(bound(-0.5), bound(0.5));
  EXPECT_TRUE(in_language(small, "0"));
  EXPECT_FALSE(in_language(small, "-1"));
}

TEST(JsonNumbers, BoundsBeyondSixtyFourBits) {
  const NodePtr node = integer_between(bound(18446744073709551615u), bound(1e25));
  EXPECT_TRUE(in_language(node, "18446744073709551615"));
  EXPECT_FALSE(in_language(node, "18446744073709551614"));
  EXPECT_TRUE(in_language(node, "10000000000000000000000000"));
  EXPECT_FALSE(in_language(node, "10000000000000000000000001"));
}

// Decimals with up to four places against windows with up to three.
TEST(JsonNumbers, NumbersOfWindowsExactly) {
  std::mt19937 rng(2);
  for (int round = 0; round < 400; ++round) {
    const int range = round % 2 ? 3000 : 120;
    std::uniform_int_distribution<int> pick(-range, range);
    int a = pick(rng), b = pick(rng);  // thousandths
    if (a > b) std::swap(a, b);
    if (round % 11 == 0) a = 0;
    if (round % 13 == 0) b = 0;
    if (a > b) std::swap(a, b);
    const bool ex_a = rng() % 3 == 0, ex_b = rng() % 3 == 0;
    const bool open_below = round % 7 == 1, open_above = round % 7 == 2;
    const NodePtr node = number_between(
        open_below ? std::nullopt : std::optional(bound(a / 1000.0, ex_a)),
        open_above ? std::nullopt : std::optional(bound(b / 1000.0, ex_b)));
    for (int i = 0; i < 200; ++i) {
      // Ten-thousandths near the window, written with one to six places.
      const int around = i % 4 == 0 ? a * 10 : i % 4 == 1 ? b * 10 : i % 4 == 2 ? 0 : pick(rng) * 10;
      const int v = around + static_cast<int>(rng() % 9) - 4;
      if (v == 0 && i % 2) continue;
      std::string text = fmt::format("{}{}.{:04d}", v < 0 ? "-" : "", std::abs(v) / 10000,
                                     std::abs(v) % 10000);
      if (i % 3 == 0) text += "00";
      if (i % 3 == 1) {
        while (text.back() == '0') text.pop_back();
        if (text.back() == '.') text.pop_back();
      }
      const bool expected = (open_below || (ex_a ? v > a * 10 : v >= a * 10)) &&
                            (open_above || (ex_b ? v < b * 10 : v <= b * 10));
      ASSERT_EQ(in_language(node, text), expected)
          << text << " in " << a << (ex_a ? "(ex) " : " ") << b << (ex_b ? "(ex)" : "");
    }
    for (const char* bad : {"", "-", ".5", "1.", "-.5", "00.1", "1e0", "-0"})
      ASSERT_FALSE(in_language(node, bad)) << bad;
  }
}

TEST(JsonNumbers, AnyNumber) {
  const NodePtr number = number_between({}, {});
  for (const char* good : {"0", "-0", "1", "-12.5", "1e5", "1E-5", "0.0e+10", "123456789012345678901234567890"})
    EXPECT_TRUE(in_language(number, good)) << good;
  for (const char* bad : {"", "-", "01", "1.", ".5", "1e", "+1", "1e1.5", "0x10", "NaN", "Infinity"})
    EXPECT_FALSE(in_language(number, bad)) << bad;
  // A model that repeats a digit for ever comes to an end.
  EXPECT_FALSE(in_language(number, "0." + std::string(21, '3')));
  EXPECT_FALSE(in_language(integer_between({}, {}), std::string(41, '3')));
}

}  // namespace
}  // namespace octet::generate::grammar
