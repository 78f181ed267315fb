// Thousands of steps with random arrivals, cancellations, slow readers and priorities, in too few
// pages and slots: every token equals that of the same request alone.

#include <algorithm>
#include <random>

#include "engine_support.h"
#include "runtime/base/error.h"

namespace octet::generate {
namespace {

using namespace test_support;

// Allows what a pattern of the position allows, and sometimes forces; counts what came.
struct ParityConstraint : TokenConstraint {
  std::int64_t position = 0;
  std::optional<std::int32_t> forced() override {
    if (position % 5 < 2) return static_cast<std::int32_t>(position % kVocab);
    return std::nullopt;
  }
  bool fill_mask(std::span<std::uint32_t> mask) override {
    if (position % 3 == 0) return false;
    for (std::uint32_t& word : mask) word &= position % 2 == 0 ? 0x55555555u : 0xaaaaaaaau;
    return true;
  }
  void accept(std::int32_t id) override {
    EXPECT_EQ(id, forced().value_or(id));
    EXPECT_TRUE(forced() || position % 3 == 0 || id % 2 == position % 2);
    ++position;
  }
  void rollback(int) override { FAIL(); }
};

// The same rules without an engine.
std::vector<std::int32_t> alone_constrained(model::TextModel& model, const Request& request,
                                            std::size_t index) {
  model::SequencePool pool(
      model.backend(), model.config(),
      {.num_tokens = static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens});
  model::Sequence sequence = pool.create();
  SamplingParams sampling = request.sampling;
  sampling.seed += index;
  Sampler sampler(sampling, kVocab, request.prompt);
  ParityConstraint constraint;
  std::vector<std::int32_t> next = request.prompt, answer;
  std::vector<float> logits;
  std::vector<std::uint32_t> mask(kVocab / 32);
  while (std::ssize(answer) < request.max_tokens) {
    const model::StepRows rows[] = {{.sequence = &sequence, .ids = next}};
    const TensorView hidden = model.forward(rows, pool);
    if (const auto id = constraint.forced()) {
      sampler.accept(*id);
      answer.push_back(*id);
    } else {
      const std::int32_t last[] = {static_cast<std::int32_t>(next.size()) - 1};
      model.logits(hidden, last, logits);
      std::ranges::fill(mask, ~0u);
      const bool masked = constraint.fill_mask(mask);
      answer.push_back(sampler
                           .sample(logits, masked ? std::span<const std::uint32_t>(mask)
                                                  : std::span<const std::uint32_t>())
                           .id);
    }
    constraint.accept(answer.back());
    next = {answer.back()};
  }
  return answer;
}

class EngineSimulation : public testing::Test {
 protected:
  static constexpr std::size_t kCases = 24, kAnswers = 3;
  struct Case {
    Request request;
    std::vector<std::vector<std::int32_t>> answers;
  };
  SmallModel small;
  std::vector<Case> cases;

  // Prompts that share beginnings, of all lengths around the pages' borders; some continue the
  // answers of others.
  void SetUp() override {
    std::mt19937_64 random(4);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    for (std::size_t i = 0; i < kCases; ++i) {
      Case c;
      Request& r = c.request;
      if (i % 4 == 3) {
        const Case& before = cases[below(cases.size())];
        r.prompt = before.request.prompt;
        const auto& answer = before.answers[0];
        r.prompt.insert(r.prompt.end(), answer.begin(), answer.end());
        r.snapshot_points.push_back(std::ssize(r.prompt));
      } else {
        r.prompt = numbers(1 + below(2), static_cast<std::int64_t>(64 * below(4) + below(3)));
      }
      const auto own = numbers(100 + i, static_cast<std::int64_t>(1 + below(70)));
      r.prompt.insert(r.prompt.end(), own.begin(), own.end());
      if (r.prompt.size() > 500) r.prompt.resize(500);
      if (below(2) == 0) r.snapshot_points.push_back(std::ssize(r.prompt) - 5);
      r.sampling.temperature = below(3) == 0 ? 0 : 1;
      r.sampling.frequency_penalty = below(3) == 0 ? 0.5 : 0;
      r.sampling.seed = i;
      r.max_tokens = static_cast<std::int64_t>(1 + below(i % 5 == 0 ? 300 : 60));
      r.cache_salt = below(5) == 0 ? "salt" : "";
      r.use_prefix_cache = below(8) != 0;
      r.num_prompt_logprobs = below(8) == 0 ? 1 : -1;
      if (below(3) == 0) r.stop_ids = {5, 17};
      if (i % 6 == 1) {
        r.stop_ids.clear();
        r.make_constraint = [] { return std::make_unique<ParityConstraint>(); };
      }
      for (std::size_t n = 0; n < kAnswers; ++n)
        c.answers.push_back(r.make_constraint ? alone_constrained(small.model, r, n)
                                              : alone(small.model, r, n));
      cases.push_back(std::move(c));
    }
  }

  struct Running {
    const Case* answers;
    RequestId id = 0;
    std::vector<std::shared_ptr<Collector>> sinks;
    bool cancelled = false;
  };

