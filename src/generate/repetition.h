#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "generate/engine.h"

namespace octet::generate {

/// Throws invalid_argument naming the field, its value and the accepted range.
void validate(const RepetitionLimit& limit);

/// Sees the tokens of one answer and tells when it repeats itself (RepetitionLimit).
/// Cost: a comparison for each pattern size and token, whatever the counts.
class RepetitionDetector {
 public:
  RepetitionDetector() = default;
  explicit RepetitionDetector(const RepetitionLimit& limit);
  /// After each token, with all tokens of the answer so far. True: the limit is reached.
  bool repeats(std::span<const std::int32_t> answer);

 private:
  RepetitionLimit limit_;
  // For each pattern size: so many last tokens equal the one a pattern before.
  std::vector<std::int64_t> equal_;
};

}  // namespace octet::generate
