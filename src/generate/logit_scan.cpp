#include "generate/logit_scan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace octet::generate {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Independent iterations of a fixed number are what the compiler turns into vector instructions of
// every x86-64; sums by halves have one order everywhere.
struct BlockMax {
  float max;
  bool nan;
};

BlockMax block_max(const float* x) {
  float m[kScanBlock / 2];
  std::int32_t nan[kScanBlock / 2];
  constexpr std::size_t half = kScanBlock / 2;
  for (std::size_t i = 0; i < half; ++i) {
    m[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    nan[i] = (x[i] != x[i] ? 1 : 0) | (x[i + half] != x[i + half] ? 1 : 0);
  }
  for (std::size_t width = half / 2; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) {
      m[i] = m[i] > m[i + width] ? m[i] : m[i + width];
      nan[i] |= nan[i + width];
    }
  return {m[0], nan[0] != 0};
}

BlockMax short_block_max(std::span<const float> x) {
  BlockMax b{-kInfinity, false};
  for (const float v : x) {
    b.nan |= std::isnan(v);
    b.max = v > b.max ? v : b.max;
  }
  return b;
}

// Sum of 2^((x - reference) * scale) over a whole block. 2^t = 2^round(t) * 2^f, |f| <= 1/2, the
// second by its Taylor series: relative error 2e-7.
float block_exp2_sum(const float* x, float reference, float scale) {
  float t[kScanBlock], sum[kScanBlock];
  for (std::size_t i = 0; i < kScanBlock; ++i) {
    const float v = (x[i] - reference) * scale;
    t[i] = v > -126.0f ? v : -126.0f;
  }
  for (std::size_t i = 0; i < kScanBlock; ++i) {
    const float whole = (t[i] + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: rounds to an integer
    const float f = t[i] - whole;
    float p = 1.540353e-4f;
    p = p * f + 1.333356e-3f;
    p = p * f + 9.618129e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 0.24022651f;
    p = p * f + 0.69314718f;
    p = p * f + 1.0f;
    sum[i] = p * std::bit_cast<float>((static_cast<std::int32_t>(whole) + 127) << 23);
  }
  for (std::size_t width = kScanBlock / 2; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) sum[i] += sum[i + width];
  return sum[0];
}

std::int32_t count_above(std::span<const float> x, float value) {
  std::int32_t n = 0;
  for (const float v : x) n += v > value ? 1 : 0;
  return n;
}

}  // namespace

bool LogitScan::reset(std::span<const float> logits) {
  logits_ = logits;
  const std::size_t whole = logits.size() / kScanBlock;
  maxima_.resize((logits.size() + kScanBlock - 1) / kScanBlock);
  bool nan = false;
  float max = -kInfinity;
  const auto take = [&](std::size_t b, BlockMax m) {
    maxima_[b] = m.max;
    max = std::max(max, m.max);
    nan |= m.nan;
  };
  for (std::size_t b = 0; b < whole; ++b) take(b, block_max(logits.data() + b * kScanBlock));
  if (whole < maxima_.size()) take(whole, short_block_max(logits.subspan(whole * kScanBlock)));
  max_ = max;
  return !nan && max < kInfinity;
}

std::int32_t LogitScan::argmax() const {
  const auto block = static_cast<std::size_t>(std::ranges::find(maxima_, max_) - maxima_.begin());
  std::size_t i = block * kScanBlock;
  while (logits_[i] != max_) ++i;
  return static_cast<std::int32_t>(i);
}

double LogitScan::exp_sum(float reference, double scale) const {
  // A block below e^-60 of the reference adds nothing to a double, however many there are.
  const double floor = static_cast<double>(reference) - 60 / scale;
  const auto scale2 = static_cast<float>(scale * 1.4426950408889634);
  double sum = 0;
  for (std::size_t b = 0; b < maxima_.size(); ++b) {
    if (!(static_cast<double>(maxima_[b]) >= floor)) continue;
    const std::size_t begin = b * kScanBlock;
    if (begin + kScanBlock <= logits_.size())
      sum += static_cast<double>(block_exp2_sum(logits_.data() + begin, reference, scale2));
    else
      for (const float x : logits_.subspan(begin))
        sum += std::exp((static_cast<double>(x) - reference) * scale);
  }
  return sum;
}

void LogitScan::at_least(double floor, std::vector<Candidate>& out) const {
  out.clear();
  for (std::size_t b = 0; b < maxima_.size(); ++b) {
    if (!(static_cast<double>(maxima_[b]) >= floor) || maxima_[b] == -kInfinity) continue;
    const std::size_t end = std::min((b + 1) * kScanBlock, logits_.size());
    for (std::size_t i = b * kScanBlock; i < end; ++i)
      if (static_cast<double>(logits_[i]) >= floor && logits_[i] != -kInfinity)
        out.push_back({logits_[i], static_cast<std::int32_t>(i)});
  }
}

void LogitScan::most_likely(std::size_t k, std::vector<Candidate>& out) const {
  float floor = -kInfinity;
  if (k < maxima_.size()) {
    // k blocks reach the k-th largest maximum, so k logits do: what is below isn't among the k.
    order_ = maxima_;
    std::ranges::nth_element(order_, order_.begin() + static_cast<std::ptrdiff_t>(k - 1),
                             std::greater<>());
    floor = order_[k - 1];
  }
  at_least(floor, out);
  if (out.size() <= k) return;
  std::ranges::nth_element(out, out.begin() + static_cast<std::ptrdiff_t>(k - 1), more_likely);
  out.resize(k);
}

std::int64_t LogitScan::rank(std::int32_t id) const {
  const auto at = static_cast<std::size_t>(id);
  const float value = logits_[at];
  std::int64_t before = 0;
  for (std::size_t b = 0; b < maxima_.size(); ++b) {
    if (maxima_[b] < value) continue;
    const std::size_t begin = b * kScanBlock, end = std::min(begin + kScanBlock, logits_.size());
    const auto block = logits_.subspan(begin, end - begin);
    before += count_above(block, value);
    if (begin > at) continue;
    const auto lower = block.first(std::min(block.size(), at - begin));
    before += std::ranges::count(lower, value);
  }
  return before + 1;
}

}  // namespace octet::generate
