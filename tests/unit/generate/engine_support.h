// What the engine's tests share: a model that is small and sensitive (random weights: its choices
// hang on every token before), a sink that checks how it is called, and answers computed without
// the engine.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "generate/engine.h"
#include "generate/sampler.h"
#include "model/synthetic.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/reference/reference_backend.h"

namespace octet::generate::test_support {

inline constexpr std::int64_t kVocab = 96;

inline checkpoint::TextConfig small_config() {
  checkpoint::TextConfig c;
  c.vocab_size = kVocab;
  c.hidden_size = 32;
  c.intermediate_size = 32;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 2;
  c.num_key_value_heads = 1;
  c.head_dim = 16;
  c.max_position_embeddings = 4096;
  c.linear_key_head_dim = 16;
  c.linear_value_head_dim = 16;
  c.linear_num_key_heads = 1;
  c.linear_num_value_heads = 2;
  c.rope_parameters.partial_rotary_factor = 0.5;
  c.rope_parameters.mrope_section = {2, 1, 1};
  c.layer_types = {checkpoint::LayerType::linear_attention, checkpoint::LayerType::full_attention};
  return c;
}

struct SmallModel {
  ThreadPool threads{1};
  std::unique_ptr<ops::Backend> backend = ops::reference::make_reference_backend(threads);
  model::TextModel model{*backend, model::synthetic_parts(*backend, small_config())};
};

/// Keeps what an answer says, and checks the order of the calls.
struct Collector : AnswerSink {
  std::vector<std::int32_t> tokens;
  std::vector<PromptProgress> progress;
  std::vector<TokenOutput> prompt_logprobs;
  int logprob_calls = 0, finishes = 0;
  AnswerSummary summary;
  std::function<bool(const TokenOutput&)> each;
  std::function<bool()> is_ready;
  bool last_ready = true;

  void on_prompt(const PromptProgress& p) override {
    EXPECT_EQ(finishes, 0);
    EXPECT_TRUE(tokens.empty());
    EXPECT_GT(p.processed, progress.empty() ? 0 : progress.back().processed);
    EXPECT_LE(p.processed, p.total);
    EXPECT_LE(p.cached, p.processed);
    progress.push_back(p);
  }
  void on_prompt_logprobs(std::vector<TokenOutput> all) override {
    EXPECT_TRUE(tokens.empty());
    prompt_logprobs = std::move(all);
    ++logprob_calls;
  }
  bool on_token(const TokenOutput& token) override {
    EXPECT_EQ(finishes, 0);
    EXPECT_TRUE(last_ready) << "a token for a sink that isn't ready";
    EXPECT_TRUE(!progress.empty() && progress.back().processed == progress.back().total);
    tokens.push_back(token.id);
    return !each || each(token);
  }
  bool ready() override { return last_ready = !is_ready || is_ready(); }
  void on_finish(const AnswerSummary& s) override {
    EXPECT_EQ(++finishes, 1);
    EXPECT_EQ(s.answer_tokens, static_cast<std::int64_t>(tokens.size()));
    EXPECT_NE(s.finish, FinishReason::none);
    EXPECT_EQ(s.finish == FinishReason::failed, !s.error.empty());
    summary = s;
  }
};

inline std::vector<std::int32_t> numbers(std::uint64_t seed, std::int64_t count) {
  std::vector<std::int32_t> ids;
  std::uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
  for (std::int64_t i = 0; i < count; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    ids.push_back(static_cast<std::int32_t>(x % static_cast<std::uint64_t>(kVocab)));
  }
  return ids;
}

/// The answer as one sequence alone gives it, token by token, without the engine.
inline std::vector<std::int32_t> alone(model::TextModel& model, const Request& request,
                                       std::size_t index = 0) {
  model::SequencePool pool(
      model.backend(), model.config(),
      {.num_tokens = static_cast<std::int64_t>(request.prompt.size()) + request.max_tokens});
  model::Sequence sequence = pool.create();
  SamplingParams sampling = request.sampling;
  sampling.seed += index;
  Sampler sampler(sampling, model.config().vocab_size, request.prompt);
  std::vector<std::int32_t> next = request.prompt, answer;
  std::vector<float> logits;
  while (static_cast<std::int64_t>(answer.size()) < request.max_tokens) {
    const model::StepRows rows[] = {{.sequence = &sequence, .ids = next}};
    const TensorView hidden = model.forward(rows, pool);
    const std::int32_t last[] = {static_cast<std::int32_t>(next.size()) - 1};
    model.logits(hidden, last, logits);
    answer.push_back(sampler.sample(logits, {}).id);
    if (std::ranges::find(request.stop_ids, answer.back()) != request.stop_ids.end()) break;
    next = {answer.back()};
  }
  return answer;
}

inline std::vector<std::shared_ptr<Collector>> add_sinks(Request& request, std::size_t count = 1) {
  std::vector<std::shared_ptr<Collector>> sinks;
  for (std::size_t i = 0; i < count; ++i) sinks.push_back(std::make_shared<Collector>());
  request.sinks.assign(sinks.begin(), sinks.end());
  return sinks;
}

/// A request for `answer` tokens after `prompt` random ones, drawn with the same seed.
inline Request make_request(std::uint64_t seed, std::int64_t prompt, std::int64_t answer) {
  Request r;
  r.prompt = numbers(seed, prompt);
  r.sampling.seed = seed;
  r.max_tokens = answer;
  return r;
}

inline void run(Engine& engine) {
  int steps = 0;
  while (engine.step()) ASSERT_LT(++steps, 200000) << "the engine doesn't come to an end";
}

/// Nothing is held: not by sequences, and after a reset not by the cache either.
inline void expect_nothing_held(Engine& engine) {
  EXPECT_TRUE(engine.idle());
  EngineStatus s = engine.status();
  EXPECT_EQ(s.running, 0);
  EXPECT_EQ(s.waiting, 0);
  EXPECT_EQ(s.paused, 0);
  EXPECT_EQ(s.kv_pages_used, 0);
  EXPECT_EQ(s.slots_used, 0);
  EXPECT_EQ(s.seconds_since_step, 0);
  engine.reset_prefix_cache();
  engine.step();
  s = engine.status();
  EXPECT_EQ(s.kv_pages_used, 0);
  EXPECT_EQ(s.kv_pages_cached, 0);
  EXPECT_EQ(s.snapshots_used, 0);
}

}  // namespace octet::generate::test_support
