#include "generate/repetition.h"

#include "runtime/base/error.h"

namespace octet::generate {

namespace {
constexpr std::int64_t kMaxPattern = 4096, kMaxCount = 1 << 20;
}  // namespace

void validate(const RepetitionLimit& l) {
  if (l.max_pattern_size == 0) return;
  if (l.max_pattern_size < 0 || l.max_pattern_size > kMaxPattern)
    fail(ErrorCode::invalid_argument, "repetition: max_pattern_size = {}: expected 0 (off) to {}",
         l.max_pattern_size, kMaxPattern);
  if (l.min_pattern_size < 1 || l.min_pattern_size > l.max_pattern_size)
    fail(ErrorCode::invalid_argument,
         "repetition: min_pattern_size = {}: expected 1 to max_pattern_size = {}",
         l.min_pattern_size, l.max_pattern_size);
  if (l.min_count < 2 || l.min_count > kMaxCount)
    fail(ErrorCode::invalid_argument, "repetition: min_count = {}: expected 2 to {}", l.min_count,
         kMaxCount);
}

RepetitionDetector::RepetitionDetector(const RepetitionLimit& limit) : limit_(limit) {
  if (limit.max_pattern_size > 0)
    equal_.resize(static_cast<std::size_t>(limit.max_pattern_size - limit.min_pattern_size + 1));
}

bool RepetitionDetector::repeats(std::span<const std::int32_t> answer) {
  bool reached = false;
  for (std::size_t i = 0; i < equal_.size(); ++i) {
    const std::size_t n = i + static_cast<std::size_t>(limit_.min_pattern_size);
    if (answer.size() <= n) break;
    equal_[i] = answer.back() == answer[answer.size() - 1 - n] ? equal_[i] + 1 : 0;
    reached |= equal_[i] >= (limit_.min_count - 1) * static_cast<std::int64_t>(n);
  }
  return reached;
}

}  // namespace octet::generate
