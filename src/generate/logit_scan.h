#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octet::generate {

struct Candidate {
  float logit = 0;
  std::int32_t id = 0;
};
/// Most likely first, equal ones by id: the order of ranks and of every cut.
inline bool more_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/// One pass over a row of logits that makes later questions cheap: the largest of each block of 64.
/// The few that matter to a cut lie in a few blocks. Threads: one at a time.
class LogitScan {
 public:
  /// Looks at logits, which stay where they are and unchanged until the next reset. False: a NaN or
  /// +inf was found. Memory: 4 bytes a block, kept.
  bool reset(std::span<const float> logits);

  /// -inf if there is none.
  float max() const { return max_; }
  /// The lowest id of the largest logit.
  std::int32_t argmax() const;
  std::size_t size() const { return logits_.size(); }
  std::span<const float> logits() const { return logits_; }
  std::span<const float> block_maxima() const { return maxima_; }

  /// Sum of exp((logit - reference) * scale), to 1e-6. reference >= max(). -inf counts nothing.
  double exp_sum(float reference, double scale) const;
  /// All with a logit >= floor (not -inf), by id.
  void at_least(double floor, std::vector<Candidate>& out) const;
  /// The k most likely by more_likely, in no order; fewer if fewer are finite. k >= 1.
  void most_likely(std::size_t k, std::vector<Candidate>& out) const;
  /// 1 + the number of those that are more likely.
  std::int64_t rank(std::int32_t id) const;

 private:
  std::span<const float> logits_;
  std::vector<float> maxima_;
  mutable std::vector<float> order_;  // scratch of most_likely
  float max_ = 0;
};

constexpr std::size_t kScanBlock = 64;

}  // namespace octet::generate
