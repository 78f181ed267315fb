// An engine on a thread of its own, and many that talk to it. Worth running under the thread
// sanitizer.

#include <atomic>
#include <mutex>
#include <random>
#include <thread>

#include "engine_support.h"
#include "runtime/base/error.h"

namespace octet::generate {
namespace {

using namespace test_support;

struct Waiting : AnswerSink {
  std::atomic<int> tokens = 0, finishes = 0, open = 1;
  std::vector<std::int32_t> ids;
  FinishReason finish = FinishReason::none;
  bool on_token(const TokenOutput& token) override {
    ids.push_back(token.id);
    ++tokens;
    return true;
  }
  bool ready() override { return open.load() != 0; }
  void on_finish(const AnswerSummary& s) override {
    finish = s.finish;
    ++finishes;
    finishes.notify_all();
  }
  void wait() { finishes.wait(0); }
};

TEST(EngineThreadTest, ManyThreadsSubmitCancelPauseAndLook) {
  SmallModel small;
  Engine engine(small.model, {.max_sequences = 4,
                              .max_step_rows = 64,
                              .kv_tokens = 1024,
                              .snapshot_slots = 4,
                              .snapshot_interval = 64});
  std::vector<Request> requests;
  std::vector<std::vector<std::int32_t>> expected;
  for (std::uint64_t i = 0; i < 5; ++i) {
    Request r;
    r.prompt = numbers(i, static_cast<std::int64_t>(20 + 40 * i));
    r.sampling.seed = i;
    r.max_tokens = 30;
    expected.push_back(alone(small.model, r));
    requests.push_back(std::move(r));
  }
  std::atomic<int> wrong = 0, finished = 0;
  {
    EngineThread thread(engine);
    std::vector<std::jthread> clients;
    for (unsigned t = 0; t < 8; ++t)
      clients.emplace_back([&, t] {
        std::mt19937 random(t);
        for (int n = 0; n < 12; ++n) {
          const std::size_t which = random() % requests.size();
          Request r = requests[which];
          const auto sink = std::make_shared<Waiting>();
          r.sinks = {sink};
          const auto what = random() % 4;
          const RequestId id = engine.submit(std::move(r));
          if (what == 0) {
            while (sink->tokens < 3 && sink->finishes == 0) std::this_thread::yield();
            engine.cancel(id);
          }
          if (what == 1) {
            sink->open = 0;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            sink->open = 1;
            engine.wake();
          }
          if (what == 2) engine.reset_prefix_cache();
          sink->wait();
          ++finished;
          const bool complete = sink->finish == FinishReason::length;
          wrong += complete ? sink->ids != expected[which]
                            : what != 0 || sink->finish != FinishReason::cancelled;
          wrong += engine.status().running > 4;
        }
      });
    clients.clear();
    EXPECT_EQ(finished, 8 * 12);
    EXPECT_EQ(wrong, 0);
    // The last on_finish comes within a step; its end follows.
    while (!engine.idle()) std::this_thread::yield();
  }
  expect_nothing_held(engine);
}

TEST(EngineThreadTest, ItsEndIsThatOfEverythingUnderWay) {
  SmallModel small;
  Engine engine(small.model, {.max_sequences = 2, .kv_tokens = 8192});
  std::vector<std::shared_ptr<Waiting>> sinks;
  {
    EngineThread thread(engine);
    for (std::uint64_t i = 0; i < 4; ++i) {
      Request r;
      r.prompt = numbers(i, 50);
      r.max_tokens = 4000;
      sinks.push_back(std::make_shared<Waiting>());
      r.sinks = {sinks.back()};
      engine.submit(std::move(r));
    }
    while (sinks[0]->tokens < 2) std::this_thread::yield();
  }
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->finishes, 1);
    EXPECT_EQ(sink->finish, FinishReason::cancelled);
  }
  expect_nothing_held(engine);
}

}  // namespace
}  // namespace octet::generate
