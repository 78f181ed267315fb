#include "generate/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "generate/logit_scan.h"
#include "generate/sampling_cuts.h"
#include "generate/token_race.h"
#include "runtime/base/error.h"

namespace octet::generate {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kMaxFloat = std::numeric_limits<float>::max();

// Of the thread, because a sequence's would stand idle most of the time.
struct Scratch {
  LogitScan scan;
  std::vector<Candidate> candidates;
  std::vector<float> raw;
  std::vector<Candidate> stops;  // that min_tokens took from those of the mask
};
Scratch& scratch() {
  thread_local Scratch s;
  return s;
}

void apply_mask(std::span<float> logits, std::span<const std::uint32_t> mask) {
  for (std::size_t word = 0; word * 32 < logits.size(); ++word) {
    const std::uint32_t bits = word < mask.size() ? mask[word] : 0;
    if (bits == ~std::uint32_t{0}) continue;
    const auto row =
        logits.subspan(word * 32, std::min<std::size_t>(32, logits.size() - word * 32));
    if (bits == 0) {
      std::ranges::fill(row, -kInfinity);
      continue;
    }
    for (std::size_t i = 0; i < row.size(); ++i)
      if (!(bits >> i & 1)) row[i] = -kInfinity;
  }
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, std::int64_t num_tokens,
                 std::span<const std::int32_t> prompt)
    : params_(params),
      num_tokens_(static_cast<std::size_t>(std::max<std::int64_t>(0, num_tokens))) {
  validate(params, num_tokens);
  if (!params.allowed_token_ids.empty()) {
    allowed_.resize((num_tokens_ + 31) / 32);
    for (const std::int32_t id : params.allowed_token_ids)
      allowed_[static_cast<std::size_t>(id) / 32] |= std::uint32_t{1} << (id % 32);
  }
  for (const auto& word : params.bad_words)
    history_length_ = std::max(history_length_, word.size() - 1);
  if (params.repetition_penalty != 1.0)
    for (const std::int32_t id : prompt)
      if (seen_at_.try_emplace(id, seen_.size()).second) seen_.push_back({id, 0});
}

bool Sampler::raw_mode() const {
  return params_.logprobs_mode == LogprobsMode::raw_logprobs ||
         params_.logprobs_mode == LogprobsMode::raw_logits;
}

bool Sampler::penalizes() const {
  return params_.presence_penalty != 0 || params_.frequency_penalty != 0 ||
         params_.repetition_penalty != 1.0;
}

bool Sampler::has_masks() const {
  return !allowed_.empty() || !params_.bad_words.empty() || !params_.logit_bias.empty() ||
         position_ < params_.min_tokens;
}

// vLLM lifts what is neither greedy nor safe to divide by.
double Sampler::temperature() const {
  return std::max(params_.temperature, 0.01);
}

void Sampler::accept(std::int32_t id) {
  ++position_;
  if (penalizes()) {
    const auto [at, is_new] = seen_at_.try_emplace(id, seen_.size());
    if (is_new) seen_.push_back({id, 0});
    ++seen_[at->second].count;
  }
  if (history_length_ == 0) return;
  history_.push_back(id);
  if (history_.size() >= 2 * history_length_ + 16)
    history_.erase(history_.begin(), history_.end() - static_cast<std::ptrdiff_t>(history_length_));
}

void Sampler::mask_bad_words(std::span<float> logits) const {
  for (const auto& word : params_.bad_words) {
    const std::span<const std::int32_t> begin(word.data(), word.size() - 1);
    const auto last = static_cast<std::size_t>(word.back());
    if (begin.size() > history_.size() || last >= logits.size()) continue;
    if (std::ranges::equal(begin, std::span(history_).last(begin.size())))
      logits[last] = -kInfinity;
  }
}

void Sampler::mask_tokens(std::span<float> logits, std::span<const std::uint32_t> mask) const {
  if (!allowed_.empty()) apply_mask(logits, allowed_);
  mask_bad_words(logits);
  if (!mask.empty()) apply_mask(logits, mask);
  if (position_ < params_.min_tokens)
    for (const std::int32_t id : params_.min_tokens_stop_ids)
      if (static_cast<std::size_t>(id) < logits.size()) {
        float& x = logits[static_cast<std::size_t>(id)];
        if (!mask.empty() && x != -kInfinity) scratch().stops.push_back({x, id});
        x = -kInfinity;
      }
  add_bias(logits);
}

void Sampler::add_bias(std::span<float> logits) const {
  for (const auto& [id, bias] : params_.logit_bias)
    if (static_cast<std::size_t>(id) < logits.size())
      logits[static_cast<std::size_t>(id)] += std::clamp(bias, -100.0f, 100.0f);
}

void Sampler::penalize(std::span<float> logits) const {
  const auto repetition = static_cast<float>(params_.repetition_penalty);
  const auto frequency = static_cast<float>(params_.frequency_penalty);
  const auto presence = static_cast<float>(params_.presence_penalty);
  for (const Seen& s : seen_) {
    if (static_cast<std::size_t>(s.id) >= logits.size()) continue;
    float& x = logits[static_cast<std::size_t>(s.id)];
    if (x == -kInfinity) continue;
    // Extreme factors end at the largest number, not at an infinity that would look like a mask.
    if (repetition != 1.0f)
      x = x > 0 ? std::min(x / repetition, kMaxFloat) : std::max(x * repetition, -kMaxFloat);
    x -= frequency * static_cast<float>(s.count);
    if (s.count > 0) x -= presence;
  }
}

TokenOutput Sampler::sample(std::span<float> logits, std::span<const std::uint32_t> mask) {
  const auto tokens = logits.first(std::min(logits.size(), num_tokens_));
  const bool report = params_.num_logprobs != -1;
  const bool changes = has_masks() || !mask.empty() || !seen_.empty();
  auto& raw = scratch().raw;
  if (report && raw_mode() && changes) raw.assign(logits.begin(), logits.end());
  auto& stops = scratch().stops;
  stops.clear();
  if (has_masks() || !mask.empty()) mask_tokens(tokens, mask);
  if (penalizes()) penalize(tokens);

  LogitScan& scan = scratch().scan;
  if (!scan.reset(tokens))
    fail(ErrorCode::internal, "the model's logits are not finite (token {} of the answer)",
         position_);
  if (scan.max() == -kInfinity && !stops.empty()) {
    // Where a grammar is complete nothing but the end can come, however short the answer is. What
    // comes after the masks did nothing to logits of -inf, and does it now.
    for (const Candidate& c : stops) tokens[static_cast<std::size_t>(c.id)] = c.logit;
    add_bias(tokens);
    if (penalizes()) penalize(tokens);
    scan.reset(tokens);
  }
  if (scan.max() == -kInfinity) nothing_left(!mask.empty());
  const std::int32_t id = choose(tokens, report && !raw_mode());
  TokenOutput out{.id = id};
  if (report) {
    const std::span<const float> row =
        raw_mode() ? (changes ? std::span<const float>(raw) : std::span<const float>(logits))
                   : std::span<const float>(tokens);
    out = report_of(row, id);
  }
  accept(id);
  return out;
}

TokenOutput Sampler::report_of(std::span<const float> row, std::int32_t id) const {
  return token_logprobs(row, id, params_.num_logprobs, static_cast<std::int64_t>(num_tokens_),
                        params_.logprobs_mode, params_.logprob_token_ids);
}

TokenOutput Sampler::take(std::span<float> logits, std::int32_t id) {
  TokenOutput out{.id = id};
  const auto at = static_cast<std::size_t>(id);
  if (params_.num_logprobs != -1 && at < std::min(logits.size(), num_tokens_)) {
    if (!raw_mode()) {
      std::ranges::fill(logits.first(at), -kInfinity);
      std::ranges::fill(logits.subspan(at + 1), -kInfinity);
    }
    out = report_of(logits, id);
  }
  accept(id);
  return out;
}

std::int32_t Sampler::choose(std::span<float> logits, bool processed) const {
  LogitScan& scan = scratch().scan;
  auto& candidates = scratch().candidates;
  if (greedy()) return scan.argmax();
  const TokenRace race(params_.seed, static_cast<std::uint64_t>(position_), temperature());
  const bool cut = cut_candidates(
      scan, {temperature(), params_.top_k, params_.top_p, params_.min_p}, candidates);
  // Of many, most are dismissed without their Gumbel number.
  constexpr std::size_t kMany = 2048;
  std::int32_t id = -1;
  if (cut && candidates.size() < kMany)
    id = race.run(candidates);
  else
    id = race.run(scan, cut ? *std::ranges::max_element(candidates, more_likely)
                            : Candidate{-kInfinity, std::numeric_limits<std::int32_t>::max()});
  if (processed) {
    const auto t = static_cast<float>(temperature());
    if (cut) {
      std::ranges::fill(logits, -kInfinity);
      for (const Candidate& c : candidates) logits[static_cast<std::size_t>(c.id)] = c.logit / t;
    } else {
      for (float& x : logits) x /= t;
    }
  }
  return id;
}

void Sampler::nothing_left(bool constrained) const {
  std::string by;
  const auto add = [&](bool is, const char* name) {
    if (is) by += (by.empty() ? "" : ", ") + std::string(name);
  };
  add(!allowed_.empty(), "allowed_token_ids");
  add(!params_.bad_words.empty(), "bad_words");
  add(constrained, "the grammar");
  add(position_ < params_.min_tokens, "min_tokens");
  if (by.empty()) fail(ErrorCode::internal, "all of the model's logits are -inf");
  fail(ErrorCode::invalid_argument,
       "token {} of the answer: nothing is left to choose from after {}", position_, by);
}

}  // namespace octet::generate