  void simulate(std::uint64_t seed, const EngineOptions& options, int arrivals);
};

void EngineSimulation::simulate(std::uint64_t seed, const EngineOptions& options, int arrivals) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t n) { return random() % n; };
  Engine engine(small.model, options);
  std::vector<Running> all;
  int left = arrivals;
  std::int64_t refused = 0;
  for (int step = 0; left > 0 || !engine.idle(); ++step) {
    ASSERT_LT(step, 100000);
    for (auto burst = below(left > 0 && below(10) == 0 ? 6 : 1); burst > 0 && left > 0; --burst) {
      --left;
      const Case& c = cases[below(kCases)];
      Request r = c.request;
      r.priority = static_cast<std::int64_t>(below(3));
      Running run{.answers = &c, .sinks = add_sinks(r, 1 + (below(3) == 0 ? below(kAnswers) : 0))};
      for (auto& sink : run.sinks) {
        if (below(4) == 0) {  // a slow reader, who must be woken
          sink->is_ready = [&random] { return random() % 8 != 0; };
        }
        if (below(12) == 0) {  // ends by itself
          sink->each = [n = below(20)](const TokenOutput&) mutable { return n-- != 0; };
        }
        if (below(25) == 0) {
          sink->each = [n = below(20)](const TokenOutput&) mutable -> bool {
            if (n-- == 0) fail(ErrorCode::unavailable, "the reader is gone");
            return true;
          };
        }
      }
      try {
        run.id = engine.submit(std::move(r));
        all.push_back(std::move(run));
      } catch (const Error& e) {
        ASSERT_EQ(e.code(), ErrorCode::overloaded);
        ++refused;
      }
    }
    if (!all.empty() && below(40) == 0) {
      Running& r = all[below(all.size())];
      engine.cancel(r.id);
      r.cancelled = true;
    }
    if (below(400) == 0) engine.reset_prefix_cache();
    const bool worked = engine.step();
    if (!worked || below(6) == 0) engine.wake();
    const EngineStatus s = engine.status();
    ASSERT_LE(s.running, options.max_sequences);
    ASSERT_LE(s.slots_used, s.running);
    ASSERT_LE(s.kv_pages_used + s.kv_pages_cached, s.kv_pages_total);
    ASSERT_LE(s.snapshots_used, options.snapshot_slots);
  }
  std::array<std::int64_t, 6> finished{};
  for (const Running& r : all)
    for (std::size_t i = 0; i < r.sinks.size(); ++i) {
      const Collector& sink = *r.sinks[i];
      const auto& expected = r.answers->answers[i];
      ASSERT_EQ(sink.finishes, 1);
      ++finished[static_cast<std::size_t>(sink.summary.finish)];
      ASSERT_LE(sink.tokens.size(), expected.size());
      ASSERT_TRUE(std::equal(sink.tokens.begin(), sink.tokens.end(), expected.begin()))
          << "seed " << seed << ", request " << r.id << ", answer " << i << ", "
          << sink.summary.preemptions << " preemptions, " << sink.summary.cached_tokens
          << " cached";
      switch (sink.summary.finish) {
        case FinishReason::cancelled:
          ASSERT_TRUE(r.cancelled);
          break;
        case FinishReason::failed:
          ASSERT_EQ(sink.summary.failure, Failure::internal);
          break;
        case FinishReason::stop:
          ASSERT_TRUE(sink.each || sink.tokens == expected);
          break;
        default:
          ASSERT_EQ(sink.tokens, expected);
      }
    }
  EXPECT_EQ(engine.status().finished, finished);
  for (const auto reason : {FinishReason::stop, FinishReason::length, FinishReason::cancelled})
    EXPECT_GT(finished[static_cast<std::size_t>(reason)], 0);
  if (options.kv_tokens < 2000) {
    EXPECT_GT(engine.status().preemptions, 0);
  }
  if (options.prefix_cache) {
    EXPECT_GT(engine.status().prefix_hit_tokens, 0);
    EXPECT_GT(engine.status().prefix_evictions, 0);
  }
  expect_nothing_held(engine);
}

TEST_F(EngineSimulation, RoomForAll) {
  simulate(1,
           {.max_sequences = 8,
            .max_step_rows = 128,
            .kv_tokens = 8192,
            .max_queued = 64,
            .snapshot_slots = 8,
            .snapshot_interval = 128},
           150);
}
TEST_F(EngineSimulation, FewPages) {
  for (std::uint64_t seed = 10; seed < 13; ++seed)
    simulate(seed,
             {.max_sequences = 6,
              .max_step_rows = 48,
              .kv_tokens = 832,
              .max_queued = 16,
              .snapshot_slots = 5,
              .snapshot_interval = 64},
             120);
}
TEST_F(EngineSimulation, Priorities) {
  simulate(20,
           {.max_sequences = 5,
            .max_step_rows = 33,
            .kv_tokens = 1024,
            .max_queued = 200,
            .by_priority = true,
            .snapshot_slots = 3,
            .max_prompt_pieces = 2},
           150);
}
TEST_F(EngineSimulation, FewRows) {
  simulate(30,
           {.max_sequences = 4,
            .max_step_rows = 3,
            .kv_tokens = 1024,
            .max_queued = 20,
            .snapshot_slots = 4,
            .snapshot_interval = 64},
           60);
}
TEST_F(EngineSimulation, WithoutACache) {
  simulate(40,
           {.max_sequences = 6,
            .max_step_rows = 48,
            .kv_tokens = 832,
            .prefix_cache = false,
            .snapshot_slots = 0},
           100);
}
TEST_F(EngineSimulation, ExactCache) {
  simulate(50,
           {.max_sequences = 6,
            .max_step_rows = 48,
            .kv_tokens = 832,
            .exact_prefix_cache = true,
            .snapshot_slots = 6},
           100);
}

}  // namespace
}  // namespace octet::generate
