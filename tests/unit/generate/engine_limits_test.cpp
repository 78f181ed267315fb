// How answers end, in which order they come, what is said of the prompt.

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "engine_support.h"
#include "runtime/base/error.h"

namespace octet::generate {
namespace {

using namespace test_support;

class EngineLimits : public testing::Test {
 protected:
  SmallModel small;
  model::TextModel& model = small.model;
};

TEST_F(EngineLimits, EndsAsAsked) {
  Engine engine(model, {.max_sequences = 4, .kv_tokens = 1024});
  Request r = make_request(1, 30, 40);
  const auto all = alone(model, r);
  const auto ask = [&](const Request& request) {
    Request copy = request;
    const auto sink = add_sinks(copy)[0];
    engine.submit(copy);
    run(engine);
    return sink;
  };
  EXPECT_EQ(ask(r)->summary.stop_id, -1);
  Request stop = r;
  stop.stop_ids = {all[7], 5};
  auto sink = ask(stop);
  EXPECT_EQ(sink->tokens, alone(model, stop));
  EXPECT_EQ(sink->summary.finish, FinishReason::stop);
  EXPECT_EQ(sink->summary.stop_id, sink->tokens.back());
  Request own = r;
  const auto own_sink = add_sinks(own)[0];
  own_sink->each = [&](const TokenOutput&) { return own_sink->tokens.size() < 9; };
  engine.submit(own);
  run(engine);
  EXPECT_EQ(own_sink->tokens.size(), 9u);
  EXPECT_EQ(own_sink->summary.finish, FinishReason::stop);
  EXPECT_EQ(own_sink->summary.stop_id, -1);
  const auto& s = own_sink->summary;
  EXPECT_EQ(s.prompt_tokens, 30);
  EXPECT_GE(s.queue_seconds, 0);
  EXPECT_GT(s.prefill_seconds, 0);
  EXPECT_GT(s.decode_seconds, 0);
  EXPECT_EQ(to_string(FinishReason::repetition), "repetition");
}

TEST_F(EngineLimits, RepetitionEndsAnAnswerWhereABruteSearchWould) {
  struct Script : TokenConstraint {
    std::vector<std::int32_t> text;
    std::size_t at = 0;
    std::optional<std::int32_t> forced() override { return text[at]; }
    bool fill_mask(std::span<std::uint32_t>) override { return false; }
    void accept(std::int32_t) override { ++at; }
    void rollback(int) override {}
  };
  Engine engine(model, {.max_sequences = 4, .kv_tokens = 1024});
  int ended = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const RepetitionLimit limit{.min_pattern_size = 1 + static_cast<std::int64_t>(seed % 3),
                                .max_pattern_size = 3 + static_cast<std::int64_t>(seed % 4),
                                .min_count = 2 + static_cast<std::int64_t>(seed % 5)};
    Script script;
    for (const std::int32_t id : numbers(seed, 80)) script.text.push_back(id % 2);
    std::size_t expected = script.text.size();
    for (std::size_t n = 1; n <= script.text.size() && expected == script.text.size(); ++n)
      for (auto size = limit.min_pattern_size; size <= limit.max_pattern_size; ++size) {
        const auto length = static_cast<std::size_t>(size * limit.min_count);
        if (length > n) continue;
        bool same = true;
        for (std::size_t i = n - length; i + static_cast<std::size_t>(size) < n; ++i)
          same &= script.text[i] == script.text[i + static_cast<std::size_t>(size)];
        if (same) expected = std::min(expected, n);
      }
    Request r = make_request(seed, 10, 80);
    r.repetition = limit;
    r.make_constraint = [=] { return std::make_unique<Script>(script); };
    const auto sink = add_sinks(r)[0];
    engine.submit(r);
    run(engine);
    EXPECT_EQ(sink->tokens.size(), expected) << seed;
    const bool early = expected < script.text.size();
    ended += early;
    EXPECT_EQ(sink->summary.finish, early ? FinishReason::repetition : FinishReason::length);
  }
  EXPECT_GT(ended, 20);
  EXPECT_LT(ended, 60);
}

TEST_F(EngineLimits, PromptLogprobsAreThoseOfEveryRow) {
  Request r = make_request(5, 150, 3);
  // Rows one by one.
  model::SequencePool pool(*small.backend, model.config(), {.num_tokens = 256});
  model::Sequence sequence = pool.create();
  std::vector<double> expected;
  std::vector<std::int32_t> likeliest;
  std::vector<float> logits;
  for (std::size_t i = 0; i + 1 < r.prompt.size(); ++i) {
    const model::StepRows rows[] = {
        {.sequence = &sequence, .ids = std::span(r.prompt).subspan(i, 1)}};
    const TensorView hidden = model.forward(rows, pool);
    const std::int32_t zero[] = {0};
    model.logits(hidden, zero, logits);
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    expected.push_back(logits[static_cast<std::size_t>(r.prompt[i + 1])] - std::log(sum));
    likeliest.push_back(
        static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin()));
  }
  r.num_prompt_logprobs = 3;
  for (const std::int64_t rows : {9, 512}) {
    Engine engine(model, {.max_sequences = 3, .max_step_rows = rows, .kv_tokens = 512});
    for (int time = 0; time < 2; ++time) {  // the second time the cache has the prompt
      const auto sink = add_sinks(r)[0];
      engine.submit(r);
      run(engine);
      ASSERT_EQ(sink->prompt_logprobs.size(), expected.size());
      EXPECT_EQ(sink->summary.cached_tokens, 0);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const TokenOutput& token = sink->prompt_logprobs[i];
        EXPECT_EQ(token.id, r.prompt[i + 1]);
        EXPECT_TRUE(token.has_logprob);
        EXPECT_NEAR(token.chosen.logprob, expected[i], 1e-5);
        ASSERT_EQ(token.top.size(), 3u);
        EXPECT_EQ(token.top[0].id, likeliest[i]);
        EXPECT_EQ(token.chosen.rank == 1, token.id == likeliest[i]);
        EXPECT_GE(token.top[0].logprob, token.top[1].logprob);
        EXPECT_GE(token.top[1].logprob, token.top[2].logprob);
      }
    }
    expect_nothing_held(engine);
  }
}

