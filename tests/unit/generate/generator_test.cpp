// Greedy answers of the tiny model against the reference implementation's, alone and in company.

#include "generate/generator.h"

#include <gtest/gtest.h>

#include <boost/json/value_to.hpp>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"
#include "support/support.h"

namespace octet::generate {
namespace {

struct Golden {
  std::vector<std::int32_t> prompt, output;
  std::vector<double> margins;
};

std::vector<Golden> golden_answers() {
  std::vector<Golden> all;
  for (const json::value& line : test::read_json_lines(test::golden("generate.jsonl")))
    all.push_back({json::value_to<std::vector<std::int32_t>>(line.at("ids")),
                   json::value_to<std::vector<std::int32_t>>(line.at("output_ids")),
                   json::value_to<std::vector<double>>(line.at("margins"))});
  return all;
}

class GeneratorTest : public testing::Test {
 protected:
  ThreadPool threads{2};
  std::unique_ptr<ops::Backend> backend = ops::make_backend({}, threads);
  checkpoint::Checkpoint checkpoint = checkpoint::Checkpoint::open(test::tiny_model());
  model::TextModel model{*backend, checkpoint};

  Request greedy(const Golden& g) {
    return {.prompt = g.prompt,
            .sampling = {.temperature = 0},
            .max_tokens = static_cast<std::int64_t>(g.output.size()),
            .stop_ids = {4042, 4040}};
  }
  // Tokens agree up to the first whose margin a float32 error could turn.
  static void expect_golden(const Answer& answer, const Golden& g, std::size_t line) {
    for (std::size_t i = 0; i < g.output.size() && g.margins[i] > 1e-3; ++i) {
      ASSERT_LT(i, answer.tokens.size()) << "line " << line;
      ASSERT_EQ(answer.tokens[i], g.output[i]) << "line " << line << " token " << i;
    }
  }
};

TEST_F(GeneratorTest, EqualsTheReferenceOneByOneAndInBatchesOfEight) {
  const auto golden = golden_answers();
  ASSERT_EQ(golden.size(), 60u);
  std::vector<std::vector<std::int32_t>> alone;
  for (std::size_t i = 0; i < golden.size(); ++i) {
    model::SequencePool pool(*backend, model.config(), {.num_tokens = 1024});
    Generator generator(model, pool, {.num_tokens = 4073});
    const int number = generator.add(greedy(golden[i]));
    generator.run();
    expect_golden(generator.answer(number), golden[i], i);
    EXPECT_NE(generator.answer(number).finish, FinishReason::none);
    alone.push_back(generator.answer(number).tokens);
  }
  for (std::size_t first = 0; first < golden.size(); first += 8) {
    model::SequencePool pool(*backend, model.config(),
                             {.num_sequences = 8, .num_tokens = 8 * 1024});
    Generator generator(model, pool, {.max_step_rows = 96, .num_tokens = 4073});
    const std::size_t last = std::min(first + 8, golden.size());
    for (std::size_t i = first; i < last; ++i) generator.add(greedy(golden[i]));
    generator.run();
    for (std::size_t i = first; i < last; ++i) {
      const Answer& answer = generator.answer(static_cast<int>(i - first));
      expect_golden(answer, golden[i], i);
      EXPECT_EQ(answer.tokens, alone[i]) << "line " << i;  // company changes no token
    }
    EXPECT_EQ(pool.free_slots(), 8);
  }
}

TEST_F(GeneratorTest, EndsAsAsked) {
  const auto golden = golden_answers();
  model::SequencePool pool(*backend, model.config(), {.num_sequences = 2, .num_tokens = 1024});
  Generator generator(model, pool, {.num_tokens = 4073});
  Request cut = greedy(golden[0]);
  cut.max_tokens = 3;
  const int a = generator.add(cut);
  Request stopped = greedy(golden[0]);
  stopped.max_tokens = 100;
  int seen = 0;
  stopped.on_token = [&](std::int32_t) { return ++seen < 2; };
  const int b = generator.add(stopped);
  EXPECT_THROW(generator.add(greedy(golden[1])), Error);  // no slot left
  generator.run();
  EXPECT_EQ(generator.answer(a).finish, FinishReason::length);
  EXPECT_EQ(generator.answer(a).tokens.size(), 3u);
  EXPECT_EQ(generator.answer(b).finish, FinishReason::cancelled);
  EXPECT_EQ(seen, 2);
  const int c = generator.add(greedy(golden[0]));
  generator.cancel(c);
  EXPECT_FALSE(generator.step());
  EXPECT_THROW(generator.add({}), Error);
  Request huge = greedy(golden[0]);
  huge.max_tokens = 100000;
  EXPECT_THROW(generator.add(huge), Error);
  EXPECT_EQ(pool.free_slots(), 2);
  EXPECT_EQ(pool.free_pages(), 16);
}

}  // namespace
}  // namespace octet::generate
