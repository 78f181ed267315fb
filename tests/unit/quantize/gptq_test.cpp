// The quantizer, the Hessian and the GPTQ solver against worked examples and the golden cases.

#include "quantize/gptq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "checkpoint/gptq_format.h"
#include "quantize/factor.h"
#include "quantize/hessian.h"
#include "runtime/base/error.h"
#include "runtime/base/thread_pool.h"
#include "runtime/tensor/dtype.h"
#include "support/golden_tensors.h"
#include "support/support.h"

namespace octet::quantize {
namespace {

// docs/quantization.md, worked example: w[k] = (((37 k) mod 64) - 31) / 64.
TEST(Quantizer, WorkedExampleOfEveryWidth) {
  std::vector<float> w;
  for (int k = 0; k < 32; ++k) w.push_back(static_cast<float>((k * 37) % 64 - 31) / 64);
  struct Row {
    int bits;
    double scale;
    std::uint16_t half;
    std::vector<int> first;
    std::vector<std::uint32_t> words;
  };
  const Row rows[] = {
      {8,
       0.0039215689,
       0x1C04,
       {4, 152, 44, 192, 84, 232, 124, 16},
       {0xC02C9804, 0x107CE854, 0x60CC38A4, 0xB01C88F4, 0xFF6CD844, 0x50BC2894, 0xA00C78E4,
        0xF05CC834}},
      {4,
       0.0666666701,
       0x2C44,
       {1, 9, 3, 12, 5, 14, 8, 1},
       {0x18E5C391, 0xB28F6C4A, 0x5C39F7D4, 0xF6C4A18E}},
      {3, 0.1428571492, 0x3092, {1, 5, 2, 6, 3, 7, 4, 1}, {0x9533BCA9, 0x5EF2A677, 0xEF2A6779}},
      {2, 0.3333333433, 0x3555, {1, 2, 1, 3, 1, 3, 2, 1}, {0xDBB66DD9, 0xED9B76ED}}};
  for (const Row& row : rows) {
    // 32 equal outputs, since packing wants whole words of zeros.
    std::vector<float> weight;
    for (int n = 0; n < 32; ++n) weight.insert(weight.end(), w.begin(), w.end());
    const auto q =
        quantize_rtn(weight, 32, 32, 32, {.bits = row.bits, .to_f16 = false, .search = false});
    EXPECT_NEAR(q.scales[0], row.scale, 1e-9);
    EXPECT_EQ(float_to_f16(q.scales[0]), row.half);
    for (std::size_t i = 0; i < row.first.size(); ++i) EXPECT_EQ(q.codes[i], row.first[i]) << i;
    const auto packed = checkpoint::pack_gptq(q.codes, q.scales, 32, 32, row.bits, 32);
    for (std::size_t i = 0; i < row.words.size(); ++i) {
      std::uint32_t word;
      std::memcpy(&word, packed.qweight.data() + i * 32 * 4, 4);
      EXPECT_EQ(word, row.words[i]) << row.bits << " bits, word " << i;
    }
  }
}

// The scale found is a float16 number, no worse than the one of the largest weight, and no worse
// much worse than the best of a ten times finer grid.
TEST(Quantizer, SearchesTheScaleOfLeastWeightedError) {
  std::mt19937 rng(7);
  std::normal_distribution<float> normal;
  int better = 0;
  for (const int bits : {8, 4})
    for (int round = 0; round < 50; ++round) {
      std::vector<float> w(32), importance(32);
      for (float& v : w) v = 0.02f * normal(rng);
      for (float& v : importance) v = std::exp(2 * normal(rng));
      const auto error = [&](float scale) {
        const int zero = 1 << (bits - 1);
        double sum = 0;
        for (std::size_t i = 0; i < w.size(); ++i) {
          const double e = w[i] - static_cast<double>(scale) *
                                      (nearest_code(w[i], scale, zero, 2 * zero - 1) - zero);
          sum += importance[i] * e * e;
        }
        return sum;
      };
      const float plain = group_scale(w, {.bits = bits, .search = false});
      const float found = group_scale(w, {.bits = bits}, importance);
      EXPECT_EQ(f16_to_float(float_to_f16(found)), found);
      EXPECT_LE(error(found), error(plain) * 1.0001);
      better += error(found) < 0.95 * error(plain);
      // By brute force over the same range, to a finer grid than the search's.
      double least = error(found);
      const float absmax = group_scale(w, {.bits = bits, .to_f16 = false, .search = false});
      for (int i = 0; i <= 500; ++i) {
        const float share =
            (bits == 8 ? 0.94f : 0.5f) + static_cast<float>(i) / 500 * (bits == 8 ? 0.12f : 0.6f);
        least = std::min(least, error(f16_to_float(float_to_f16(absmax * share))));
      }
      EXPECT_LE(error(found), least * 1.6) << bits << " bits";
    }
  EXPECT_GT(better, 50);  // of 100
}

TEST(Quantizer, OddGroups) {
  const ScaleRule rule;
  EXPECT_GT(group_scale(std::vector<float>(32, 0.0f), rule), 0);
  EXPECT_GT(group_scale(std::vector<float>(32, 1e-12f), rule), 0);  // below the smallest float16
  const std::vector<float> positive(32, 0.5f);
  EXPECT_NEAR(group_scale(positive, {.to_f16 = false, .search = false}), 1.0 / 255, 1e-9);
  EXPECT_NEAR(group_scale(positive, {.to_f16 = false, .reference_quirk = true, .search = false}),
              0.5 / 255, 1e-9);
  EXPECT_GT(group_scale(std::vector<float>(32, 1e-12f), {.search = false}), 0);
  EXPECT_EQ(nearest_code(0.5f, 1.0f, 128, 255), 128);  // halves to even
  EXPECT_EQ(nearest_code(1.5f, 1.0f, 128, 255), 130);
  EXPECT_EQ(nearest_code(-1e30f, 1e-3f, 128, 255), 0);
}

// The small case with inputs and weights given by formulas: K 8, groups of 4, 4 bits, 12 tokens.
struct SmallCase {
  std::vector<float> weight;
  std::vector<double> hessian;
  SmallCase() {
    for (int r = 0; r < 3; ++r)
      for (int k = 0; k < 8; ++k)
        weight.push_back(static_cast<float>((29 * k + 17 * r) % 32 - 15) / 32);
    hessian.resize(64);
    for (int t = 0; t < 12; ++t) {
      double x[8];
      for (int k = 0; k < 8; ++k)
        x[k] = ((3 * t * t + 5 * k + 7 * t * k) % 11 - 5) * (1 + (3 * k) % 4);
      for (int i = 0; i < 8; ++i)
        for (int j = 0; j < 8; ++j)
          hessian[static_cast<std::size_t>(8 * i + j)] += 2.0 / 12 * x[i] * x[j];
    }
  }
};

TEST(Gptq, SmallCaseFactor) {
  ThreadPool pool(2);
  const SmallCase c;
  const double diag[] = {20.6667, 264, 169.5, 44.6667, 26.5, 333.3333, 129, 86.6667};
  auto h = c.hessian;
  double mean = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(h[9 * i], diag[i], 1e-4);
    mean += h[9 * i] / 8;
  }
  for (std::size_t i = 0; i < 8; ++i) h[9 * i] += 0.05 * mean;
  const auto u = inverse_factor(h, 8, pool);
  ASSERT_TRUE(u);
  const double expected[] = {.254508464, .076053924, .088994179, .175291826,
                             .224084866, .061312186, .086417546, .103483274};
  const double first[] = {.254508464, .012150130, .053401684, -.030966333,
                          .020681545, .008851122, .008949910, -.020555024};
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR((*u)[9 * i], expected[i], 1e-8);
    EXPECT_NEAR((*u)[i], first[i], 1e-8);
  }
  std::vector<double> indefinite{1, 2, 2, 1};
  EXPECT_FALSE(inverse_factor(indefinite, 2, pool));
}

