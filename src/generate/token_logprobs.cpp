#include <algorithm>
#include <cmath>
#include <limits>

#include "generate/logit_scan.h"
#include "generate/sampler.h"
#include "runtime/base/error.h"

namespace octet::generate {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What is subtracted from a logit to give its log-probability: the logarithm of the sum over the
// whole row, ids that have no token included, as the model's softmax has them.
double normalizer(const LogitScan& scan, std::span<const float> rest) {
  float top = scan.max();
  for (const float x : rest) {
    if (std::isnan(x) || x == kInfinity) return std::numeric_limits<double>::quiet_NaN();
    top = std::max(top, x);
  }
  double sum = scan.exp_sum(top, 1);
  for (const float x : rest) sum += std::exp(static_cast<double>(x) - top);
  return static_cast<double>(top) + std::log(sum);
}

}  // namespace

TokenOutput Sampler::token_logprobs(std::span<const float> logits, std::int32_t id,
                                    int num_logprobs, std::int64_t num_tokens, LogprobsMode mode,
                                    std::span<const std::int32_t> also) {
  thread_local LogitScan scan;
  thread_local std::vector<Candidate> top;
  const auto tokens = logits.first(
      std::min(logits.size(), static_cast<std::size_t>(std::max<std::int64_t>(0, num_tokens))));
  bool good = scan.reset(tokens) && scan.max() > -kInfinity;
  double minus = 0;
  if (good && (mode == LogprobsMode::raw_logprobs || mode == LogprobsMode::processed_logprobs)) {
    minus = normalizer(scan, logits.subspan(tokens.size()));
    good = std::isfinite(minus);
  }
  if (!good) fail(ErrorCode::internal, "the model's logits are not finite");

  const auto value = [&](std::int32_t token) {
    return static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(token)]) - minus);
  };
  const auto has = [&](std::int32_t token) {
    return static_cast<std::size_t>(token) < tokens.size();
  };
  TokenOutput out{.id = id};
  if (has(id)) {
    out.has_logprob = true;
    out.chosen = {id, value(id), scan.rank(id)};
  }
  top.clear();
  if (num_logprobs == -2)
    for (std::size_t i = 0; i < tokens.size(); ++i)
      top.push_back({tokens[i], static_cast<std::int32_t>(i)});
  else if (num_logprobs > 0)
    scan.most_likely(static_cast<std::size_t>(num_logprobs), top);
  // Cut away ones come last: as many are reported as were asked for.
  const auto wanted = std::min(tokens.size(), static_cast<std::size_t>(std::max(0, num_logprobs)));
  for (std::size_t i = 0; top.size() < wanted; ++i)
    if (tokens[i] == -kInfinity) top.push_back({tokens[i], static_cast<std::int32_t>(i)});
  std::ranges::sort(top, more_likely);
  out.top.reserve(top.size() + also.size());
  for (const Candidate& c : top)
    out.top.push_back({c.id, value(c.id), static_cast<std::int64_t>(out.top.size()) + 1});
  for (const std::int32_t token : also)
    if (has(token) && std::ranges::find(out.top, token, &TokenLogprob::id) == out.top.end())
      out.top.push_back({token, value(token), scan.rank(token)});
  return out;
}

}  // namespace octet::generate