TEST_F(EngineLimits, TheQueueIsInOrderOrByPriorityAndHasAnEnd) {
  for (const bool by_priority : {false, true}) {
    Engine engine(model, {.max_sequences = 1, .kv_tokens = 512, .by_priority = by_priority});
    std::vector<int> order;
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 6; ++i) {
      Request r = make_request(static_cast<std::uint64_t>(i), 20, 5);
      r.priority = 6 - i / 2;
      sinks.push_back(add_sinks(r)[0]);
      sinks.back()->each = [&order, i, first = true](const TokenOutput&) mutable {
        if (std::exchange(first, false)) order.push_back(i);
        return true;
      };
      engine.submit(r);
    }
    run(engine);
    EXPECT_EQ(order, by_priority ? (std::vector<int>{4, 5, 2, 3, 0, 1})
                                 : (std::vector<int>{0, 1, 2, 3, 4, 5}));
  }
  Engine engine(model, {.max_sequences = 1, .kv_tokens = 512, .queue_timeout_seconds = 0.02});
  Request r = make_request(1, 20, 200);
  const auto first = add_sinks(r)[0];
  engine.submit(r);
  engine.step();
  Request late = make_request(2, 20, 2);
  const auto second = add_sinks(late)[0];
  engine.submit(late);
  engine.step();
  EXPECT_EQ(second->finishes, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  engine.step();
  EXPECT_EQ(second->summary.finish, FinishReason::failed);
  EXPECT_EQ(second->summary.failure, Failure::busy);  // of HTTP, 503
  EXPECT_NE(second->summary.error.find("0.02"), std::string::npos);
  EXPECT_EQ(first->finishes, 0);  // it has a place, and may take its time
  run(engine);
  EXPECT_EQ(first->tokens, alone(model, r));
  expect_nothing_held(engine);
}

// A prompt's step on a slow machine takes minutes: it is no hang while layers are computed.
TEST_F(EngineLimits, LayersOfALongStepAreProgress) {
  Engine engine(model, {.max_sequences = 1, .kv_tokens = 512});
  std::vector<double> seen;
  model.observer = [&](std::int64_t layer, TensorView) {
    // Before the first layer nothing has been done, after it something has.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    seen.push_back(engine.status().seconds_since_step);
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(layer + 2));
  };
  Request r = make_request(1, 20, 1);
  add_sinks(r);
  engine.submit(r);
  run(engine);
  model.observer = nullptr;
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_GE(seen[0], 0.02);
  EXPECT_EQ(seen[1], 0);
  EXPECT_EQ(seen[2], 0);
}

// Who watches over the engine must see that something is due and nothing is done, and not take a
// pause for that.
TEST_F(EngineLimits, SecondsSinceStepCountWhileSomethingIsDue) {
  Engine engine(model, {.max_sequences = 1, .kv_tokens = 512});
  const auto nap = [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); };
  bool reads = false;
  Request r = make_request(1, 20, 8);
  const auto sink = add_sinks(r)[0];
  sink->is_ready = [&] { return reads; };
  engine.submit(r);
  nap();
  EXPECT_GE(engine.status().seconds_since_step, 0.02);  // nobody steps
  while (engine.step()) {
  }
  nap();
  EXPECT_EQ(engine.status().seconds_since_step, 0);  // nobody reads
  // It is the only place, and kept for a second: who waits for it has something due.
  reads = true;
  engine.wake();
  engine.step();
  reads = false;
  while (engine.step()) {
  }
  Request next = make_request(2, 20, 2);
  add_sinks(next);
  engine.submit(next);
  engine.step();
  nap();
  engine.step();
  EXPECT_GE(engine.status().seconds_since_step, 0.02);
  engine.cancel_all();
  run(engine);
  expect_nothing_held(engine);
}

