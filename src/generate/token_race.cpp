#include "generate/token_race.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace octet::generate {

namespace {

// Finalizer of SplitMix64: every bit of the result depends on every bit of x.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15u;

// The upper 32 bits of a candidate's number: of 32-bit operations only, as all candidates are
// hashed for each token. Both halves of the key enter, at different depths.
constexpr std::uint32_t kSpread = 0x9e3779b1u;
constexpr std::uint32_t upper_bits_of(std::uint32_t h, std::uint32_t key1) {
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h = (h ^ (h >> 13)) + key1;
  h *= 0xc2b2ae35u;
  return h ^ (h >> 16);
}
constexpr std::uint32_t upper_bits(std::uint32_t id, std::uint32_t key0, std::uint32_t key1) {
  return upper_bits_of(id * kSpread + key0, key1);
}
// What ids of a block add before the first mix.
constexpr auto kSpreadInBlock = [] {
  std::array<std::uint32_t, kScanBlock> a{};
  for (std::uint32_t i = 0; i < kScanBlock; ++i) a[i] = i * kSpread;
  return a;
}();

}  // namespace

struct TokenRace::Best {
  double score = -std::numeric_limits<double>::infinity();
  std::int32_t id = -1;
};

TokenRace::TokenRace(std::uint64_t seed, std::uint64_t position, double temperature)
    : key_(mix64(mix64(seed + kStep) + (position + 1) * kStep)), scale_(1 / temperature) {}

double TokenRace::gumbel(std::int32_t id) const {
  const auto n = static_cast<std::uint32_t>(id);
  const std::uint64_t upper =
      upper_bits(n, static_cast<std::uint32_t>(key_), static_cast<std::uint32_t>(key_ >> 32));
  const std::uint64_t lower = mix64(key_ + (std::uint64_t{n} + 1) * kStep) >> 44;
  // Uniform in (0, 1) with 52 bits and never its ends; -log1p(-u) is exponential, and small where u
  // is, to full precision: there the winners are.
  const double u = (static_cast<double>(upper << 20 | lower) + 0.5) * 0x1p-52;
  return -std::log(-std::log1p(-u));
}

void TokenRace::offer(Best& best, const Candidate& c, float reference) const {
  if (c.logit == -std::numeric_limits<float>::infinity()) return;
  const double score = (static_cast<double>(c.logit) - reference) * scale_ + gumbel(c.id);
  if (score > best.score || (score == best.score && c.id < best.id)) best = {score, c.id};
}

std::int32_t TokenRace::run(std::span<const Candidate> candidates) const {
  float reference = candidates.front().logit;
  for (const Candidate& c : candidates) reference = std::max(reference, c.logit);
  Best best;
  for (const Candidate& c : candidates) offer(best, c, reference);
  return best.id;
}

std::int32_t TokenRace::run(const LogitScan& scan, const Candidate& least) const {
  const auto logits = scan.logits();
  const float reference = scan.max();
  const auto key0 = static_cast<std::uint32_t>(key_), key1 = static_cast<std::uint32_t>(key_ >> 32);
  const auto scale = static_cast<float>(scale_);
  Best best;
  const auto enter = [&](std::size_t i) {
    const Candidate c{logits[i], static_cast<std::int32_t>(i)};
    if (!more_likely(least, c)) offer(best, c, reference);
  };
  enter(static_cast<std::size_t>(scan.argmax()));  // a high mark from the start
  for (std::size_t b = 0; b < scan.block_maxima().size(); ++b) {
    // No Gumbel number is above 36.8.
    const double highest =
        (static_cast<double>(scan.block_maxima()[b]) - reference) * scale_ + 36.8;
    if (!(highest >= best.score)) continue;
    const std::size_t begin = b * kScanBlock;
    if (begin + kScanBlock > logits.size()) {
      for (std::size_t i = begin; i < logits.size(); ++i) enter(i);
      continue;
    }
    // A candidate beats the best only if its exponential number is below w = exp(d), d its lead
    // before the draw; the number is at least u, of which the upper bits are known. w is bounded
    // from above by the straight line between powers of two, which the bits of a float are.
    const float* x = logits.data() + begin;
    const auto mark = static_cast<float>(best.score);
    const std::uint32_t base = static_cast<std::uint32_t>(begin) * kSpread + key0;
    float d[kScanBlock];
    std::int32_t hit[kScanBlock], any = 0;
    for (std::size_t i = 0; i < kScanBlock; ++i) {
      const float lead = (x[i] - reference) * scale - mark;
      d[i] = lead > -80.0f ? lead : -80.0f;
    }
    for (std::size_t i = 0; i < kScanBlock; ++i) {
      const float w =
          std::bit_cast<float>(static_cast<std::int32_t>(d[i] * 12102204.0f + 1065353216.0f));
      const std::uint32_t h = upper_bits_of(base + kSpreadInBlock[i], key1);
      const auto u = static_cast<float>(static_cast<std::int32_t>(h >> 1));
      hit[i] = u <= w * (2147483648.0f * 1.001f) + 1.0f ? 1 : 0;
      any |= hit[i];
    }
    if (!any) continue;
    for (std::size_t i = 0; i < kScanBlock; ++i)
      if (hit[i]) enter(begin + i);
  }
  return best.id;
}

}  // namespace octet::generate
