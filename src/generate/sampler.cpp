#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "runtime/base/error.h"

namespace octet::generate {

void validate(const SamplingParams& p) {
  const auto require = [](bool good, const char* name, double value, const char* range) {
    if (!good || std::isnan(value))
      fail(ErrorCode::invalid_argument, "{} = {}: expected {}", name, value, range);
  };
  require(p.temperature >= 0 && p.temperature <= 100, "temperature", p.temperature, "0 to 100");
  require(p.top_k >= 0, "top_k", static_cast<double>(p.top_k), "0 (all) or more");
  require(p.top_p > 0 && p.top_p <= 1, "top_p", p.top_p, "above 0, at most 1");
  require(p.min_p >= 0 && p.min_p <= 1, "min_p", p.min_p, "0 to 1");
  require(std::fabs(p.presence_penalty) <= 2, "presence_penalty", p.presence_penalty, "-2 to 2");
  require(std::fabs(p.frequency_penalty) <= 2, "frequency_penalty", p.frequency_penalty, "-2 to 2");
  require(p.repetition_penalty > 0 && p.repetition_penalty <= 100, "repetition_penalty",
          p.repetition_penalty, "above 0, at most 100");
}

Sampler::Sampler(const SamplingParams& params, std::int64_t num_tokens,
                 std::span<const std::int32_t> prompt)
    : params_(params), num_tokens_(static_cast<std::size_t>(num_tokens)) {
  validate(params);
  if (params.repetition_penalty != 1.0) {
    prompt_.assign(prompt.begin(), prompt.end());
    std::ranges::sort(prompt_);
    prompt_.erase(std::ranges::unique(prompt_).begin(), prompt_.end());
  }
}

void Sampler::accept(std::int32_t id) {
  ++position_;
  counts_.resize(num_tokens_);
  if (static_cast<std::size_t>(id) < counts_.size()) ++counts_[static_cast<std::size_t>(id)];
}

TokenOutput Sampler::sample(std::span<float> logits, std::span<const std::uint32_t> mask) {
  logits = logits.first(std::min(logits.size(), num_tokens_));
  if (!mask.empty())
    for (std::size_t id = 0; id < logits.size(); ++id)
      if (!(mask[id / 32] >> (id % 32) & 1u)) logits[id] = -std::numeric_limits<float>::infinity();
  const bool penalties = params_.presence_penalty != 0 || params_.frequency_penalty != 0 ||
                         params_.repetition_penalty != 1.0;
  if (penalties) {
    counts_.resize(num_tokens_);
    const auto repeat = [&](std::size_t id) {
      float& x = logits[id];
      const auto r = static_cast<float>(params_.repetition_penalty);
      x = x > 0 ? x / r : x * r;
    };
    for (const std::int32_t id : prompt_)
      if (static_cast<std::size_t>(id) < logits.size() &&
          counts_[static_cast<std::size_t>(id)] == 0)
        repeat(static_cast<std::size_t>(id));
    for (std::size_t id = 0; id < logits.size(); ++id) {
      if (counts_[id] == 0) continue;
      if (params_.repetition_penalty != 1.0) repeat(id);
      logits[id] -=
          static_cast<float>(params_.presence_penalty + params_.frequency_penalty * counts_[id]);
    }
  }
  const auto top = std::ranges::max_element(logits);
  OCTET_CHECK(top != logits.end() && std::isfinite(*top), "the model's logits are not finite");
  const std::int32_t id =
      params_.temperature < 1e-5 ? static_cast<std::int32_t>(top - logits.begin()) : draw(logits);
  accept(id);
  return {.id = id};
}

std::int32_t Sampler::draw(std::span<float> logits) {
  struct Candidate {
    float logit;
    std::int32_t id;
  };
  // Most likely first; equal ones in order of id, so that the choice doesn't depend on the sort.
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  const float top = *std::ranges::max_element(logits);
  // What lies e^-30 below the top can't be drawn and needn't be sorted.
  const float floor = top - 30.0f * static_cast<float>(std::max(params_.temperature, 1e-3));
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (logits[i] >= floor) candidates.push_back({logits[i], static_cast<std::int32_t>(i)});
  if (params_.top_k > 0 && candidates.size() > static_cast<std::size_t>(params_.top_k)) {
    std::ranges::nth_element(candidates, candidates.begin() + params_.top_k - 1, before);
    candidates.resize(static_cast<std::size_t>(params_.top_k));
  }
  std::ranges::sort(candidates, before);
  std::vector<double> weights;
  double total = 0;
  for (const Candidate& c : candidates) {
    weights.push_back(std::exp((static_cast<double>(c.logit) - top) / params_.temperature));
    total += weights.back();
  }
  std::size_t keep = 0;
  double kept = 0;
  while (keep < weights.size() && (keep == 0 || (kept < params_.top_p * total &&
                                                 weights[keep] >= params_.min_p * weights[0])))
    kept += weights[keep++];
  // 53 random bits: a uniform number in [0, 1) on every standard library.
  std::uint64_t bits = (params_.seed * 0x9e3779b97f4a7c15u) ^ (position_ * 0xd1342543de82ef95u);
  for (int i = 0; i < 2; ++i) {
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
    bits ^= bits >> 31;
  }
  double target = static_cast<double>(bits >> 11) * 0x1p-53 * kept;
  for (std::size_t i = 0; i + 1 < keep; ++i) {
    target -= weights[i];
    if (target < 0) return candidates[i].id;
  }
  return candidates[keep - 1].id;
}

}  // namespace octet::generate
