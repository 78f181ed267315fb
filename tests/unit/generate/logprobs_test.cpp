#include <gtest/gtest.h>

#include "generate/sampler.h"
#include "sampler_support.h"

namespace octet::generate {
namespace {

using test::kNever;

// log-softmax in double precision.
std::vector<double> log_softmax(const std::vector<float>& x, double temperature = 1) {
  double sum = 0;
  const double max = *std::ranges::max_element(x);
  for (const float v : x) sum += std::exp((static_cast<double>(v) - max) / temperature);
  std::vector<double> out;
  for (const float v : x)
    out.push_back((static_cast<double>(v) - max) / temperature - std::log(sum));
  return out;
}

std::vector<float> random_logits(std::size_t n, std::uint64_t seed, double width = 3) {
  std::mt19937_64 random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(std::normal_distribution<double>(0, width)(random));
  return x;
}

TEST(Logprobs, AreTheLogSoftmaxOfTheWholeRow) {
  for (const std::size_t n : {1, 5, 63, 64, 65, 1000, 50000})
    for (const double width : {0.1, 3.0, 40.0}) {
      const auto logits = random_logits(n, n, width);
      const auto expected = log_softmax(logits);
      const auto tokens = static_cast<std::int64_t>(n - n / 10);  // the rest has no token
      const auto out = Sampler::token_logprobs(logits, 0, 20, tokens);
      ASSERT_TRUE(out.has_logprob);
      EXPECT_NEAR(out.chosen.logprob, expected[0], 1e-5 * (1 + std::fabs(expected[0])));
      ASSERT_EQ(out.top.size(), static_cast<std::size_t>(std::min<std::int64_t>(20, tokens)));
      std::vector<double> order(expected.begin(), expected.begin() + tokens);
      std::ranges::sort(order, std::greater<>());
      for (std::size_t i = 0; i < out.top.size(); ++i) {
        EXPECT_LT(out.top[i].id, tokens);
        EXPECT_EQ(out.top[i].rank, static_cast<std::int64_t>(i) + 1);
        EXPECT_NEAR(out.top[i].logprob, order[i], 1e-5 * (1 + std::fabs(order[i])));
      }
    }
}

TEST(Logprobs, EqualLogitsRankById) {
  const std::vector<float> logits{1, 3, 3, 2, 3, 1};
  const auto rank = [&](std::int32_t id) {
    return Sampler::token_logprobs(logits, id, 0, 6).chosen.rank;
  };
  EXPECT_EQ(rank(1), 1);
  EXPECT_EQ(rank(2), 2);
  EXPECT_EQ(rank(4), 3);
  EXPECT_EQ(rank(3), 4);
  EXPECT_EQ(rank(0), 5);
  EXPECT_EQ(rank(5), 6);
  const auto top = Sampler::token_logprobs(logits, 0, 3, 6).top;
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 2);
  EXPECT_EQ(top[2].id, 4);
}

TEST(Logprobs, RanksOfALargeRowAreThePlacesInItsOrder) {
  auto logits = random_logits(3001, 4);
  for (float& x : logits) x = std::round(x);  // many ties
  const auto all = Sampler::token_logprobs(logits, 7, -2, 3001);
  ASSERT_EQ(all.top.size(), 3001u);
  for (std::size_t i = 0; i < all.top.size(); i += 13) {
    const auto& t = all.top[i];
    EXPECT_EQ(t.rank, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(Sampler::token_logprobs(logits, t.id, 0, 3001).chosen.rank, t.rank);
  }
  for (std::size_t i = 1; i < all.top.size(); ++i)
    EXPECT_TRUE(
        all.top[i - 1].logprob > all.top[i].logprob ||
        (all.top[i - 1].logprob == all.top[i].logprob && all.top[i - 1].id < all.top[i].id));
}

TEST(Logprobs, AskedIdsComeAfterTheMostLikely) {
  const std::vector<float> logits{0, 4, 2, 3, 1};
  Sampler s({.temperature = 0, .num_logprobs = 2, .logprob_token_ids = {0, 3, 2, 0}}, 5);
  auto row = logits;
  const auto out = s.sample(row);
  EXPECT_EQ(out.id, 1);
  ASSERT_EQ(out.top.size(), 4u);  // 1, 3, then 0 and 2; 3 is there already, 0 once
  EXPECT_EQ(out.top[2].id, 0);
  EXPECT_EQ(out.top[2].rank, 5);
  EXPECT_EQ(out.top[3].id, 2);
  EXPECT_EQ(out.top[3].rank, 3);
}

TEST(Logprobs, NoneUnlessAskedFor) {
  std::vector<float> logits{0, 1};
  Sampler s({}, 2);
  const auto out = s.sample(logits);
  EXPECT_FALSE(out.has_logprob);
  EXPECT_TRUE(out.top.empty());
  Sampler chosen({.num_logprobs = 0}, 2);
  const auto with = chosen.sample(logits);
  EXPECT_TRUE(with.has_logprob);
  EXPECT_EQ(with.chosen.id, with.id);
  EXPECT_TRUE(with.top.empty());
  EXPECT_FALSE(Sampler::token_logprobs(logits, 7, 1, 2).has_logprob);
}

// Raw is what the model gave, whatever masks, penalties and temperature do afterwards.
TEST(Logprobs, Modes) {
  const std::vector<float> logits{1, 2, 3, 0};
  SamplingParams p{.temperature = 0.5,
                   .top_k = 2,
                   .presence_penalty = 1,
                   .logit_bias = {{0, 1.5f}},
                   .num_logprobs = 4};
  const std::vector<std::uint32_t> mask{0b0111};
  const auto run = [&](LogprobsMode mode, double temperature) {
    p.logprobs_mode = mode;
    p.temperature = temperature;
    Sampler s(p, 4);
    s.accept(2);
    auto row = logits;
    return s.sample(row, mask);
  };
  const auto of = [](const TokenOutput& out, std::int32_t id) {
    return std::ranges::find(out.top, id, &TokenLogprob::id)->logprob;
  };
  const auto raw = run(LogprobsMode::raw_logprobs, 0.5);
  const auto expected = log_softmax(logits);
  for (std::int32_t id = 0; id < 4; ++id)
    EXPECT_NEAR(of(raw, id), expected[static_cast<std::size_t>(id)], 1e-6);
  EXPECT_EQ(of(run(LogprobsMode::raw_logits, 0.5), 2), 3);
  // Processed: 2.5, 2, 2, masked; the two most likely are ids 0 and 1, at temperature 0.5.
  const auto values = run(LogprobsMode::processed_logits, 0.5);
  ASSERT_EQ(values.top.size(), 4u);
  EXPECT_EQ(of(values, 0), 5);
  EXPECT_EQ(of(values, 1), 4);
  EXPECT_EQ(of(values, 2), kNever);
  EXPECT_EQ(of(values, 3), kNever);
  EXPECT_EQ(values.top[3].rank, 4);
  const auto processed = run(LogprobsMode::processed_logprobs, 0.5);
  EXPECT_NEAR(of(processed, 0), -std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(of(processed, 1), -1 - std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_EQ(processed.chosen.id, processed.id);
  EXPECT_EQ(processed.chosen.logprob, of(processed, processed.id));
  // Greedy has no temperature and no cuts.
  const auto greedy = run(LogprobsMode::processed_logits, 0);
  EXPECT_EQ(of(greedy, 0), 2.5f);
  EXPECT_EQ(of(greedy, 2), 2);
  EXPECT_EQ(of(greedy, 3), kNever);
}

TEST(Logprobs, AskingChangesNoToken) {
  const auto logits = random_logits(700, 9);
  for (const auto mode : {LogprobsMode::raw_logprobs, LogprobsMode::processed_logprobs,
                          LogprobsMode::raw_logits, LogprobsMode::processed_logits})
    for (const double top_p : {1.0, 0.7}) {
      Sampler plain({.top_p = top_p, .presence_penalty = 1}, 690);
      Sampler asked(
          {.top_p = top_p, .presence_penalty = 1, .num_logprobs = 5, .logprobs_mode = mode}, 690);
      for (int i = 0; i < 50; ++i) {
        auto a = logits, b = logits;
        EXPECT_EQ(plain.sample(a).id, asked.sample(b).id);
      }
    }
}

}  // namespace
}  // namespace octet::generate
