// Linears with inputs rounded to int8: against their definition (int8_linear.inl) written out here,
// bit by bit; the generic set multiplies and adds in two steps.

#include <cstring>

#include "unit/runtime/ops_support.h"
#include "unit/runtime/ops_weights.h"

namespace octet::ops::test {
namespace {

constexpr std::int64_t kGroup = 32;

// What the definition says, with scale and zero as the weight has them.
std::vector<float> defined(const std::vector<float>& x, std::int64_t rows, const LinearPart& part,
                           const std::string& activations, bool fused) {
  const float levels = activations == "int8" ? 127.0f : 127.0f * 128.0f;
  const std::int64_t n = part.out_features, k = part.in_features;
  const QuantizedWeight& q = part.codes;
  const auto* codes = reinterpret_cast<const std::uint8_t*>(q.codes);
  std::vector<float> y(static_cast<std::size_t>(rows * n));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < k / kGroup; ++g) {
      const float* in = x.data() + r * k + g * kGroup;
      float largest = 0;
      for (int i = 0; i < kGroup; ++i) largest = std::max(largest, std::fabs(in[i]));
      if (largest <= 1e-30f) largest = 0;
      const float inverse = largest > 0 ? levels / largest : 0.0f;
      int rounded[kGroup];
      for (int i = 0; i < kGroup; ++i)
        rounded[i] = inverse > 0 ? static_cast<int>(std::nearbyint(in[i] * inverse)) : 0;
      const float scale = largest / levels;
      for (std::int64_t o = 0; o < n; ++o) {
        int sum = 0;
        for (std::int64_t i = 0; i < kGroup; ++i) {
          const std::int64_t f = g * kGroup + i;
          sum += (codes[(f / 4 * n + o) * 4 + f % 4] - 128) * rounded[i];
        }
        const float weight = q.scales[static_cast<std::size_t>(g * kGroup / q.group_size * n + o)];
        float& total = y[static_cast<std::size_t>(r * n + o)];
        const float factor = weight * scale, product = static_cast<float>(sum) * factor;
        total = fused ? std::fma(static_cast<float>(sum), factor, total) : total + product;
      }
    }
  return y;
}

// Symmetric weights of fewer bits, one zero point everywhere, and the same values as 8-bit codes.
std::pair<Weight, Weight> fewer_bits(std::int64_t n, std::int64_t k, const CodeForm& form) {
  std::pair<Weight, Weight> pair{codes(n, k, form, 5), codes(n, k, form, 5)};
  auto& [w, wide] = pair;
  for (std::byte& b : wide.data)
    b = static_cast<std::byte>(static_cast<int>(b) + 128 - (1 << (form.bits - 1)));
  wide.part.codes.zeros.clear();
  return pair;
}

// Instruction set and what inputs are rounded to.
class Int8Test : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  std::string isa = std::get<0>(GetParam()), activations = std::get<1>(GetParam());
  Bench bench{{.backend = "cpu", .isa = isa, .activations = activations}, 2};
  std::vector<float> expected(const std::vector<float>& x, std::int64_t rows, const Weight& w) {
    return defined(x, rows, w.part, activations, isa != "generic");
  }
};
INSTANTIATE_TEST_SUITE_P(
    Isas, Int8Test, testing::Combine(testing::ValuesIn(isas()), testing::Values("int8", "int16")),
    [](const auto& p) { return std::get<0>(p.param) + "_" + std::get<1>(p.param); });

TEST_P(Int8Test, EqualsItsDefinition) {
  for (const CodeForm& form : {CodeForm{},
                               {.group_size = 64},
                               {.group_size = 128},
                               {.group_size = -1},
                               {.f32_scales = true}})
    for (const auto& [n, k] : {std::pair{32, 256}, {40, 384}, {7, 128}, {96, 640}, {161, 128}})
      for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17}) {
        const Weight w = codes(n, k, form, 2);
        auto x = random_values(rows * k, 7);
        for (std::int64_t i = 0; i < 40; ++i) x[static_cast<std::size_t>(i)] = 0;  // a whole group
        const auto found = run(bench, x, rows, w.part);
        const auto wanted = expected(x, rows, w);
        for (std::size_t i = 0; i < found.size(); ++i)
          ASSERT_EQ(found[i], wanted[i]) << n << "x" << k << " rows " << rows << " at " << i;
      }
}

