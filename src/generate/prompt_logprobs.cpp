#include "generate/prompt_logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "runtime/base/error.h"

namespace octet::generate {

TokenOutput prompt_logprob(std::span<const float> logits, std::int32_t id, int top,
                           LogprobsMode mode) {
  const float peak = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - peak);
  OCTET_CHECK(std::isfinite(peak) && std::isfinite(sum), "the model's logits are not finite");
  const bool raw = mode == LogprobsMode::raw_logits || mode == LogprobsMode::processed_logits;
  const double shift = raw ? 0 : peak + std::log(sum);
  TokenOutput out{.id = id, .has_logprob = true, .chosen = {}, .top = {}};
  if (static_cast<std::size_t>(id) < logits.size()) {
    const float own = logits[static_cast<std::size_t>(id)];
    out.chosen = {id, static_cast<float>(own - shift), 1};
    for (std::size_t i = 0; i < logits.size(); ++i)
      out.chosen.rank += logits[i] > own || (logits[i] == own && static_cast<std::int32_t>(i) < id);
  } else {  // a row of the vocabulary without a token can't come
    out.chosen = {id, -std::numeric_limits<float>::infinity(),
                  static_cast<std::int64_t>(logits.size()) + 1};
  }
  // The few best so far, in order: most logits are below the last of them.
  const auto count = std::min(logits.size(), static_cast<std::size_t>(std::max(0, top)));
  std::vector<std::pair<float, std::int32_t>> best;
  best.reserve(count + 1);
  for (std::size_t i = 0; count > 0 && i < logits.size(); ++i) {
    if (best.size() == count && logits[i] <= best.back().first) continue;
    const auto at = std::ranges::find_if(best, [&](const auto& b) { return b.first < logits[i]; });
    best.insert(at, {logits[i], static_cast<std::int32_t>(i)});
    if (best.size() > count) best.pop_back();
  }
  for (std::size_t i = 0; i < best.size(); ++i)
    out.top.push_back({best[i].second, static_cast<float>(best[i].first - shift),
                       static_cast<std::int64_t>(i) + 1});
  return out;
}

}  // namespace octet::generate
