#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "runtime/base/error.h"

namespace octet::generate {
namespace {

std::map<int, double> frequencies(const SamplingParams& params, std::vector<float> logits,
                                  int draws = 20000) {
  Sampler sampler(params, static_cast<std::int64_t>(logits.size()));
  std::map<int, double> seen;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    seen[sampler.sample(copy).id] += 1.0 / draws;
  }
  return seen;
}

const std::vector<float> kLogits{std::log(0.5f), std::log(0.25f), std::log(0.15f), std::log(0.1f)};

TEST(Sampler, DrawsByProbability) {
  const auto f = frequencies({}, kLogits);
  EXPECT_NEAR(f.at(0), 0.5, 0.02);
  EXPECT_NEAR(f.at(1), 0.25, 0.02);
  EXPECT_NEAR(f.at(3), 0.1, 0.02);
}

TEST(Sampler, TemperatureAndCuts) {
  EXPECT_EQ(frequencies({.temperature = 0}, kLogits).size(), 1u);
  EXPECT_NEAR(frequencies({.temperature = 0.5}, kLogits).at(0),
              0.25 / (0.25 + 0.0625 + 0.0225 + 0.01), 0.02);
  EXPECT_EQ(frequencies({.top_k = 2}, kLogits).size(), 2u);
  EXPECT_EQ(frequencies({.top_p = 0.5}, kLogits).size(), 1u);
  EXPECT_EQ(frequencies({.top_p = 0.76}, kLogits).size(), 3u);
  EXPECT_EQ(frequencies({.min_p = 0.4}, kLogits).size(), 2u);
  EXPECT_NEAR(frequencies({.top_k = 2}, kLogits).at(0), 2.0 / 3, 0.02);
}

TEST(Sampler, SameSeedSameTokens) {
  Sampler a({.seed = 5}, 4), b({.seed = 5}, 4), c({.seed = 6}, 4);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    auto x = kLogits, y = kLogits, z = kLogits;
    const int first = a.sample(x).id;
    EXPECT_EQ(first, b.sample(y).id);
    differs |= first != c.sample(z).id;
  }
  EXPECT_TRUE(differs);
}

TEST(Sampler, PenaltiesDiscourage) {
  const std::vector<float> equal{1, 1, 1};
  Sampler presence({.temperature = 0, .presence_penalty = 1}, 3);
  std::vector<float> l = equal;
  EXPECT_EQ(presence.sample(l).id, 0);
  l = equal;
  EXPECT_EQ(presence.sample(l).id, 1);
  l = equal;
  EXPECT_EQ(presence.sample(l).id, 2);
  const std::int32_t prompt[] = {0};
  Sampler repetition({.temperature = 0, .repetition_penalty = 2}, 3, prompt);
  l = equal;
  EXPECT_EQ(repetition.sample(l).id, 1);
}

TEST(Sampler, IdsWithoutATokenAreNeverChosen) {
  Sampler s({.temperature = 0}, 2);
  std::vector<float> l{1, 2, 9, 9};
  EXPECT_EQ(s.sample(l).id, 1);
}

TEST(Sampler, ParametersAreChecked) {
  EXPECT_THROW(validate({.temperature = -1}), Error);
  EXPECT_THROW(validate({.temperature = std::nan("")}), Error);
  EXPECT_THROW(validate({.top_k = -1}), Error);
  EXPECT_THROW(validate({.top_p = 0}), Error);
  EXPECT_THROW(validate({.min_p = 1.5}), Error);
  EXPECT_THROW(validate({.presence_penalty = 3}), Error);
  EXPECT_THROW(validate({.repetition_penalty = 0}), Error);
  Sampler s({}, 2);
  std::vector<float> nan{NAN, NAN};
  EXPECT_THROW(s.sample(nan), Error);
}

}  // namespace
}  // namespace octet::generate
