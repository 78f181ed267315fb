#include "generate/self_text.h"

#include <algorithm>
#include <cmath>

#include "generate/generator.h"
#include "runtime/base/error.h"
#include "runtime/base/system.h"

namespace octet::generate {

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
    model::SequencePool pool(model.backend(), model.config(),
                             {.num_sequences = static_cast<std::int64_t>(last - first),
                              .num_tokens = static_cast<std::int64_t>(last - first) *
                                            (o.max_tokens + 2 * ops::kPageTokens)});
    Generator generator(model, pool, {.num_tokens = o.num_tokens});
    std::vector<int> numbers;
    for (std::size_t i = first; i < last; ++i) {
      const auto& beginning = o.beginnings[i % o.beginnings.size()];
      const auto given = static_cast<std::int64_t>(beginning.size());
      Request request;
      request.prompt = beginning;
      request.sampling.temperature = 1;
      request.sampling.top_k = 0;
      request.sampling.top_p = 1;
      request.sampling.seed = o.seed * 1'000'003 + i;
      request.max_tokens = std::max<std::int64_t>(1, lengths[i] - given);
      request.on_token = [&](std::int32_t) {
        if (progress && ++done % 64 == 0) progress(done);
        return true;
      };
      numbers.push_back(generator.add(std::move(request)));
    }
    while (generator.step()) check_interrupt();
    for (std::size_t i = first; i < last; ++i) {
      auto& row = rows.emplace_back(o.beginnings[i % o.beginnings.size()]);
      const auto& tokens = generator.answer(numbers[i - first]).tokens;
      row.insert(row.end(), tokens.begin(), tokens.end());
    }
    first = last;
  }
  return rows;
}

}  // namespace octet::generate
