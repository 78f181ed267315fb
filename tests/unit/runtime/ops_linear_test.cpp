// Linears of every weight form, on every instruction set, against the reference backend.

#include <cstring>

#include "unit/runtime/ops_support.h"
#include "unit/runtime/ops_weights.h"

namespace octet::ops::test {
namespace {

// Sum of |x| |w| for each output: float32 sums of products differ from the exact ones by a small
// multiple of epsilon times this. The dequantized weight has an error of half an epsilon, each of
// the kBlock steps of a block at most half an epsilon of the running sum, likewise the totals.
std::vector<double> magnitude(const std::vector<float>& x, std::int64_t rows, const LinearPart& p) {
  const auto w = dequantize(p, {0, p.out_features}, {0, p.in_features});
  std::vector<double> m(static_cast<std::size_t>(rows * p.out_features));
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t n = 0; n < p.out_features; ++n)
      for (std::int64_t k = 0; k < p.in_features; ++k)
        m[static_cast<std::size_t>(r * p.out_features + n)] +=
            std::fabs(static_cast<double>(x[static_cast<std::size_t>(r * p.in_features + k)]) *
                      w[static_cast<std::size_t>(n * p.in_features + k)]);
  return m;
}

void expect_like_reference(const std::string& isa, const Weight& w, std::int64_t rows,
                           const std::string& what) {
  Bench fast(isa), reference("reference");
  const auto x = random_values(rows * w.part.in_features, 7);
  const auto expected = run(reference, x, rows, w.part);
  const auto found = run(fast, x, rows, w.part);
  const auto m = magnitude(x, rows, w.part);
  const double steps = 3.0 + std::sqrt(128.0) + static_cast<double>(w.part.in_features) / 128.0;
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_LE(std::fabs(found[i] - expected[i]), steps * 6e-8 * m[i] + 1e-30)
        << isa << " " << what << " rows " << rows << " element " << i;
}

class LinearTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Isas, LinearTest, testing::ValuesIn(isas()),
                         [](const auto& isa) { return isa.param; });

constexpr std::int64_t kRows[] = {1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 31};

TEST_P(LinearTest, DenseWeightsOfEveryType) {
  for (const DType type : {DType::bf16, DType::f16, DType::f32})
    for (const auto& [n, k] :
         {std::pair{1, 32}, {15, 33}, {16, 128}, {17, 160}, {83, 257}, {96, 640}})
      for (const std::int64_t rows : kRows)
        expect_like_reference(GetParam(), dense(n, k, type, 1), rows,
                              fmt::format("{} {}x{}", to_string(type), n, k));
}

TEST_P(LinearTest, CodesOfEveryForm) {
  for (const CodeForm& form : {CodeForm{},
                               {.group_size = 64},
                               {.group_size = 128},
                               {.group_size = -1},
                               {.group_size = 16},
                               {.zeros = true},
                               {.f32_scales = true},
                               {.zeros = true, .f32_scales = true},
                               {.act_order = true},
                               {.group_size = 128, .zeros = true, .act_order = true}})
    for (const auto& [n, k] : {std::pair{32, 256}, {40, 384}, {7, 128}, {96, 640}})
      for (const std::int64_t rows : {1, 3, 5, 14})
        expect_like_reference(GetParam(), codes(n, k, form, 2), rows,
                              fmt::format("codes group {} zeros {} order {} {}x{}", form.group_size,
                                          form.zeros, form.act_order, n, k));
}

TEST_P(LinearTest, GroupsThatPanelsCannotHoldAreUnpacked) {
  expect_like_reference(GetParam(), codes(20, 96, {.group_size = 6}, 3), 3, "group 6");
}

