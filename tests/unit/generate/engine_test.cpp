// Answers of the engine: the same tokens in whatever company, however they are cut, cached, evicted
// or computed again.

#include <algorithm>

#include "engine_support.h"
#include "runtime/base/error.h"

namespace octet::generate {
namespace {

using namespace test_support;

class EngineTest : public testing::Test {
 protected:
  SmallModel small;
  model::TextModel& model = small.model;

  static Request make(std::uint64_t seed, std::int64_t prompt, std::int64_t answer,
                      bool greedy = false) {
    Request r;
    r.prompt = numbers(seed, prompt);
    r.sampling.temperature = greedy ? 0 : 1;
    r.sampling.seed = seed;
    r.max_tokens = answer;
    return r;
  }
};

TEST_F(EngineTest, CompanyAndCutsChangeNothing) {
  std::vector<Request> requests;
  std::vector<std::vector<std::int32_t>> expected;
  for (std::uint64_t i = 0; i < 8; ++i) {
    requests.push_back(make(i, 1 + static_cast<std::int64_t>(i * i * 5), 40, i % 2 == 0));
    expected.push_back(alone(model, requests.back()));
  }
  for (const std::int64_t batch : {1, 2, 8})
    for (const std::int64_t rows : {1, 3, 17, 64, 512})
      for (const bool cache : {false, true}) {
        Engine engine(model, {.max_sequences = batch,
                              .max_step_rows = rows,
                              .kv_tokens = 8 * 512,
                              .prefix_cache = cache,
                              .snapshot_interval = 64});
        std::vector<std::shared_ptr<Collector>> sinks;
        for (Request r : requests) {
          sinks.push_back(add_sinks(r)[0]);
          engine.submit(std::move(r));
        }
        run(engine);
        for (std::size_t i = 0; i < sinks.size(); ++i) {
          EXPECT_EQ(sinks[i]->tokens, expected[i])
              << "batch " << batch << ", rows " << rows << ", request " << i;
          EXPECT_EQ(sinks[i]->summary.finish, FinishReason::length);
          EXPECT_EQ(sinks[i]->finishes, 1);
        }
        expect_nothing_held(engine);
      }
}

TEST_F(EngineTest, HitsGiveTheSameTokensAndSaveWork) {
  Engine engine(model, {.max_sequences = 4, .max_step_rows = 128, .kv_tokens = 4096});
  std::vector<std::int32_t> conversation = numbers(1, 200);
  for (int turn = 0; turn < 5; ++turn) {
    Request r = make(7, 0, 300);
    r.prompt = conversation;
    r.snapshot_points = {std::ssize(conversation) - 10};
    const auto expected = alone(model, r);
    const auto sink = add_sinks(r)[0];
    engine.submit(std::move(r));
    run(engine);
    EXPECT_EQ(sink->tokens, expected) << "turn " << turn;
    // The next turn begins where the answer's last state was kept.
    if (turn > 0) {
      EXPECT_GE(sink->summary.cached_tokens, std::ssize(conversation) - 30 - 256);
    }
    EXPECT_EQ(sink->progress.front().cached, sink->summary.cached_tokens);
    conversation.insert(conversation.end(), expected.begin(), expected.end());
    const auto user = numbers(100 + static_cast<std::uint64_t>(turn), 30);
    conversation.insert(conversation.end(), user.begin(), user.end());
  }
  EXPECT_GT(engine.status().prefix_hit_tokens, engine.status().prefix_query_tokens / 2);
  expect_nothing_held(engine);
}

TEST_F(EngineTest, AWholePromptThatIsThereLeavesItsLastTokenToCompute) {
  Engine engine(model, {.max_sequences = 4, .kv_tokens = 4096, .snapshot_interval = 64});
  std::int64_t cached = 0;
  for (const std::int64_t size : {64, 65, 128, 129, 191, 192, 193})
    for (int i = 0; i < 2; ++i) {
      Request r = make(50, size, 5);
      const auto expected = alone(model, r);
      const auto sink = add_sinks(r)[0];
      engine.submit(std::move(r));
      run(engine);
      EXPECT_EQ(sink->tokens, expected);
      EXPECT_EQ(sink->summary.cached_tokens, i == 0 ? cached : (size - 1) / 64 * 64);
      cached = size / 64 * 64;  // the interval keeps that as well
    }
  expect_nothing_held(engine);
}

TEST_F(EngineTest, SaltsAndRequestsKeepTheirPrefixesApart) {
  Engine engine(model, {.max_sequences = 2, .kv_tokens = 4096});
  const auto ask = [&](const std::string& salt, bool use) {
    Request r = make(3, 200, 3);
    r.cache_salt = salt;
    r.use_prefix_cache = use;
    const auto sink = add_sinks(r)[0];
    engine.submit(std::move(r));
    run(engine);
    return sink->summary.cached_tokens;
  };
  EXPECT_EQ(ask("a", false), 0);
  EXPECT_EQ(ask("a", true), 0);
  EXPECT_EQ(ask("b", true), 0);
  EXPECT_EQ(ask("a", false), 0);
  EXPECT_EQ(ask("a", true), 192);
  EXPECT_EQ(ask("b", true), 192);
  EXPECT_EQ(ask("", true), 0);
  expect_nothing_held(engine);
}

TEST_F(EngineTest, ExactCacheKeepsNoStatesOfAnswers) {
  for (const bool exact : {false, true}) {
    Engine engine(model, {.max_sequences = 2, .kv_tokens = 4096, .exact_prefix_cache = exact});
    Request first = make(3, 100, 600);
    auto next = make(4, 0, 3);
    next.prompt = first.prompt;
    const auto answer = alone(model, first);
    next.prompt.insert(next.prompt.end(), answer.begin(), answer.end());
    add_sinks(first);
    engine.submit(first);
    run(engine);
    EXPECT_EQ(engine.status().snapshots_used, exact ? 1 : 2);  // that of the answer moved along
    const auto sink = add_sinks(next)[0];
    engine.submit(next);
    run(engine);
    EXPECT_EQ(sink->summary.cached_tokens, exact ? 64 : 512);
    EXPECT_EQ(sink->tokens, alone(model, next));
  }
}

TEST_F(EngineTest, SeveralAnswersComputeThePromptOnce) {
  for (const std::int64_t prompt : {1, 2, 64, 65, 150, 193})
    for (const std::int64_t rows : {7, 512}) {
      Engine engine(model, {.max_sequences = 4, .max_step_rows = rows, .kv_tokens = 2048});
      Request r = make(11, prompt, 20);
      r.num_prompt_logprobs = 2;
      const auto sinks = add_sinks(r, 4);
      std::vector<std::vector<std::int32_t>> expected;
      for (std::size_t i = 0; i < 4; ++i) expected.push_back(alone(model, r, i));
      EXPECT_NE(expected[0], expected[1]);
      engine.submit(std::move(r));
      run(engine);
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(sinks[i]->tokens, expected[i]) << "answer " << i << " of a prompt of " << prompt;
        EXPECT_EQ(sinks[i]->logprob_calls, 1);
        EXPECT_EQ(std::ssize(sinks[i]->prompt_logprobs), prompt - 1);
      }
      EXPECT_EQ(engine.status().prompt_tokens, prompt + 3);
      expect_nothing_held(engine);
    }
}

TEST_F(EngineTest, PreemptedAnswersGoOnAsIfNothingHadHappened) {
  for (const bool cache : {false, true}) {
    // Eight answers grow to 300 tokens each in pages for 1,024.
    Engine engine(model, {.max_sequences = 8,
                          .max_step_rows = 64,
                          .kv_tokens = 1024,
                          .prefix_cache = cache,
                          .snapshot_interval = 64});
    std::vector<std::shared_ptr<Collector>> sinks;
    std::vector<std::vector<std::int32_t>> expected;
    for (std::uint64_t i = 0; i < 8; ++i) {
      Request r = make(i, 50, 250);
      r.sampling.presence_penalty = 1;
      expected.push_back(alone(model, r));
      sinks.push_back(add_sinks(r)[0]);
      engine.submit(std::move(r));
    }
    run(engine);
    std::int64_t preemptions = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(sinks[i]->tokens, expected[i]) << i;
      preemptions += sinks[i]->summary.preemptions;
    }
    EXPECT_EQ(sinks[0]->summary.preemptions, 0);  // the first is never the victim
    EXPECT_GT(preemptions, 0);
    EXPECT_EQ(engine.status().preemptions, preemptions);
    expect_nothing_held(engine);
  }
}