TEST(Gptq, SmallCaseVariants) {
  struct Row {
    const char* name;
    GptqOptions options;
    std::vector<int> ints;
    double loss;
  };
  const auto make = [](ColumnOrder order, ScaleSource scales) {
    return GptqOptions{.bits = 4,
                       .group_size = 4,
                       .order = order,
                       .scales = scales,
                       .scale_rule = {.to_f16 = false, .search = false}};
  };
  const Row rows[] = {
      {"stale",
       make(ColumnOrder::natural, ScaleSource::stale),
       {-8, 7, 5, 4, 7, 3, -2, -7, 2, -1, -4, -7, -5, -6, 7, 6, -6, 7, 6, 5, 7, 5, 1, -3},
       .025171568},
      {"fresh",
       make(ColumnOrder::natural, ScaleSource::fresh),
       {-8, 7, 5, 4, 7, 3, -2, -6, 2, -1, -4, -7, -5, -6, 7, 6, -6, 7, 6, 5, 7, 5, 1, -3},
       .022715048},
      {"gar stale",
       make(ColumnOrder::group_aware, ScaleSource::stale),
       {-8, 7, 5, 4, 7, 3, -2, -6, 1, -1, -5, -8, -4, -6, 7, 6, -7, 7, 6, 5, 7, 4, 1, -2},
       .027488946},
      {"gar fresh",
       make(ColumnOrder::group_aware, ScaleSource::fresh),
       {-8, 7, 5, 4, 7, 3, -2, -6, 2, -1, -4, -8, -4, -6, 7, 6, -7, 7, 6, 5, 7, 4, 1, -2},
       .025685195},
      {"desc static",
       make(ColumnOrder::descending, ScaleSource::original),
       {-7, 7, 6, 4, 7, 3, -1, -6, 3, -1, -4, -8, -4, -6, 7, 6, -7, 7, 6, 5, 6, 4, 1, -2},
       .025987341}};
  const SmallCase c;
  ThreadPool pool(2);
  for (const Row& row : rows) {
    GptqReport report;
    const auto q = quantize_gptq(c.weight, 3, 8, c.hessian, 12, row.options, pool, &report);
    for (std::size_t i = 0; i < 24; ++i)
      EXPECT_EQ(static_cast<int>(q.codes[i]) - 8, row.ints[i]) << row.name << " " << i;
    // The example is computed in double; float32 weights move its near ties in the fifth digit.
    EXPECT_NEAR(report.loss / row.loss, 1, 1e-5) << row.name;
  }
  const auto rtn = quantize_rtn(c.weight, 3, 8, 4, {.bits = 4, .to_f16 = false, .search = false});
  const int expected[] = {-8, 7,  6, 4, 7,  3, -2, -6, 2, -1, -4, -8,
                          -5, -6, 7, 6, -6, 7, 6,  5,  7, 4,  1,  -2};
  for (std::size_t i = 0; i < 24; ++i) EXPECT_EQ(static_cast<int>(rtn.codes[i]) - 8, expected[i]);
}

