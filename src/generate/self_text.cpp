#include "generate/self_text.h"

#include <algorithm>
#include <cmath>

#include "generate/engine.h"
#include "runtime/base/error.h"
#include "runtime/base/system.h"

namespace octet::generate {

namespace {

struct Row : AnswerSink {
  std::vector<std::int32_t> ids;
  std::function<void()> progress;
  AnswerSummary summary;
  bool on_token(const TokenOutput& token) override {
    ids.push_back(token.id);
    progress();
    return true;
  }
  void on_finish(const AnswerSummary& s) override { summary = s; }
};

}  // namespace

std::vector<std::vector<std::int32_t>> write_self_text(
    model::TextModel& model, const SelfTextOptions& o,
    const std::function<void(std::int64_t)>& progress) {
  if (o.tokens < 1 || o.min_tokens < 1 || o.max_tokens < o.min_tokens || o.batch < 1 ||
      o.beginnings.empty() ||
      std::ranges::any_of(o.beginnings, [](const auto& b) { return b.empty(); }))
    fail(ErrorCode::invalid_argument,
         "text written by the model: {} tokens in rows of {} to {}: expected numbers above 0",
         o.tokens, o.min_tokens, o.max_tokens);
  // Multiples of the golden ratio, modulo 1, are spread evenly however many there are.
  std::vector<std::int64_t> lengths;
  std::int64_t total = 0;
  for (std::int64_t i = 0; total < o.tokens; ++i) {
    const double share = std::fmod(0.6180339887498949 * static_cast<double>(i + 1), 1.0);
    lengths.push_back(o.min_tokens + static_cast<std::int64_t>(
                                         share * static_cast<double>(o.max_tokens - o.min_tokens)));
    total += lengths.back();
  }
  std::vector<std::vector<std::int32_t>> rows;
  std::int64_t done = 0;
  for (std::size_t first = 0; first < lengths.size();) {
    const std::size_t last = std::min(first + static_cast<std::size_t>(o.batch), lengths.size());
    const auto batch = static_cast<std::int64_t>(last - first);
    Engine engine(model, {.max_sequences = batch,
                          .max_model_len = o.max_tokens + 2 * ops::kPageTokens,
                          .kv_tokens = batch * (o.max_tokens + 2 * ops::kPageTokens),
                          .num_tokens = o.num_tokens,
                          .max_queued = batch,
                          .prefix_cache = false});
    std::vector<std::shared_ptr<Row>> answers;
    for (std::size_t i = first; i < last; ++i) {
      const auto& row = answers.emplace_back(std::make_shared<Row>());
      row->ids = o.beginnings[i % o.beginnings.size()];
      row->progress = [&] {
        if (progress && ++done % 64 == 0) progress(done);
      };
      Request request;
      request.prompt = row->ids;
      request.sampling.seed = o.seed * 1'000'003 + i;
      request.max_tokens =
          std::max<std::int64_t>(1, lengths[i] - static_cast<std::int64_t>(row->ids.size()));
      request.sinks = {row};
      engine.submit(std::move(request));
    }
    while (engine.step()) check_interrupt();
    for (const auto& row : answers) {
      if (row->summary.finish == FinishReason::failed)
        fail(ErrorCode::internal, "text written by the model: {}", row->summary.error);
      rows.push_back(std::move(row->ids));
    }
    first = last;
  }
  return rows;
}

}  // namespace octet::generate
