#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <span>
#include <vector>

#include "generate/sampler.h"
#include "generate/token_race.h"

namespace octet::generate::test {

inline constexpr float kNever = -std::numeric_limits<float>::infinity();

/// The sampler as its specification reads: everything sorted, sums in double precision.
/// history: the answer so far. Only the race's numbers are the program's own.
inline std::int32_t slow_sample(const SamplingParams& p, std::int64_t num_tokens,
                                const std::vector<std::int32_t>& prompt,
                                const std::vector<std::int32_t>& history, std::vector<float> x,
                                const std::vector<std::uint32_t>& mask) {
  const auto n = std::min<std::size_t>(x.size(), static_cast<std::size_t>(num_tokens));
  x.resize(n);
  const auto at = [&](std::int32_t id) -> float& { return x[static_cast<std::size_t>(id)]; };
  if (!p.allowed_token_ids.empty()) {
    const std::set<std::int32_t> allowed(p.allowed_token_ids.begin(), p.allowed_token_ids.end());
    for (std::size_t i = 0; i < n; ++i)
      if (!allowed.contains(static_cast<std::int32_t>(i))) x[i] = kNever;
  }
  for (const auto& word : p.bad_words) {
    const std::size_t before = word.size() - 1;
    bool matches = before <= history.size();
    for (std::size_t i = 0; matches && i < before; ++i)
      matches = history[history.size() - before + i] == word[i];
    if (matches) at(word.back()) = kNever;
  }
  if (!mask.empty())
    for (std::size_t i = 0; i < n; ++i)
      if (!(mask[i / 32] >> (i % 32) & 1)) x[i] = kNever;
  if (static_cast<std::int64_t>(history.size()) < p.min_tokens) {
    std::vector<float> without = x;
    for (const std::int32_t id : p.min_tokens_stop_ids)
      without[static_cast<std::size_t>(id)] = kNever;
    // A grammar that leaves nothing but the end has the last word.
    if (mask.empty() || std::ranges::any_of(without, [](float v) { return v != kNever; }))
      x = without;
  }
  for (const auto& [id, bias] : p.logit_bias) at(id) += std::min(100.f, std::max(-100.f, bias));
  for (std::size_t i = 0; i < n; ++i) {
    const auto id = static_cast<std::int32_t>(i);
    const auto count = std::ranges::count(history, id);
    const auto r = static_cast<float>(p.repetition_penalty);
    if (count > 0 || std::ranges::count(prompt, id) > 0) x[i] = x[i] > 0 ? x[i] / r : x[i] * r;
    x[i] -= static_cast<float>(p.frequency_penalty) * static_cast<float>(count);
    if (count > 0) x[i] -= static_cast<float>(p.presence_penalty);
  }
  std::vector<std::int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](auto a, auto b) { return at(a) > at(b); });
  std::erase_if(order, [&](auto id) { return at(id) == kNever; });
  if (p.temperature < 1e-5) return order.front();
  const double t = std::max(p.temperature, 0.01);
  const auto weight = [&](std::int32_t id) {
    return std::exp((static_cast<double>(at(id)) - at(order.front())) / t);
  };
  const double least = p.min_p * weight(order.front());
  std::erase_if(order, [&](auto id) { return weight(id) < least; });
  if (p.top_k > 0 && order.size() > static_cast<std::size_t>(p.top_k))
    order.resize(static_cast<std::size_t>(p.top_k));
  if (p.top_p < 1) {
    double total = 0, sum = 0;
    for (const auto id : order) total += weight(id);
    std::size_t keep = 0;
    while (keep < order.size() && (keep == 0 || sum < p.top_p * total))
      sum += weight(order[keep++]);
    order.resize(keep);
  }
  const TokenRace race(p.seed, history.size(), t);
  double best = -1e300;
  std::int32_t winner = -1;
  for (const auto id : order) {
    const double score = (static_cast<double>(at(id)) - at(order.front())) / t + race.gumbel(id);
    if (score > best || (score == best && id < winner)) best = score, winner = id;
  }
  return winner;
}

/// Counts of what a sampler draws from the same logits again and again.
inline std::vector<double> counts(Sampler& sampler, const std::vector<float>& logits, int draws) {
  std::vector<double> seen(logits.size());
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    seen[static_cast<std::size_t>(sampler.sample(copy).id)] += 1;
  }
  return seen;
}

/// Pearson's statistic; a category that can't come and came makes it infinite. One degree of
/// freedom less than categories with probability above 0.
inline double chi_square(const std::vector<double>& seen, const std::vector<double>& probability) {
  const double total = std::accumulate(seen.begin(), seen.end(), 0.0);
  double x = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const double expected = total * probability[i];
    if (expected > 0)
      x += (seen[i] - expected) * (seen[i] - expected) / expected;
    else if (seen[i] > 0)
      x = std::numeric_limits<double>::infinity();
  }
  return x;
}
/// What a correct distribution exceeds once in about a million times.
inline double chi_square_limit(double degrees) {
  const double z = 4.9, c = 2.0 / (9 * degrees);  // Wilson and Hilferty
  return degrees * std::pow(1 - c + z * std::sqrt(c), 3);
}

}  // namespace octet::generate::test
