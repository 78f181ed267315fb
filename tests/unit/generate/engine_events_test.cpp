// What may happen to an answer on its way: cancellation in every phase, failures, slow readers.

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "engine_support.h"
#include "runtime/base/error.h"

namespace octet::generate {
namespace {

using namespace test_support;

class EngineEvents : public testing::Test {
 protected:
  SmallModel small;
  model::TextModel& model = small.model;
};

TEST_F(EngineEvents, CancelTakesEffectBeforeTheNextStepInEveryPhase) {
  Engine engine(model, {.max_sequences = 2, .max_step_rows = 16, .kv_tokens = 1024});
  Request r = make_request(1, 100, 50);
  // Before it was seen, in the queue behind others, in its prompt, in its answer, while it is
  // paused, after it was preempted, when it is over.
  auto sinks = add_sinks(r);
  engine.cancel(engine.submit(r));
  engine.step();
  EXPECT_EQ(sinks[0]->summary.finish, FinishReason::cancelled);
  EXPECT_TRUE(sinks[0]->progress.empty());

  Request other = make_request(2, 50, 100);
  const auto others = add_sinks(other, 2);
  const RequestId first = engine.submit(other);
  engine.step();
  sinks = add_sinks(r);
  const RequestId queued = engine.submit(r);
  engine.step();
  EXPECT_EQ(engine.status().waiting, 1);
  engine.cancel(queued);
  engine.step();
  EXPECT_EQ(sinks[0]->summary.finish, FinishReason::cancelled);
  engine.cancel(first);
  engine.step();
  EXPECT_EQ(others[1]->summary.finish, FinishReason::cancelled);

  for (const std::size_t tokens : {0, 1, 7}) {
    sinks = add_sinks(r, 2);
    const RequestId id = engine.submit(r);
    while (sinks[0]->progress.empty() || sinks[0]->tokens.size() < tokens) engine.step();
    engine.cancel(id);
    engine.cancel(id);
    engine.step();
    for (const auto& sink : sinks) {
      EXPECT_EQ(sink->finishes, 1);
      EXPECT_EQ(sink->summary.finish, FinishReason::cancelled);
      EXPECT_LE(sink->tokens.size(), tokens);
    }
    engine.cancel(id);
    EXPECT_FALSE(engine.step());
    expect_nothing_held(engine);
  }
  sinks = add_sinks(r);
  sinks[0]->is_ready = [&] { return sinks[0]->tokens.size() < 3; };
  RequestId id = engine.submit(r);
  run(engine);
  EXPECT_EQ(sinks[0]->tokens.size(), 3u);
  EXPECT_EQ(engine.status().paused, 1);
  engine.cancel(id);
  engine.step();
  EXPECT_EQ(sinks[0]->summary.finish, FinishReason::cancelled);
  expect_nothing_held(engine);

  Engine narrow(model, {.max_sequences = 2, .kv_tokens = 256, .prefix_cache = false});
  Request a = make_request(1, 60, 190), b = make_request(2, 60, 190);
  const auto first_sink = add_sinks(a)[0], second = add_sinks(b)[0];
  narrow.submit(a);
  id = narrow.submit(b);
  while (narrow.status().preemptions == 0) ASSERT_TRUE(narrow.step());
  EXPECT_EQ(second->finishes, 0);
  narrow.cancel(id);
  narrow.step();
  EXPECT_EQ(second->summary.finish, FinishReason::cancelled);
  EXPECT_EQ(second->summary.preemptions, 1);
  run(narrow);
  EXPECT_EQ(first_sink->tokens, alone(model, a));
  expect_nothing_held(narrow);
}

TEST_F(EngineEvents, EverythingEndsWithTheEngine) {
  std::vector<std::shared_ptr<Collector>> sinks;
  {
    Engine engine(model, {.max_sequences = 2, .kv_tokens = 1024});
    for (std::uint64_t i = 0; i < 5; ++i) {
      Request r = make_request(i, 50, 100);
      sinks.push_back(add_sinks(r)[0]);
      engine.submit(r);
      if (i == 2) engine.step();
    }
    engine.cancel_all();
    Request late = make_request(7, 50, 4);
    const auto after = add_sinks(late)[0];
    engine.submit(late);
    run(engine);
    EXPECT_EQ(after->summary.finish, FinishReason::length);  // it came later
    for (const auto& sink : sinks) EXPECT_EQ(sink->summary.finish, FinishReason::cancelled);
    expect_nothing_held(engine);
    sinks.clear();
    for (std::uint64_t i = 0; i < 5; ++i) {
      Request r = make_request(i, 50, 100);
      sinks.push_back(add_sinks(r)[0]);
      engine.submit(r);
      if (i == 2) engine.step();
    }
  }
  for (const auto& sink : sinks) EXPECT_EQ(sink->summary.finish, FinishReason::cancelled);
}

TEST_F(EngineEvents, AFailureIsItsOwnAnswersAlone) {
  struct Throws : TokenConstraint {
    explicit Throws(int place) : where(place) {}
    int where, calls = 0;
    std::optional<std::int32_t> forced() override {
      if (where == 0 && ++calls == 3) throw std::runtime_error("in /some/file.cpp");
      return std::nullopt;
    }
    bool fill_mask(std::span<std::uint32_t> mask) override {
      if (where == 1) fail(ErrorCode::invalid_argument, "a bad mask");
      if (where == 2) std::ranges::fill(mask, 0u);  // nothing may come
      return where == 2;
    }
    void accept(std::int32_t) override {
      if (where == 3) fail(ErrorCode::internal, "no such state");
    }
    void rollback(int) override {}
  };
  struct BadFinish : Collector {
    void on_finish(const AnswerSummary& s) override {
      Collector::on_finish(s);
      throw std::runtime_error("finish");
    }
  };
  Engine engine(model, {.max_sequences = 8, .kv_tokens = 2048});
  std::map<RequestId, std::string> log;
  engine.on_error = [&](RequestId id, const std::string& detail) {
    EXPECT_TRUE(log.emplace(id, detail).second);
    throw 5;  // whoever logs ends nothing
  };
  Request good = make_request(1, 80, 30);
  const auto good_sinks = add_sinks(good, 2);
  engine.submit(good);
  std::vector<std::shared_ptr<Collector>> bad;
  for (int where = 0; where < 8; ++where) {
    Request r = make_request(10 + static_cast<std::uint64_t>(where), 70, 30);
    bad.push_back(add_sinks(r)[0]);
    if (where < 4) r.make_constraint = [=] { return std::make_unique<Throws>(where); };
    if (where == 4)
      r.make_constraint = []() -> std::unique_ptr<TokenConstraint> {
        fail(ErrorCode::invalid_argument, "no such grammar");
      };
    if (where == 5) bad[5]->each = [](const TokenOutput&) -> bool { throw std::bad_alloc(); };
    if (where == 6) bad[6]->is_ready = []() -> bool { throw 7; };
    if (where == 7) {
      bad[7] = std::make_shared<BadFinish>();
      r.sinks = {bad[7]};
    }
    engine.submit(r);
  }
  run(engine);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(good_sinks[i]->tokens, alone(model, good, i));
  for (std::size_t i = 0; i < 7; ++i) EXPECT_EQ(bad[i]->summary.finish, FinishReason::failed) << i;
  // Nothing of the inside, but what the log has more about.
  EXPECT_EQ(bad[0]->summary.error, "internal error (request 2)");
  EXPECT_EQ(log.at(2), "in /some/file.cpp");
  EXPECT_EQ(bad[3]->summary.error, "internal error (request 5)");
  EXPECT_EQ(log.at(5), "no such state");
  EXPECT_EQ(log.at(9), "the end of an answer was not taken: finish");
  EXPECT_EQ(log.size(), 5u);  // and those of 7 and 8; the others are not ours
  for (const std::size_t i : {1, 2, 4}) EXPECT_EQ(bad[i]->summary.failure, Failure::request) << i;
  for (const std::size_t i : {0, 3, 6}) EXPECT_EQ(bad[i]->summary.failure, Failure::internal) << i;
  EXPECT_EQ(bad[5]->summary.failure, Failure::busy);
  EXPECT_EQ(good_sinks[0]->summary.failure, Failure::none);
  EXPECT_EQ(bad[1]->summary.error, "a bad mask");
  EXPECT_EQ(bad[4]->summary.error, "no such grammar");
  EXPECT_EQ(bad[5]->summary.error, "out of memory");
  EXPECT_EQ(bad[7]->summary.finish, FinishReason::length);
  for (const auto& sink : bad) EXPECT_EQ(sink->summary.error.find(".cpp"), std::string::npos);
  expect_nothing_held(engine);
}

// The one that computes the prompt for others fails in the middle of it.
TEST_F(EngineEvents, AnotherAnswerTakesThePromptOver) {
  for (const int phase : {0, 1, 2}) {
    struct BadPrompt : Collector {
      void on_prompt(const PromptProgress& p) override {
        Collector::on_prompt(p);
        fail(ErrorCode::unavailable, "gone");
      }
    };
    Engine engine(model, {.max_sequences = 4, .max_step_rows = 20, .kv_tokens = 1024});
    Request r = make_request(1, 100, 20);
    auto sinks = add_sinks(r, 3);
    const auto bad = std::make_shared<BadPrompt>();
    r.sinks[0] = bad;
    if (phase == 1) {
      r.make_constraint = [n = 0]() mutable -> std::unique_ptr<TokenConstraint> {
        if (n++ == 0) fail(ErrorCode::unavailable, "gone");
        return nullptr;
      };
    }
    if (phase == 2) {
      const auto second = std::make_shared<BadPrompt>();
      r.sinks[1] = second;
    }
    engine.submit(r);
    run(engine);
    EXPECT_EQ(bad->summary.finish, FinishReason::failed);
    if (phase != 2) {
      EXPECT_EQ(sinks[1]->tokens, alone(model, r, 1));
    }
    EXPECT_EQ(sinks[2]->tokens, alone(model, r, 2));
    EXPECT_LE(engine.status().prompt_tokens, 103);
    expect_nothing_held(engine);
  }
}

TEST_F(EngineEvents, AFailedStepFailsItsAnswersAndTheEngineGoesOn) {
  Engine engine(model, {.max_sequences = 4, .max_step_rows = 64, .kv_tokens = 1024});
  std::vector<std::string> log;
  engine.on_error = [&](RequestId, const std::string& detail) { log.push_back(detail); };
  int calls = 0, fail_at = -1;
  model.observer = [&](std::int64_t layer, TensorView) {
    if (layer == 0 && calls++ == fail_at) fail(ErrorCode::unavailable, "the device is gone");
  };
  for (fail_at = 0; fail_at < 12; ++fail_at) {
    calls = 0;
    Request a = make_request(1, 100, 20), b = make_request(2, 30, 20);
    const auto as = add_sinks(a, 2), bs = add_sinks(b);
    engine.submit(a);
    engine.submit(b);
    run(engine);
    int failed = 0;
    for (const auto& sink : {as[0], as[1], bs[0]}) {
      EXPECT_EQ(sink->finishes, 1);
      if (sink->summary.finish != FinishReason::failed) continue;
      ++failed;
      EXPECT_EQ(sink->summary.error.find("internal error (request "), 0u);
      EXPECT_EQ(log.back(), "the device is gone");
    }
    EXPECT_GT(failed, 0) << fail_at;
    // The same requests once more, from what the cache kept.
    const int at = std::exchange(fail_at, -1);
    const auto again = add_sinks(a, 2), again_b = add_sinks(b);
    engine.submit(a);
    engine.submit(b);
    run(engine);
    EXPECT_EQ(again[0]->tokens, alone(model, a, 0));
    EXPECT_EQ(again[1]->tokens, alone(model, a, 1));
    EXPECT_EQ(again_b[0]->tokens, alone(model, b));
    fail_at = at;
  }
  model.observer = nullptr;
  expect_nothing_held(engine);
}

// Who watches over the engine tells a device that is gone from a request that can't be computed.
TEST_F(EngineEvents, StepsThatTheDeviceFailsInARowAreCounted) {
  Engine engine(model, {.max_sequences = 4, .kv_tokens = 1024});
  const auto ask = [&](std::optional<ErrorCode> code) {
    model.observer = [&](std::int64_t, TensorView) {
      if (code) fail(*code, "it fails");
    };
    Request r = make_request(1, 100, 5);
    add_sinks(r);
    engine.submit(r);
    run(engine);
    model.observer = nullptr;
    return engine.status().lost_steps;
  };
  EXPECT_EQ(ask(std::nullopt), 0);
  EXPECT_EQ(ask(ErrorCode::unavailable), 1);
  EXPECT_EQ(ask(ErrorCode::unavailable), 2);
  EXPECT_EQ(ask(std::nullopt), 0);
  EXPECT_EQ(ask(ErrorCode::unavailable), 1);
  for (const ErrorCode code :
       {ErrorCode::internal, ErrorCode::invalid_argument, ErrorCode::overloaded})
    EXPECT_EQ(ask(code), 0);
}

TEST_F(EngineEvents, AReaderThatIsGoneLosesItsPlaceToOthers) {
  Engine engine(model, {.max_sequences = 2, .kv_tokens = 1024});
  bool open = false;
  Request slow = make_request(1, 120, 60), quick = make_request(2, 50, 20);
  const auto slow_sinks = add_sinks(slow, 2), quick_sinks = add_sinks(quick, 2);
  for (const auto& sink : slow_sinks)
    sink->is_ready = [&open, s = sink.get()] { return open || s->tokens.size() < 5; };
  engine.submit(slow);
  run(engine);
  EXPECT_EQ(engine.status().paused, 2);
  engine.submit(quick);
  run(engine);
  EXPECT_EQ(quick_sinks[0]->finishes, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(1050));
  run(engine);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(quick_sinks[i]->tokens, alone(model, quick, i));
  EXPECT_EQ(engine.status().paused, 2);
  EXPECT_EQ(engine.status().slots_used, 0);
  open = true;
  engine.wake();
  run(engine);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(slow_sinks[i]->tokens, alone(model, slow, i));
  expect_nothing_held(engine);
}

TEST_F(EngineEvents, ASlowReaderHoldsUpNobody) {
  // Its pages are given to others when they are needed.
  Engine engine(model, {.max_sequences = 2, .kv_tokens = 256, .snapshot_slots = 2});
  bool open = false;
  Request slow = make_request(1, 120, 60), quick = make_request(2, 150, 100);
  const auto sink = add_sinks(slow)[0];
  sink->is_ready = [&] { return open || sink->tokens.size() < 5; };
  engine.submit(slow);
  run(engine);
  EXPECT_EQ(sink->tokens.size(), 5u);
  EXPECT_EQ(engine.status().paused, 1);
  EXPECT_EQ(engine.status().seconds_since_step, 0);  // it isn't the engine that hangs
  for (int i = 0; i < 3; ++i) {
    const auto other = add_sinks(quick)[0];
    engine.submit(quick);
    run(engine);
    EXPECT_EQ(other->tokens, alone(model, quick));
  }
  EXPECT_EQ(engine.status().preemptions, 1);
  open = true;
  engine.step();
  EXPECT_EQ(sink->tokens.size(), 5u);  // nobody said so
  engine.wake();
  run(engine);
  EXPECT_EQ(sink->tokens, alone(model, slow));
  EXPECT_EQ(sink->summary.preemptions, 1);
  expect_nothing_held(engine);
}

}  // namespace
}  // namespace octet::generate