// Largest codes on both sides: where a 16-bit step would overflow, for every kind of tile. The
// second pattern has high terms of 127 beside low terms of both signs.
TEST_P(Int8Test, ExtremesDoNotSaturate) {
  for (const int bits : {4, 8})
    for (const std::uint8_t code : {0, 1, 8, 15, 127, 128, 255}) {
      if (bits == 4 && code > 15) continue;
      auto [w, wide] = fewer_bits(16, 64, {.bits = bits});
      std::ranges::fill(w.data, static_cast<std::byte>(code));
      std::ranges::fill(wide.data, static_cast<std::byte>(code + 128 - (1 << (bits - 1))));
      for (const std::int64_t rows : {1, 3, 6, 8, 9, 17})
        for (const float sign : {1.0f, -1.0f})
          for (const float step : {0.0f, 0.0037f}) {
            std::vector<float> x(static_cast<std::size_t>(64 * rows), sign);
            for (std::size_t i = 0; i < x.size(); ++i)
              x[i] -= sign * step * static_cast<float>(i % 5);
            ASSERT_EQ(run(bench, x, rows, w.part), expected(x, rows, wide))
                << bits << " bits, code " << int{code} << ", rows " << rows;
          }
    }
}

// More rows than stay in the cache of a core with inputs this wide.
TEST_P(Int8Test, ManyWideRows) {
  constexpr std::int64_t kRows = 70, kIn = 16384;
  const Weight w = codes(16, kIn, {}, 3);
  const auto x = random_values(kRows * kIn, 4);
  EXPECT_EQ(run(bench, x, kRows, w.part), expected(x, kRows, w));
}

// A sampler must see that something went wrong, wherever it did.
TEST_P(Int8Test, WhatIsNotFiniteStaysSo) {
  const Weight w = codes(16, 96, {}, 2);
  for (const float bad : {NAN, INFINITY, -INFINITY})
    for (std::size_t lane = 0; lane < 96; lane += 5) {
      auto x = random_values(2 * 96, 3);
      x[lane] = bad;
      const auto y = run(bench, x, 2, w.part);
      for (std::size_t n = 0; n < 16; ++n) {
        EXPECT_TRUE(std::isnan(y[n])) << lane;
        EXPECT_TRUE(std::isfinite(y[16 + n])) << lane;
      }
    }
}

TEST_P(Int8Test, TinyInputsCountAsZero) {
  const Weight w = codes(16, 64, {}, 2);
  for (const float size : {1e-45f, 1e-38f, 2e-35f, 1e-31f, 1e-29f}) {
    const auto x = random_values(64, 3, size);
    EXPECT_EQ(run(bench, x, 1, w.part), expected(x, 1, w)) << size;
  }
}

// Up to four bits are kept in half bytes: bit for bit the result of 8-bit codes, rounded or not.
TEST_P(Int8Test, FewerBitsGiveTheSame) {
  Bench exact(isa);
  for (const int bits : {2, 3, 4, 7})
    for (const CodeForm& form : {CodeForm{.bits = bits},
                                 {.group_size = 64, .bits = bits},
                                 {.group_size = -1, .bits = bits},
                                 {.f32_scales = true, .bits = bits},
                                 {.act_order = true, .bits = bits},
                                 {.group_size = 16, .bits = bits}})
      for (const std::int64_t n : {7, 16, 40, 83})
        for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 8, 9, 13, 17}) {
          const auto [w, wide] = fewer_bits(n, 384, form);
          const auto x = random_values(rows * 384, 6);
          ASSERT_EQ(run(bench, x, rows, w.part), run(bench, x, rows, wide.part))
              << bits << " " << n;
          // Without fused multiply-adds, 8 and 128 times a scale are not rounded alike.
          if (isa == "generic") continue;
          ASSERT_EQ(run(exact, x, rows, w.part), run(exact, x, rows, wide.part))
              << bits << " " << n;
        }
  const auto [w, wide] = fewer_bits(40, 256, {.bits = 4});
  const auto x = random_values(7 * 256, 6);
  EXPECT_EQ(run(bench, x, 7, w.part), expected(x, 7, wide));
}

TEST_P(Int8Test, FourBitsTakeHalfTheBytes) {
  const auto [w, wide] = fewer_bits(64, 256, {.bits = 4});
  const auto half = bench.backend->pack_linear({&w.part, 1}),
             whole = bench.backend->pack_linear({&wide.part, 1});
  EXPECT_EQ(whole->bytes(), 64 * 256 + 64 * 8 * 2);
  EXPECT_EQ(half->bytes(), 64 * 256 / 2 + 64 * 8 * 2);
}

