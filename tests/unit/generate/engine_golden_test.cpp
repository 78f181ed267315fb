// Greedy answers of the tiny model against the reference implementation's, alone and in company.

#include <gtest/gtest.h>

#include <boost/json/value_to.hpp>

#include "checkpoint/checkpoint.h"
#include "generate/engine.h"
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

struct Tokens : AnswerSink {
  std::vector<std::int32_t> ids;
  AnswerSummary summary;
  bool on_token(const TokenOutput& token) override {
    ids.push_back(token.id);
    return true;
  }
  void on_finish(const AnswerSummary& s) override { summary = s; }
};

class EngineGolden : public testing::Test {
 protected:
  ThreadPool threads{2};
  std::unique_ptr<ops::Backend> backend = ops::make_backend({}, threads);
  checkpoint::Checkpoint checkpoint = checkpoint::Checkpoint::open(test::tiny_model());
  model::TextModel model{*backend, checkpoint};

  std::vector<std::shared_ptr<Tokens>> answers(const std::vector<Golden>& golden,
                                               const EngineOptions& options) {
    Engine engine(model, options);
    std::vector<std::shared_ptr<Tokens>> sinks;
    for (const Golden& g : golden) {
      sinks.push_back(std::make_shared<Tokens>());
      Request r{.prompt = g.prompt,
                .sampling = {.temperature = 0},
                .max_tokens = static_cast<std::int64_t>(g.output.size()),
                .stop_ids = {4042, 4040}};
      r.sinks = {sinks.back()};
      engine.submit(std::move(r));
    }
    while (engine.step()) {
    }
    return sinks;
  }
};

TEST_F(EngineGolden, EqualsTheReferenceOneByOneAndInCompany) {
  const auto golden = golden_answers();
  ASSERT_EQ(golden.size(), 60u);
  const auto alone = answers(
      golden, {.max_sequences = 1, .kv_tokens = 1024, .num_tokens = 4073, .prefix_cache = false});
  for (std::size_t line = 0; line < golden.size(); ++line) {
    // Tokens agree up to the first whose margin a float32 error could turn.
    const Golden& g = golden[line];
    for (std::size_t i = 0; i < g.output.size() && g.margins[i] > 1e-3; ++i) {
      ASSERT_LT(i, alone[line]->ids.size()) << "line " << line;
      ASSERT_EQ(alone[line]->ids[i], g.output[i]) << "line " << line << " token " << i;
    }
    EXPECT_TRUE(alone[line]->summary.finish == FinishReason::stop ||
                alone[line]->summary.finish == FinishReason::length);
  }
  for (const std::int64_t rows : {41, 512})
    for (const std::int64_t pages : {12, 64}) {
      const auto together = answers(golden, {.max_sequences = 8,
                                             .max_step_rows = rows,
                                             .kv_tokens = 64 * pages,
                                             .num_tokens = 4073,
                                             .snapshot_slots = 6,
                                             .snapshot_interval = 64});
      for (std::size_t line = 0; line < golden.size(); ++line)
        EXPECT_EQ(together[line]->ids, alone[line]->ids) << "line " << line;  // not one token
    }
}

}  // namespace
}  // namespace octet::generate