TEST(Gptq, GroupAwareOrder) {
  const std::vector<double> h{1, 5, 2, 3, 9, 4, 8, 7, 6, .5, .25, 10, 2.5, 3.5, 1.5, 4.5};
  EXPECT_EQ(column_order(h, ColumnOrder::group_aware, 4),
            (std::vector<std::int64_t>{11, 8, 9, 10, 4, 6, 7, 5, 1, 3, 2, 0, 15, 13, 12, 14}));
}

// Cases made by a program that GPTQModel's own classes agree with, code by code.
TEST(Gptq, GoldenCases) {
  const test::GoldenTensors golden(test::golden("gptq_cases.safetensors"));
  ThreadPool pool(2);
  int compared = 0;
  const json::value cases = read_json(test::golden("gptq_cases.json"));
  for (const json::value& item : cases.at("cases").as_array()) {
    const auto& o = item.at("options").as_object();
    const auto number = [&](const char* key) { return o.at(key).to_number<double>(); };
    if (number("alpha") != 0 || number("beta") != 0 || number("mse") != 0) continue;
    const std::string name(item.at("name").as_string()), order(o.at("order").as_string()),
        groups(o.at("groups").as_string());
    const auto n = item.at("N").to_number<std::int64_t>(),
               k = item.at("K").to_number<std::int64_t>();
    Hessian hessian(k);
    hessian.add(golden.floats(name + ".X"), pool);
    const std::int64_t tokens = hessian.num_rows();
    const GptqOptions options{
        .bits = o.at("bits").to_number<std::int64_t>(),
        .group_size = o.at("g").to_number<std::int64_t>(),
        .damp_percent = number("damp"),
        .order = order == "natural" ? ColumnOrder::natural
                 : order == "gar"   ? ColumnOrder::group_aware
                                    : ColumnOrder::descending,
        .scales = groups == "stale"   ? ScaleSource::stale
                  : groups == "fresh" ? ScaleSource::fresh
                                      : ScaleSource::original,
        .block = o.at("block").to_number<std::int64_t>(),
        .scale_rule = {.to_f16 = false, .reference_quirk = true, .search = false}};
    GptqReport report;
    const auto q = quantize_gptq(golden.floats(name + ".W"), n, k, hessian.take(), tokens, options,
                                 pool, &report);
    const auto codes = golden.read<std::uint8_t>(name + ".codes", DType::u8);
    const auto ties = golden.floats(name + ".row_tie");
    int rows = 0;
    for (std::int64_t r = 0; r < n; ++r) {
      if (ties[static_cast<std::size_t>(r)] < 2e-5) continue;  // a tie may fall either way
      ++rows;
      for (std::int64_t i = 0; i < k; ++i)
        ASSERT_EQ(q.codes[static_cast<std::size_t>(r * k + i)],
                  codes[static_cast<std::size_t>(r * k + i)])
            << name << " row " << r << " column " << i;
    }
    EXPECT_GT(rows, n / 2) << name;
    EXPECT_NEAR(report.damp_percent, item.at("damp_used").to_number<double>(), 1e-12) << name;
    EXPECT_NEAR(report.loss / item.at("avg_loss").to_number<double>(), 1, 2e-3) << name;
    EXPECT_EQ(report.dead_columns,
              static_cast<std::int64_t>(item.at("dead_columns").as_array().size()));
    ++compared;
  }
  EXPECT_GE(compared, 7);
}

