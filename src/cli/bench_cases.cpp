#include "cli/bench_cases.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <span>

#include "runtime/base/progress.h"
#include "runtime/base/system.h"

namespace octet::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

constexpr std::int64_t kChunk = 512;  // rows of a prefill step

void feed(model::TextModel& model, model::SequencePool& pool, model::Sequence& s,
          std::int64_t tokens) {
  const std::vector<std::int32_t> ids(kChunk, 1);
  for (std::int64_t done = 0; done < tokens; done += kChunk) {
    check_interrupt();
    const auto count = static_cast<std::size_t>(std::min(kChunk, tokens - done));
    const model::StepRows rows[] = {{.sequence = &s, .ids = std::span(ids).first(count)}};
    model.forward(rows, pool);
  }
}

// A sequence of `tokens` tokens without computing them all: speed depends on how many there are,
// not on what they say. The first page is real and is copied over the others, so that each of them
// is memory of its own.
model::Sequence long_sequence(model::TextModel& model, model::SequencePool& pool,
                              std::int64_t tokens) {
  model::Sequence s = pool.create();
  const std::int64_t real = std::min(tokens, ops::kPageTokens);
  if (real > 0) feed(model, pool, s, real);
  if (tokens > real) {
    pool.segment(s, tokens - real, false);
    pool.advance(s, tokens - real, false);
    for (std::size_t page = 1; page < s.pages().size(); ++page)
      pool.kv().copy_page(s.pages()[0], s.pages()[page]);
  }
  return s;
}

}  // namespace

double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v.size() % 2 ? v[v.size() / 2] : (v[v.size() / 2 - 1] + v[v.size() / 2]) / 2;
}

std::vector<double> BenchCase::rates() const {
  std::vector<double> all;
  for (const double s : seconds) all.push_back(tokens() / s);
  std::ranges::sort(all);
  return all;
}

class PrefillCase final : public BenchCase {
 public:
  PrefillCase(BenchModel& bench, std::int64_t tokens) : bench_(bench) {
    kind = "prefill";
    prompt = rows = tokens;
    flops_per_token = bench.flops_per_token();
  }
  double round() override {
    model::Sequence s = bench_.pool_.create();
    const auto start = Clock::now();
    feed(bench_.model_, bench_.pool_, s, prompt);
    return seconds_since(start);
  }

 private:
  BenchModel& bench_;
};

class StepCase final : public BenchCase {
 public:
  StepCase(BenchModel& bench, std::int64_t tokens, std::int64_t sequences, std::int64_t drafts)
      : bench_(bench), drafts_(drafts), ids_(static_cast<std::size_t>(drafts + 1), 1) {
    kind = drafts > 0 ? "verify" : "decode";
    context = tokens;
    batch = sequences;
    rows = sequences * (drafts + 1);
    steps_ = bench.decode_steps_;
    bytes_per_step = bench.step_bytes(tokens + steps_ / 2, sequences);
    for (std::int64_t i = 0; i < sequences; ++i)
      sequences_.push_back(long_sequence(bench.model_, bench.pool_, tokens));
    indices_.resize(static_cast<std::size_t>(rows));
    std::iota(indices_.begin(), indices_.end(), 0);
    step();  // what a step allocates once is allocated now
  }
  double round() override {
    const auto start = Clock::now();
    for (std::int64_t i = 0; i < steps_; ++i) {
      check_interrupt();
      step();
    }
    return seconds_since(start);
  }

 private:
  void step() {
    std::vector<model::StepRows> step;
    for (auto& s : sequences_) step.push_back({.sequence = &s, .ids = ids_, .draft = drafts_ > 0});
    bench_.model_.logits(bench_.model_.forward(step, bench_.pool_), indices_, logits_);
    if (drafts_ > 0)
      for (auto& s : sequences_) s.accept(1);
  }

  BenchModel& bench_;
  std::int64_t drafts_;
  std::vector<model::Sequence> sequences_;
  std::vector<std::int32_t> ids_, indices_;
  std::vector<float> logits_;
};

std::unique_ptr<BenchCase> BenchModel::prefill(std::int64_t prompt) {
  return std::make_unique<PrefillCase>(*this, prompt);
}

std::unique_ptr<BenchCase> BenchModel::decode(std::int64_t context, std::int64_t batch) {
  return std::make_unique<StepCase>(*this, context, batch, 0);
}

std::unique_ptr<BenchCase> BenchModel::verify(std::int64_t context, std::int64_t drafts) {
  return std::make_unique<StepCase>(*this, context, 1, drafts);
}

double BenchModel::step_bytes(std::int64_t context, std::int64_t batch) const {
  const ops::KvCacheShape& kv = pool_.kv().shape();
  const ops::StateCacheShape& s = pool_.states().shape();
  const double token = static_cast<double>(pool_.kv().bytes()) /
                       static_cast<double>(kv.num_pages * ops::kPageTokens);
  // Read and written.
  const double states =
      2.0 * 4 *
      static_cast<double>(s.num_layers * s.num_value_heads * s.key_head_dim * s.value_head_dim);
  return static_cast<double>(model_.bytes_per_step()) +
         static_cast<double>(batch) * (states + token * static_cast<double>(context));
}

double BenchModel::flops_per_token() const {
  const auto& c = model_.config();
  double flops = 0;
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    flops += 6.0 * static_cast<double>(c.hidden_size * c.intermediate_size);
    if (c.is_full_attention(i))
      flops += 2.0 * static_cast<double>(c.hidden_size * c.head_dim) *
               static_cast<double>(3 * c.num_attention_heads + 2 * c.num_key_value_heads);
    else
      flops += 2.0 * static_cast<double>(c.hidden_size) *
               static_cast<double>(c.conv_dim() + 2 * c.value_dim() + 2 * c.linear_num_value_heads);
  }
  return flops;
}

void run_rounds(std::vector<std::unique_ptr<BenchCase>>& cases, std::int64_t rounds) {
  Progress progress("measuring", rounds * static_cast<std::int64_t>(cases.size()), "rounds");
  std::int64_t done = 0;
  for (std::int64_t r = 0; r < rounds; ++r)
    for (const auto& c : cases) {
      c->seconds.push_back(c->round());
      progress.update(++done, fmt::format("{} {}: {:.2f} tokens/s", c->kind,
                                          c->kind == "prefill" ? c->prompt : c->rows,
                                          c->tokens() / c->seconds.back()));
    }
}

}  // namespace octet::cli