TEST_P(LinearTest, RowsDoNotDependOnTheirNeighboursOrOnThreads) {
  for (const Weight& w : {dense(200, 352, DType::bf16, 4), dense(200, 352, DType::f32, 4),
                          codes(200, 352, {}, 4), codes(200, 352, {.zeros = true}, 4)}) {
    constexpr std::int64_t kAll = 29;
    const auto x = random_values(kAll * w.part.in_features, 8);
    Bench one(GetParam(), 1), three(GetParam(), 3);
    const auto all = run(one, x, kAll, w.part);
    EXPECT_EQ(all, run(three, x, kAll, w.part));
    for (const std::int64_t rows : {1, 2, 3, 4, 5, 6, 8, 9, 11, 16, 17})
      for (std::int64_t first = 0; first + rows <= kAll; first += rows) {
        const std::vector<float> part(x.begin() + first * w.part.in_features,
                                      x.begin() + (first + rows) * w.part.in_features);
        const auto found = run(three, part, rows, w.part);
        ASSERT_EQ(0, std::memcmp(found.data(), all.data() + first * w.part.out_features,
                                 found.size() * sizeof(float)))
            << "rows " << first << " + " << rows;
      }
  }
}

TEST_P(LinearTest, StackedPartsAreSideBySide) {
  Bench bench(GetParam());
  const Weight a = codes(40, 96, {}, 5), b = dense(12, 96, DType::bf16, 6);
  const LinearPart parts[] = {a.part, b.part};
  const auto packed = bench.backend->pack_linear(parts);
  EXPECT_EQ(packed->out_features(), 52);
  const auto x = random_values(3 * 96, 9);
  const Tensor in = bench.put(x, {3, 96}), out = bench.empty({3, 52});
  bench.backend->linear(in, *packed, out);
  const auto all = bench.get(out), first = run(bench, x, 3, a.part),
             second = run(bench, x, 3, b.part);
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t i = 0; i < 40; ++i) EXPECT_EQ(all[r * 52 + i], first[r * 40 + i]);
    for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(all[r * 52 + 40 + i], second[r * 12 + i]);
  }
}

TEST_P(LinearTest, RanksHoldSlices) {
  Bench bench(GetParam());
  for (const Weight& w : {codes(64, 256, {}, 10), codes(64, 256, {.act_order = true}, 10),
                          dense(64, 256, DType::bf16, 10)}) {
    const auto x = random_values(2 * 256, 11);
    const auto whole = run(bench, x, 2, w.part);
    std::vector<float> sums(whole.size()), joined(whole.size());
    for (int rank = 0; rank < 4; ++rank) {
      const auto rows = bench.backend->pack_linear({&w.part, 1}, {Split::rows, rank, 4});
      EXPECT_EQ(rows->out_features(), 16);
      Tensor out = bench.empty({2, 16});
      bench.backend->linear(bench.put(x, {2, 256}), *rows, out);
      const auto piece = bench.get(out);
      for (std::size_t r = 0; r < 2; ++r)
        for (std::size_t i = 0; i < 16; ++i)
          joined[r * 64 + static_cast<std::size_t>(rank) * 16 + i] = piece[r * 16 + i];

      const auto columns = bench.backend->pack_linear({&w.part, 1}, {Split::columns, rank, 4});
      EXPECT_EQ(columns->in_features(), 64);
      EXPECT_EQ(columns->split(), Split::columns);
      std::vector<float> share;
      for (int r = 0; r < 2; ++r)
        share.insert(share.end(), x.begin() + r * 256 + rank * 64,
                     x.begin() + r * 256 + (rank + 1) * 64);
      out = bench.empty({2, 64});
      bench.backend->linear(bench.put(share, {2, 64}), *columns, out);
      const auto part = bench.get(out);
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += part[i];
    }
    EXPECT_EQ(joined, whole);
    EXPECT_LT(worst_relative(sums, whole, 1.0), 1e-5);
  }
}

TEST(LinearErrors, ShapesThatDoNotFit) {
  Bench bench("generic");
  const Weight a = dense(8, 32, DType::bf16, 1), b = dense(8, 64, DType::bf16, 1);
  const LinearPart parts[] = {a.part, b.part};
  EXPECT_THROW(bench.backend->pack_linear(parts), Error);
  EXPECT_THROW(bench.backend->pack_linear({&a.part, 1}, {Split::rows, 0, 3}), Error);
  const Weight q = codes(8, 96, {}, 1);
  EXPECT_THROW(bench.backend->pack_linear({&q.part, 1}, {Split::columns, 0, 2}), Error);
}

}  // namespace
}  // namespace octet::ops::test