std::vector<float> random_floats(std::int64_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v) x = normal(rng);
  return v;
}

TEST(Hessian, EqualsADoubleSumAndDoesNotDependOnThreads) {
  constexpr std::int64_t kIn = 200, kTokens = 700;
  const auto x = random_floats(kIn * kTokens, 1);
  std::vector<std::vector<double>> results;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Hessian h(kIn);
    h.add(std::span(x).first(300 * kIn), pool);
    h.add(std::span(x).subspan(300 * kIn), pool);
    results.push_back(h.take());
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
  for (std::size_t i : {0u, 7u, 199u})
    for (std::size_t j : {0u, 131u, 198u}) {
      double sum = 0, magnitude = 0;
      for (std::size_t t = 0; t < kTokens; ++t) {
        sum += static_cast<double>(x[t * kIn + i]) * x[t * kIn + j];
        magnitude += std::fabs(static_cast<double>(x[t * kIn + i]) * x[t * kIn + j]);
      }
      EXPECT_NEAR(results[0][i * kIn + j], 2 * sum / kTokens, 1e-6 * magnitude / kTokens + 1e-12);
    }
  Hessian empty(4);
  EXPECT_THROW(empty.take(), Error);
}

TEST(Gptq, DoesNotDependOnThreadsAndBeatsRounding) {
  constexpr std::int64_t kIn = 192, kOut = 70, kTokens = 400;
  // Correlated inputs: what GPTQ lives on.
  auto x = random_floats(kIn * kTokens, 2);
  for (std::size_t t = 0; t < kTokens; ++t)
    for (std::size_t i = 1; i < kIn; ++i) x[t * kIn + i] += 0.9f * x[t * kIn + i - 1];
  const auto w = random_floats(kIn * kOut, 3);
  ThreadPool one(1), three(3);
  Hessian h(kIn);
  h.add(x, one);
  const auto hessian = h.take();
  const GptqOptions options{.bits = 4};
  GptqReport a, b;
  const auto first = quantize_gptq(w, kOut, kIn, hessian, kTokens, options, one, &a);
  const auto second = quantize_gptq(w, kOut, kIn, hessian, kTokens, options, three, &b);
  EXPECT_EQ(first.codes, second.codes);
  EXPECT_EQ(first.scales, second.scales);
  EXPECT_EQ(a.loss, b.loss);
  const auto error = [&](const QuantizedMatrix& q) {
    double sum = 0;
    for (std::int64_t n = 0; n < kOut; ++n)
      for (std::int64_t t = 0; t < kTokens; ++t) {
        double y = 0;
        for (std::int64_t k = 0; k < kIn; ++k)
          y += (w[static_cast<std::size_t>(n * kIn + k)] - q.value(n, k)) *
               x[static_cast<std::size_t>(t * kIn + k)];
        sum += y * y;
      }
    return sum;
  };
  EXPECT_LT(error(first), 0.5 * error(quantize_rtn(w, kOut, kIn, 32, {.bits = 4})));
}

TEST(Gptq, DampingRisesWhereItMustAndBadWeightsAreRefused) {
  ThreadPool pool(2);
  // Slightly indefinite: 5 % of the mean diagonal is not enough, some more is.
  std::vector<double> h(32 * 32, 1.1);
  for (std::size_t i = 0; i < 32; ++i) h[33 * i] = 1;
  GptqReport report;
  const auto w = random_floats(32 * 32, 4);
  quantize_gptq(w, 32, 32, h, 10, {}, pool, &report);
  EXPECT_GT(report.damp_percent, 0.05);
  EXPECT_LT(report.damp_percent, 0.2);
  auto bad = w;
  bad[5] = NAN;
  EXPECT_THROW(quantize_gptq(bad, 32, 32, h, 10, {}, pool), Error);
  std::vector<double> negative(32 * 32, -5.0);
  EXPECT_THROW(quantize_gptq(w, 32, 32, negative, 10, {}, pool), Error);
}

}  // namespace
}  // namespace octet::quantize
