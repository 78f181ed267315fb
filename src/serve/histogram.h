#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace octet::serve {

/// Counts of values by upper bounds, as Prometheus has them. observe() costs about ten nanoseconds
/// and takes no lock, for it is called for every token.
class Histogram {
 public:
  /// scale: the sum is kept in whole units of 1 / scale.
  explicit Histogram(std::vector<double> bounds, double scale = 1)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1), scale_(scale) {}
  void observe(double value) {
    // A clock that jumps must not end in a number that is none.
    value = value > 0 ? std::min(value, 1e9) : 0;
    const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
    counts_[static_cast<std::size_t>(at)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(static_cast<std::int64_t>(value * scale_), std::memory_order_relaxed);
  }
  std::span<const double> bounds() const { return bounds_; }
  /// Values up to bounds()[i] but above the one before; the last: above all.
  std::int64_t count(std::size_t i) const { return counts_[i].load(std::memory_order_relaxed); }
  double sum() const { return static_cast<double>(sum_.load(std::memory_order_relaxed)) / scale_; }

 private:
  std::vector<double> bounds_;
  std::vector<std::atomic<std::int64_t>> counts_;
  double scale_;
  std::atomic<std::int64_t> sum_ = 0;
};

}  // namespace octet::serve