TEST_P(Int8Test, ARowIsTheSameBitsInAnyCompany) {
  constexpr std::int64_t kAll = 40;
  const BackendOptions options{.backend = "cpu", .isa = isa, .activations = activations};
  Bench one(options, 1), three(options, 3);
  const Weight w = codes(83, 384, {}, 4);
  const auto x = random_values(kAll * 384, 8);
  const auto all = run(one, x, kAll, w.part);
  for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 17})
    for (std::int64_t first = 0; first + rows <= kAll; first += rows) {
      const std::vector<float> part(x.begin() + first * 384, x.begin() + (first + rows) * 384);
      const auto found = run(three, part, rows, w.part);
      ASSERT_EQ(0, std::memcmp(found.data(), all.data() + first * 83, found.size() * sizeof(float)))
          << "rows " << first << " + " << rows;
    }
}

// Within what rounding to 127 (or 128 times as many) steps of the largest of 32 can do.
TEST_P(Int8Test, IsNearTheExactResult) {
  Bench exact(isa);
  for (const CodeForm& form : {CodeForm{}, {.act_order = true}}) {
    const Weight w = codes(64, 512, form, 5);
    const auto x = random_values(9 * 512, 6);
    const auto a = run(bench, x, 9, w.part), b = run(exact, x, 9, w.part);
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      error += (a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
      norm += b[i] * static_cast<double>(b[i]);
    }
    EXPECT_GT(error, 0);
    EXPECT_LT(std::sqrt(error / norm), activations == "int8" ? 0.01 : 0.0001);
  }
}

// Zero points of a group's own, small groups and dense weights take the exact path.
TEST_P(Int8Test, OtherWeightsAreNotRounded) {
  Bench exact(isa);
  for (const Weight& w : {codes(40, 256, {.zeros = true}, 5), codes(40, 256, {.group_size = 16}, 5),
                          dense(40, 256, DType::bf16, 5)}) {
    const auto x = random_values(3 * 256, 6);
    EXPECT_EQ(run(bench, x, 3, w.part), run(exact, x, 3, w.part));
  }
  // Side by side with one that is.
  const Weight a = codes(40, 96, {}, 5), b = dense(12, 96, DType::bf16, 6);
  const LinearPart parts[] = {a.part, b.part};
  const auto packed = bench.backend->pack_linear(parts);
  const auto x = random_values(3 * 96, 9);
  const Tensor out = bench.empty({3, 52});
  bench.backend->linear(bench.put(x, {3, 96}), *packed, out);
  const auto all = bench.get(out), first = run(bench, x, 3, a.part),
             second = run(exact, x, 3, b.part);
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(all[r * 52 + i], first[r * 40 + i]);
    for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(all[r * 52 + 40 + i], second[r * 12 + i]);
  }
}

// Each input of a quantized linear to the nearest bfloat16, and nothing else changes.
TEST(Bf16Inputs, AreRoundedOneByOne) {
  const std::int64_t rows = 3, k = 96;
  const auto x = random_values(rows * k, 6);
  auto rounded = x;
  for (float& v : rounded) v = bf16_to_float(float_to_bf16(v));
  for (const std::string& isa : isas()) {
    Bench bench({.backend = "cpu", .isa = isa, .activations = "bf16"}, 2), exact(isa);
    for (const Weight& w :
         {codes(40, k, {}, 5), codes(40, k, {.act_order = true}, 5), codes(40, k, {.bits = 4}, 5)})
      EXPECT_EQ(run(bench, x, rows, w.part), run(exact, rounded, rows, w.part)) << isa;
    const Weight d = dense(40, k, DType::bf16, 5);
    EXPECT_EQ(run(bench, x, rows, d.part), run(exact, x, rows, d.part)) << isa;
  }
}

TEST(Int8Errors, TheReferenceRoundsNothing) {
  ThreadPool pool(1);
  EXPECT_THROW(make_backend({.backend = "reference", .activations = "int8"}, pool), Error);
  EXPECT_THROW(make_backend({.backend = "cpu", .activations = "int7"}, pool), Error);
}

}  // namespace
}  // namespace octet::ops::test
