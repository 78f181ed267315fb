#include "generate/sampler.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "sampler_support.h"

namespace octet::generate {
namespace {

using test::kNever;

std::int32_t one(Sampler& sampler, std::vector<float> logits,
                 const std::vector<std::uint32_t>& mask = {}) {
  return sampler.sample(logits, mask).id;
}

// The message of the error, or "".
template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// Random parameters of every kind, over vocabularies that end inside blocks and words, with ties
// and masked logits.
TEST(Sampler, SameTokenAsTheSpecificationRead) {
  std::mt19937_64 random(11);
  const auto uniform = [&] { return std::uniform_real_distribution<double>()(random); };
  const auto below = [&](std::size_t n) { return static_cast<std::int32_t>(random() % n); };
  int drawn = 0;
  for (int round = 0; round < 700; ++round) {
    const std::size_t vocab = 2 + random() % (round % 10 == 0 ? 3000 : 300);
    const std::size_t tokens = 1 + random() % vocab;
    SamplingParams p{.seed = random()};
    if (below(5) > 0) p.temperature = uniform() * 2;
    if (below(6) == 0) p.temperature = below(2) * 1e-6;
    if (below(2)) p.top_k = below(4) ? below(30) : below(vocab);
    if (below(2)) p.top_p = 1 - uniform() * (below(2) ? 1 : 0.1);
    if (below(3) == 0) p.min_p = uniform() * 0.3;
    if (below(3) == 0) p.presence_penalty = uniform() * 4 - 2;
    if (below(3) == 0) p.frequency_penalty = uniform() * 4 - 2;
    if (below(3) == 0) p.repetition_penalty = 0.5 + uniform() * 2;
    const auto ids = [&](std::size_t n) {
      std::vector<std::int32_t> v(n);
      for (auto& id : v) id = below(tokens);
      return v;
    };
    if (below(4) == 0) p.allowed_token_ids = ids(1 + random() % 40);
    if (below(3) == 0)
      for (const std::int32_t id : ids(3))
        p.logit_bias.emplace_back(id, static_cast<float>(uniform() * 250 - 125));
    if (below(3) == 0)
      for (int i = 0; i < 4; ++i) p.bad_words.push_back(ids(1 + random() % 3));
    if (below(3) == 0) p.min_tokens = below(6), p.min_tokens_stop_ids = ids(2);
    const auto prompt = ids(random() % 20);
    Sampler sampler(p, static_cast<std::int64_t>(tokens), prompt);
    std::vector<std::int32_t> history;
    for (int step = 0; step < 8; ++step) {
      std::vector<float> logits(vocab);
      const bool coarse = below(2);
      for (float& x : logits) {
        x = static_cast<float>(std::normal_distribution<double>(0, 3)(random));
        if (coarse) x = std::round(x);
        if (below(9) == 0) x = kNever;
      }
      std::vector<std::uint32_t> mask;
      if (below(3) == 0) {
        mask.resize((vocab + 31) / 32);
        for (auto& word : mask) word = static_cast<std::uint32_t>(below(3) ? random() : -below(2));
      }
      std::vector<float> changed = logits;
      std::int32_t id = -1;
      const std::string error = error_of([&] { id = sampler.sample(changed, mask).id; });
      if (!error.empty()) {
        EXPECT_TRUE(error.find("nothing is left") != std::string::npos ||
                    error.find("logits are -inf") != std::string::npos)
            << error;
        break;
      }
      ASSERT_EQ(id, test::slow_sample(p, static_cast<std::int64_t>(tokens), prompt, history, logits,
                                      mask))
          << "round " << round << ", step " << step;
      history.push_back(id);
      ++drawn;
    }
  }
  EXPECT_GT(drawn, 4000);
}

// Whole vocabularies take other paths than small ones: blocks, partial selection, dismissal.
TEST(Sampler, SameTokenAsTheSpecificationReadOfAWholeVocabulary) {
  std::mt19937_64 random(12);
  std::vector<float> peaked(50021), flat(50021);
  for (float& x : peaked) x = static_cast<float>(std::normal_distribution<double>(0, 3)(random));
  for (float& x : flat) x = static_cast<float>(std::normal_distribution<double>(0, 0.1)(random));
  const std::vector<SamplingParams> all{
      {.temperature = 1},
      {.temperature = 0.3},
      {.temperature = 2},
      {.temperature = 0.01},
      {.top_k = 20, .top_p = 0.95},
      {.top_k = 3000},
      {.top_p = 0.5},
      {.top_p = 0.999},
      {.min_p = 1e-6},
      {.temperature = 0.7, .top_k = 4000, .top_p = 0.8, .min_p = 0.001}};
  for (SamplingParams p : all)
    for (const auto* logits : {&peaked, &flat})
      for (std::uint64_t seed = 0; seed < 12; ++seed) {
        p.seed = seed;
        Sampler sampler(p, 50000);
        ASSERT_EQ(one(sampler, *logits), test::slow_sample(p, 50000, {}, {}, *logits, {}))
            << "temperature " << p.temperature << " top_k " << p.top_k << " top_p " << p.top_p
            << " seed " << seed;
      }
}

TEST(Sampler, DrawsByProbability) {
  const std::vector<float> logits{std::log(0.5f), std::log(0.25f), std::log(0.15f), std::log(0.1f)};
  const auto check = [&](const SamplingParams& p, std::vector<double> weights) {
    Sampler sampler(p, 4);
    const auto seen = test::counts(sampler, logits, 40000);
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (double& w : weights) w /= sum;
    const auto categories = std::ranges::count_if(weights, [](double w) { return w > 0; });
    if (categories == 1)
      EXPECT_EQ(test::chi_square(seen, weights), 0);
    else
      EXPECT_LT(test::chi_square(seen, weights),
                test::chi_square_limit(static_cast<double>(categories - 1)));
  };
  for (const std::uint64_t seed : {0, 1, 2}) {
    check({.seed = seed}, {0.5, 0.25, 0.15, 0.1});
    check({.temperature = 0.5, .seed = seed}, {0.25, 0.0625, 0.0225, 0.01});
    check({.temperature = 2, .seed = seed},
          {std::sqrt(0.5), std::sqrt(0.25), std::sqrt(0.15), std::sqrt(0.1)});
    check({.top_k = 2, .seed = seed}, {0.5, 0.25, 0, 0});
    check({.top_k = -1, .seed = seed}, {0.5, 0.25, 0.15, 0.1});
    check({.top_p = 0.49, .seed = seed}, {1, 0, 0, 0});
    check({.top_p = 0.76, .seed = seed}, {0.5, 0.25, 0.15, 0});
    check({.min_p = 0.4, .seed = seed}, {0.5, 0.25, 0, 0});
    check({.min_p = 1, .seed = seed}, {1, 0, 0, 0});
    // top_p is of what top_k left: 0.5 of 0.75 is 2/3.
    check({.top_k = 2, .top_p = 0.66, .seed = seed}, {1, 0, 0, 0});
    check({.top_k = 2, .top_p = 0.67, .seed = seed}, {0.5, 0.25, 0, 0});
    // ... and of what min_p left.
    check({.top_p = 0.66, .min_p = 0.4, .seed = seed}, {1, 0, 0, 0});
  }
}

// Of the numbers themselves: ids, positions and seeds beside each other have nothing in common.
TEST(Sampler, DrawsAreIndependent) {
  const std::vector<float> equal(4096, 1.5f);
  Sampler sampler({.seed = 3}, 4096);
  std::vector<double> low(64), pairs(256), seeds(256);
  std::int32_t before = 0;
  for (int i = 0; i < 40000; ++i) {
    const std::int32_t id = one(sampler, equal);
    low[static_cast<std::size_t>(id / 64)] += 1;
    pairs[static_cast<std::size_t>(id % 16 * 16 + before % 16)] += 1;
    before = id;
  }
  for (std::uint64_t seed = 0; seed < 20000; ++seed) {
    Sampler a({.seed = seed}, 16), b({.seed = seed + 1}, 16);
    const std::vector<float> few(16, 0.f);
    seeds[static_cast<std::size_t>(one(a, few) * 16 + one(b, few))] += 1;
  }
  EXPECT_LT(test::chi_square(low, std::vector<double>(64, 1.0 / 64)), test::chi_square_limit(63));
  EXPECT_LT(test::chi_square(pairs, std::vector<double>(256, 1.0 / 256)),
            test::chi_square_limit(255));
  EXPECT_LT(test::chi_square(seeds, std::vector<double>(256, 1.0 / 256)),
            test::chi_square_limit(255));
}

TEST(Sampler, GumbelNumbersHaveTheirMoments) {
  double sum = 0, squares = 0, least = 100, most = -100;
  constexpr int kNumbers = 1 << 20;
  const TokenRace race(7, 9, 1);
  for (std::int32_t id = 0; id < kNumbers; ++id) {
    const double g = race.gumbel(id);
    sum += g;
    squares += g * g;
    least = std::min(least, g), most = std::max(most, g);
  }
  const double mean = sum / kNumbers, variance = squares / kNumbers - mean * mean;
  EXPECT_NEAR(mean, 0.5772157, 5 * 1.2825 / std::sqrt(kNumbers));
  EXPECT_NEAR(variance, 1.644934, 0.02);
  EXPECT_GT(most, 11);  // of a million, one is expected above 13.9
  EXPECT_LT(least, -2.4);
}

// Draft verification, preemption and the prefix cache all rest on this.
TEST(Sampler, ATokenDependsOnItsPositionNotOnTheCallsBefore) {
  std::mt19937_64 random(5);
  const SamplingParams p{.temperature = 1.3,
                         .top_p = 0.9,
                         .presence_penalty = 1,
                         .bad_words = {{1, 2}, {3}},
                         .min_tokens = 10,
                         .min_tokens_stop_ids = {4}};
  std::vector<std::vector<float>> rows(30, std::vector<float>(500));
  for (auto& row : rows)
    for (float& x : row) x = static_cast<float>(std::normal_distribution<double>()(random));
  Sampler whole(p, 500);
  std::vector<std::int32_t> answer;
  for (const auto& row : rows) answer.push_back(one(whole, row));
  EXPECT_EQ(whole.position(), 30);
  for (std::size_t begin = 0; begin < rows.size(); begin += 7) {
    Sampler resumed(p, 500);
    Sampler other({.seed = 99}, 500);
    for (std::size_t i = 0; i < begin; ++i) resumed.accept(answer[i]);
    for (std::size_t i = begin; i < rows.size(); ++i) {
      one(other, rows[i]);
      EXPECT_EQ(one(resumed, rows[i]), answer[i]) << "from " << begin;
    }
  }
  Sampler second({.temperature = 1.3, .top_p = 0.9, .seed = 1}, 500);
  int equal = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) equal += one(second, rows[i]) == answer[i];
  EXPECT_LT(equal, 10);
}

TEST(Sampler, GreedyTakesTheLowestIdOfEquals) {
  std::vector<float> logits(1000, 0.f);
  logits[130] = logits[131] = logits[700] = 2;
  for (const double t : {0.0, 9e-6}) {
    Sampler s({.temperature = t}, 1000);
    EXPECT_EQ(one(s, logits), 130);
  }
  // Just above greedy, a temperature is lifted to 0.01: equals share.
  Sampler warm({.temperature = 1e-4}, 1000);
  const auto seen = test::counts(warm, logits, 3000);
  EXPECT_GT(std::min({seen[130], seen[131], seen[700]}), 800);
}

TEST(Sampler, Penalties) {
  const std::vector<float> equal{1, 1, 1};
  Sampler presence({.temperature = 0, .presence_penalty = 1}, 3);
  for (const int id : {0, 1, 2, 0}) EXPECT_EQ(one(presence, equal), id);
  // Frequency counts: two of token 0 cost more than one of token 1.
  Sampler frequency({.temperature = 0, .frequency_penalty = 0.5}, 2);
  for (const int id : {0, 1, 0, 1}) EXPECT_EQ(one(frequency, {1, 0.8f}), id);
  const std::int32_t prompt[] = {0, 0, 5000, -3};
  Sampler repetition({.temperature = 0, .repetition_penalty = 2}, 3, prompt);
  EXPECT_EQ(one(repetition, equal), 1);
  EXPECT_EQ(one(repetition, equal), 2);
  // A negative logit is multiplied, so that it falls too.
  Sampler negative({.temperature = 0, .repetition_penalty = 2}, 2, std::vector<std::int32_t>{0});
  EXPECT_EQ(one(negative, {-1, -1.5f}), 1);
  // Presence and frequency leave the prompt alone.
  Sampler output_only({.temperature = 0, .presence_penalty = 2, .frequency_penalty = 2}, 3, prompt);
  EXPECT_EQ(one(output_only, equal), 0);
  // A forced token counts.
  Sampler forced({.temperature = 0, .presence_penalty = 1}, 3);
  forced.accept(0);
  EXPECT_EQ(one(forced, equal), 1);
}

TEST(Sampler, ExtremePenaltiesStayNumbers) {
  for (const double r : {1.2e-38, 3e38}) {
    Sampler s({.repetition_penalty = r}, 3, std::vector<std::int32_t>{0, 1, 2});
    for (int i = 0; i < 5; ++i) EXPECT_LT(one(s, {5, -5, 0}), 3);
  }
}

TEST(Sampler, StopTokensWaitForMinTokens) {
  Sampler s({.temperature = 0, .min_tokens = 2, .min_tokens_stop_ids = {1, 77, -1}}, 3);
  EXPECT_EQ(one(s, {0, 9, 1}), 2);
  s.accept(0);
  EXPECT_EQ(one(s, {0, 9, 1}), 1);
}

TEST(Sampler, BadWordsAreNeverCompleted) {
  Sampler s({.temperature = 0, .bad_words = {{4}, {1, 2, 3}, {2, 2}}}, 5);
  EXPECT_EQ(one(s, {0, 1, 2, 3, 4}), 3);  // 4 is out alone; 3 isn't, without 1 2 before
  s.accept(1);
  EXPECT_EQ(one(s, {0, 0, 9, 3, 4}), 2);
  EXPECT_EQ(one(s, {0, 1, 9, 10, 4}), 1);  // 1 2 [3], 2 [2]
  EXPECT_EQ(one(s, {0, 1, 9, 10, 4}), 3);
  // Long after, the history is still the end of the answer.
  for (int i = 0; i < 1000; ++i) s.accept(i % 5);
  s.accept(1);
  s.accept(2);
  EXPECT_EQ(one(s, {0, 1, 2, 10, 4}), 1);
}

TEST(Sampler, AllowedIdsBiasAndMask) {
  Sampler allowed({.temperature = 0, .allowed_token_ids = {0, 40}}, 50);
  std::vector<float> logits(50, 1);
  logits[40] = 2;
  logits[41] = 3;
  EXPECT_EQ(one(allowed, logits), 40);
  // A bias is added after the masks, so it can't bring back what they took.
  Sampler bias({.temperature = 0, .logit_bias = {{1, 1000}, {2, 99}}}, 3);
  EXPECT_EQ(one(bias, {0, -1.5f, 0}), 2);  // clamped to 100
  EXPECT_EQ(one(bias, {0, 0, 0}, {0b101}), 2);
  Sampler masked({.temperature = 0}, 70);
  std::vector<float> rising(70);
  std::iota(rising.begin(), rising.end(), 0.f);
  EXPECT_EQ(one(masked, rising, {~0u, 0b10, 0}), 33);
  EXPECT_EQ(one(masked, rising, {~0u}), 31);  // a short mask allows nothing beyond its end
}

TEST(Sampler, IdsWithoutATokenAreNeverChosen) {
  Sampler s({.temperature = 0}, 2);
  EXPECT_EQ(one(s, {1, 2, 9, std::nanf("")}), 1);
  Sampler drawn({.temperature = 2}, 2);
  for (int i = 0; i < 200; ++i) EXPECT_LT(one(drawn, {1, 2, 9, 9}), 2);
}

// The argmax of NaN is token 0, an answer of nothing but "!": vllm-project/vllm#37996.
TEST(Sampler, LogitsThatAreNoNumbersAreAnError) {
  for (const std::size_t at : {std::size_t{0}, std::size_t{63}, std::size_t{64}, std::size_t{199}})
    for (const float bad : {std::nanf(""), -std::nanf(""), INFINITY}) {
      std::vector<float> logits(200, 1.f);
      logits[at] = bad;
      for (const double t : {0.0, 1.0}) {
        Sampler s({.temperature = t}, 200);
        EXPECT_NE(error_of([&] { one(s, logits); }).find("not finite"), std::string::npos);
        EXPECT_EQ(s.position(), 0);
      }
      EXPECT_NE(error_of([&] { Sampler::token_logprobs(logits, 0, 3, 200); }).find("not finite"),
                std::string::npos);
    }
}

TEST(Sampler, NothingLeftNamesWhatForbids) {
  Sampler s({.allowed_token_ids = {1}, .min_tokens = 1, .min_tokens_stop_ids = {1}}, 3);
  EXPECT_EQ(error_of([&] { one(s, {1, 1, 1}); }),
            "token 0 of the answer: nothing is left to choose from after allowed_token_ids, "
            "min_tokens");
  Sampler grammar({}, 3);
  EXPECT_EQ(error_of([&] { one(grammar, {1, 1, 1}, {0}); }),
            "token 0 of the answer: nothing is left to choose from after the grammar");
  EXPECT_EQ(error_of([&] { one(grammar, {kNever, kNever, kNever}); }),
            "all of the model's logits are -inf");
}

// An answer of a grammar may be shorter than min_tokens asks for: there is nothing it could say.
TEST(Sampler, WhereAGrammarIsCompleteTheEndComesWhateverMinTokensSays) {
  for (const double temperature : {0.0, 1.0}) {
    Sampler s({.temperature = temperature,
               .presence_penalty = 1,
               .logit_bias = {{2, -3.f}},
               .min_tokens = 9,
               .min_tokens_stop_ids = {2, 3},
               .num_logprobs = 0},
              4);
    EXPECT_EQ(one(s, {1, 1, 9, 8}, {0b1101}), 0);  // there is something to say
    EXPECT_EQ(one(s, {1, 1, 9, 8}, {0b1000}), 3);
    if (temperature == 0) {
      EXPECT_EQ(one(s, {1, 1, 9, 8}, {0b1100}), 3);  // with bias and penalty: 6 and 7
    }
    EXPECT_NE(error_of([&] { one(s, {1, 1, kNever, 8}, {0b0100}); }).find("min_tokens"),
              std::string::npos);
  }
}

TEST(Sampler, AForcedTokenIsReportedWhateverParametersSay) {
  for (const auto mode : {LogprobsMode::raw_logprobs, LogprobsMode::processed_logprobs}) {
    Sampler s({.temperature = 0,
               .bad_words = {{1}},
               .min_tokens = 5,
               .min_tokens_stop_ids = {1},
               .num_logprobs = 1,
               .logprobs_mode = mode},
              3);
    std::vector<float> logits{2, 1, 0};
    const TokenOutput out = s.take(logits, 1);
    EXPECT_EQ(out.id, 1);
    ASSERT_TRUE(out.has_logprob);
    const bool raw = mode == LogprobsMode::raw_logprobs;
    EXPECT_NEAR(out.chosen.logprob, raw ? 1 - std::log(std::exp(2) + std::exp(1) + 1) : 0, 1e-5);
    EXPECT_EQ(out.chosen.rank, raw ? 2 : 1);
    EXPECT_EQ(out.top[0].id, raw ? 0 : 1);
    EXPECT_EQ(s.position(), 1);
    std::vector<float> more{2, 1, 0};
    EXPECT_EQ(s.sample(more).id, 0);
  }
}

TEST(Sampler, ParametersAreChecked) {
  const auto refused = [](const SamplingParams& p, const char* name) {
    EXPECT_NE(error_of([&] { Sampler(p, 100); }).find(name), std::string::npos) << name;
  };
  const double nan = std::nan("");
  for (const double t : {-1.0, 2.1, nan}) refused({.temperature = t}, "temperature");
  refused({.top_k = -2}, "top_k");
  for (const double x : {0.0, 1.1, nan}) refused({.top_p = x}, "top_p");
  for (const double x : {-0.1, 1.5, nan}) refused({.min_p = x}, "min_p");
  for (const double x : {-2.1, 3.0, nan}) refused({.presence_penalty = x}, "presence_penalty");
  for (const double x : {-2.1, 3.0, nan}) refused({.frequency_penalty = x}, "frequency_penalty");
  for (const double x : {0.0, -1.0, 1e-300, 1e300, nan, double{INFINITY}})
    refused({.repetition_penalty = x}, "repetition_penalty");
  refused({.min_tokens = -1}, "min_tokens");
  refused({.num_logprobs = -3}, "logprobs");
  refused({.logit_bias = {{0, std::nanf("")}}}, "logit_bias");
  refused({.logit_bias = {{100, 1.f}}}, "logit_bias");
  refused({.logit_bias = std::vector<std::pair<std::int32_t, float>>(4097)}, "4096");
  refused({.allowed_token_ids = {-1}}, "allowed_token_ids");
  refused({.bad_words = {{}}}, "bad_words");
  refused({.bad_words = {std::vector<std::int32_t>(1025)}}, "1024");
  refused({.bad_words = std::vector<std::vector<std::int32_t>>(129, {1})}, "128");
  refused({.num_logprobs = 1, .logprob_token_ids = {100}}, "logprob_token_ids");
  refused({.num_logprobs = 1, .logprob_token_ids = std::vector<std::int32_t>(129)}, "128");
  refused({.logprob_token_ids = {1}}, "logprobs");
  EXPECT_EQ(error_of([] { Sampler({.top_k = -1, .logit_bias = {{99, -1e30f}}}, 100); }), "");
}

}  // namespace
}  // namespace octet::generate