TEST_F(EngineTest, SeveralAnswersOfOnePromptInTooFewPages) {
  Engine engine(model, {.max_sequences = 8, .max_step_rows = 64, .kv_tokens = 512});
  Request r = make(5, 200, 200);
  const auto sinks = add_sinks(r, 8);
  std::vector<std::vector<std::int32_t>> expected;
  for (std::size_t i = 0; i < 8; ++i) expected.push_back(alone(model, r, i));
  engine.submit(std::move(r));
  run(engine);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(sinks[i]->tokens, expected[i]) << i;
  expect_nothing_held(engine);
}

TEST_F(EngineTest, AnswersUpToTheLastToken) {
  // All pages for one answer, to the very end of the context.
  Engine engine(model, {.max_sequences = 2, .max_model_len = 256, .kv_tokens = 256});
  Request r = make(1, 100, 100000);
  const auto sinks = add_sinks(r, 2);
  engine.submit(r);
  run(engine);
  r.max_tokens = 156;
  EXPECT_EQ(sinks[0]->tokens, alone(model, r, 0));
  EXPECT_EQ(sinks[1]->tokens, alone(model, r, 1));
  EXPECT_EQ(sinks[1]->summary.finish, FinishReason::length);
  expect_nothing_held(engine);
}

TEST_F(EngineTest, RefusesWhatCanNeverFit) {
  Engine engine(model,
                {.max_sequences = 2, .max_model_len = 300, .kv_tokens = 256, .max_queued = 2});
  const auto message = [&](Request r, ErrorCode code) -> std::string {
    try {
      engine.submit(std::move(r));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return e.what();
    }
    ADD_FAILURE() << "accepted";
    return {};
  };
  const auto with_sinks = [&](Request r, std::size_t n = 1) {
    add_sinks(r, n);
    return r;
  };
  const auto bad = ErrorCode::invalid_argument;
  message(with_sinks(make(1, 0, 5)), bad);
  EXPECT_NE(message(with_sinks(make(1, 256, 5)), bad).find("256"), std::string::npos);
  message(with_sinks(make(1, 5, 0)), bad);
  message(with_sinks(make(1, 5, 5), 3), bad);
  message(with_sinks(make(1, 5, 5), 0), bad);
  Request r = with_sinks(make(1, 5, 5));
  r.sinks[0] = nullptr;
  message(r, bad);
  for (const std::int32_t id : {-1, static_cast<std::int32_t>(kVocab)}) {
    r = with_sinks(make(1, 5, 5));
    r.prompt[3] = id;
    EXPECT_NE(message(r, bad).find(std::to_string(id)), std::string::npos);
  }
  r = with_sinks(make(1, 5, 5));
  r.sampling.top_p = 2;
  message(r, bad);
  r = with_sinks(make(1, 5, 5));
  r.repetition = {.min_pattern_size = 0, .max_pattern_size = 4};
  message(r, bad);
  r.repetition = {.min_pattern_size = 1, .max_pattern_size = 1 << 30};
  message(r, bad);
  r.repetition = {.min_pattern_size = 1, .max_pattern_size = 4, .min_count = 1};
  message(r, bad);
  r = with_sinks(make(1, 5, 5));
  r.num_prompt_logprobs = -7;
  message(r, bad);
  // The queue, and the end.
  engine.submit(with_sinks(make(1, 5, 5)));
  engine.submit(with_sinks(make(1, 255, 5)));
  message(with_sinks(make(1, 5, 5)), ErrorCode::overloaded);
  run(engine);
  engine.submit(with_sinks(make(1, 5, 5)));
  engine.drain();
  message(with_sinks(make(1, 5, 5)), ErrorCode::overloaded);
  EXPECT_FALSE(engine.idle());
  run(engine);
  EXPECT_EQ(engine.status().finished[static_cast<std::size_t>(FinishReason::length)], 3);
  expect_nothing_held(engine);
  EXPECT_THROW(Engine(model, {.kv_tokens = 0}), Error);
  EXPECT_THROW(Engine(model, {.max_sequences = 0, .kv_tokens = 64}), Error);
  EXPECT_THROW(Engine(model, {.kv_tokens = 64, .num_tokens = kVocab + 1}), Error);
}

TEST_F(EngineTest, ThePlanIsWhatIsTaken) {
  const EngineOptions options{
      .max_sequences = 3, .max_model_len = 200, .kv_tokens = 1000, .snapshot_slots = 5};
  const EnginePlan plan = plan_engine(model.config(), options);
  EXPECT_EQ(plan.kv_tokens, 1024);
  EXPECT_EQ(plan.full_length_sequences, 3);
  Engine engine(model, options);
  EXPECT_EQ(engine.plan().kv_bytes, plan.kv_bytes);
  EXPECT_EQ(engine.plan().kv_tokens, 1024);
  EXPECT_EQ(engine.plan().snapshots, 5);
  EXPECT_GT(plan.workspace_bytes, 0u);
  EXPECT_EQ(
      plan_engine(model.config(), {.max_sequences = 64, .max_model_len = 200, .kv_tokens = 1000})
          .full_length_sequences,
      4);
}

}  // namespace
}  // namespace octet::generate
