#pragma once

#include <cstdint>
#include <span>

#include "generate/logit_scan.h"

namespace octet::generate {

/// One draw from softmax(logits / temperature) as a race: each candidate has a Gumbel number, which
/// is a function of (seed, position, id) and of nothing else, and the largest logit / temperature +
/// Gumbel number wins. So a token doesn't depend on what was drawn before, on the batch, on a
/// draft, or on which other candidates were cut away, and a draft is verified by drawing again.
/// The random bits: a 64-bit mix of seed and position keys two 32-bit hashes of the id, 52 bits of
/// which are used. Threads: any.
class TokenRace {
 public:
  TokenRace(std::uint64_t seed, std::uint64_t position, double temperature);
  /// Standard Gumbel, between -3.7 and 36.8.
  double gumbel(std::int32_t id) const;
  /// The winner among candidates (at least one), the lowest id of equals.
  std::int32_t run(std::span<const Candidate> candidates) const;
  /// The winner among all of a scan's logits down to `least` (more_likely); one of them is finite.
  /// The same as run() of them, but faster for many.
  std::int32_t run(const LogitScan& scan, const Candidate& least) const;

 private:
  struct Best;
  void offer(Best& best, const Candidate& candidate, float reference) const;
  std::uint64_t key_;
  double scale_;  // 1 / temperature
};

}  // namespace octet::generate
