#pragma once

#include <cstdint>
#include <vector>

#include "generate/logit_scan.h"

namespace octet::generate {

struct Cuts {
  double temperature = 1;  ///< above 0
  std::int64_t top_k = 0;  ///< 0 or less: off
  double top_p = 1;
  double min_p = 0;
};

/// min_p, then top_k, then top_p of softmax(logits / temperature), of what the cut before left. The
/// scan has a finite logit. candidates: what is kept, at least one, in no order. False: nothing is
/// cut, and candidates is empty.
/// Cost: of what is near the top; for a flat distribution linear in the vocabulary, never a sort of
/// it.
bool cut_candidates(const LogitScan& scan, const Cuts& cuts, std::vector<Candidate>& candidates);

}  // namespace octet::generate
