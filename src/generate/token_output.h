#pragma once

#include <cstdint>
#include <vector>

namespace octet::generate {

/// A token and how likely the model held it: natural logarithm, of the distribution that
/// LogprobsMode names.
struct TokenLogprob {
  std::int32_t id = 0;
  float logprob = 0;
  std::int64_t rank = 0;  ///< 1: the most likely
};

/// One chosen token of an answer.
struct TokenOutput {
  std::int32_t id = 0;
  bool has_logprob = false;
  TokenLogprob chosen;            ///< if has_logprob
  std::vector<TokenLogprob> top;  ///< as many as were asked for, most likely first
};

}  // namespace octet::generate