TEST_F(EngineLimits, IdsOfParametersAreCheckedBeforeAnythingIsSaid) {
  Engine engine(model, {.max_sequences = 1, .kv_tokens = 512, .num_tokens = kVocab - 1});
  const auto refused = [&](auto change) {
    Request r = make_request(1, 20, 8);
    add_sinks(r);
    change(r.sampling);
    EXPECT_THROW(engine.submit(r), Error);
  };
  refused([](SamplingParams& p) { p.allowed_token_ids = {3, kVocab - 1}; });
  refused([](SamplingParams& p) { p.logit_bias = {{kVocab - 1, 1.f}}; });
  refused([](SamplingParams& p) { p.logprob_token_ids = {kVocab - 1}, p.num_logprobs = 0; });
  EXPECT_TRUE(engine.idle());
}

// A budget for thinking ends in tokens that nothing else may forbid, whether they are reported or
// not.
TEST_F(EngineLimits, ForcedTokensComeWhateverParametersSay) {
  struct Script : TokenConstraint {
    std::size_t at = 0;
    std::optional<std::int32_t> forced() override {
      return at < 4 ? std::optional<std::int32_t>(7) : std::nullopt;
    }
    bool fill_mask(std::span<std::uint32_t>) override { return false; }
    void accept(std::int32_t) override { ++at; }
    void rollback(int) override {}
  };
  Engine engine(model, {.max_sequences = 2, .kv_tokens = 512});
  std::vector<std::vector<std::int32_t>> answers;
  for (const int logprobs : {-1, 2}) {
    Request r = make_request(3, 20, 10);
    r.sampling.num_logprobs = logprobs;
    r.sampling.bad_words = {{7}};
    r.sampling.allowed_token_ids = {1, 2, 3, 4};
    r.make_constraint = [] { return std::make_unique<Script>(); };
    const auto sink = add_sinks(r)[0];
    sink->each = [&](const TokenOutput& token) {
      EXPECT_EQ(token.has_logprob, logprobs >= 0);
      return true;
    };
    engine.submit(r);
    run(engine);
    EXPECT_EQ(sink->summary.finish, FinishReason::length);
    answers.push_back(sink->tokens);
  }
  EXPECT_EQ(std::vector(answers[0].begin(), answers[0].begin() + 4), std::vector(4, 7));
  EXPECT_EQ(answers[0], answers[1]);
}

TEST_F(EngineLimits, ShortPromptsDontWaitForLongOnesNorAnswersForEither) {
  Engine engine(model,
                {.max_sequences = 4, .max_step_rows = 128, .kv_tokens = 8192, .snapshot_slots = 0});
  Request answering = make_request(1, 10, 1000), huge = make_request(2, 3500, 5),
          small_one = make_request(3, 100, 5);
  const auto a = add_sinks(answering)[0], b = add_sinks(huge)[0], c = add_sinks(small_one)[0];
  engine.submit(answering);
  engine.step();
  engine.submit(huge);
  engine.step();
  engine.submit(small_one);
  std::int64_t prompt_rows = 0, decode_rows = 0;
  engine.on_step = [&](const StepReport& report) {
    prompt_rows += report.prompt_rows;
    decode_rows += report.decode_rows;
    EXPECT_LE(report.prompt_rows + report.decode_rows, 128);
  };
  std::size_t before = a->tokens.size();
  for (int i = 0; i < 3; ++i) engine.step();
  EXPECT_EQ(a->tokens.size(), before + 3);  // one in each step
  EXPECT_GE(c->tokens.size(), 1u);
  EXPECT_TRUE(b->tokens.empty());
  EXPECT_GE(prompt_rows + decode_rows, 3 * 127);  // and no step is emptier than it must be
  run(engine);
  EXPECT_EQ(b->tokens, alone(model, huge));
}

TEST_F(EngineLimits, PromptsComeInBesideMoreAnswersThanRows) {
  Engine engine(model, {.max_sequences = 6, .max_step_rows = 2, .kv_tokens = 4096});
  std::vector<std::shared_ptr<Collector>> sinks;
  for (std::uint64_t i = 0; i < 4; ++i) {
    Request r = make_request(i, 1, 2000);
    sinks.push_back(add_sinks(r)[0]);
    engine.submit(r);
  }
  for (int i = 0; i < 40; ++i) engine.step();
  Request r = make_request(9, 30, 3);
  const auto sink = add_sinks(r)[0];
  engine.submit(r);
  for (int i = 0; i < 200; ++i) engine.step();
  EXPECT_EQ(sink->finishes, 1);
  for (const auto& other : sinks) EXPECT_GT(other->tokens.size(), 20u);
  engine.cancel_all();
  run(engine);
}

}  // namespace
}  // namespace octet::generate
