#include "runtime/ops/kv_rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace octet::ops {

namespace {

float round_to(std::span<const float> x, float size, float levels, std::int16_t* codes) {
  const bool finite = size <= std::numeric_limits<float>::max();  // false for NaN
  if (!finite || size < 1e-30f) {
    std::fill_n(codes, x.size(), std::int16_t{0});
    return finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = levels / size;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded
  for (std::size_t i = 0; i < x.size(); ++i)
    codes[i] = static_cast<std::int16_t>(x[i] * inverse + kMagic - kMagic);
  return size / levels;
}

// NaN if any element is.
float largest(std::span<const float> x) {
  float top = 0, sum = 0;
  for (const float v : x) {
    top = std::max(top, std::fabs(v));
    sum += v * 0.0f;
  }
  return top + sum;
}

float norm(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * v;
  return static_cast<float>(std::sqrt(sum));
}

}  // namespace

float round_key(DType type, std::span<const float> x, std::int16_t* codes) {
  return type == DType::i16 ? round_to(x, norm(x), kKeyNorm16, codes)
                            : round_to(x, largest(x), kKvLevels8, codes);
}

float round_value(DType type, std::span<const float> x, std::int16_t* codes) {
  return round_to(x, largest(x), type == DType::i16 ? kValueLevels16 : kKvLevels8, codes);
}

}  // namespace octet::ops
