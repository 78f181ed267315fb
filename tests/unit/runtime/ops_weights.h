// Weights for the tests of linears.
#pragma once

#include <cstring>

#include "unit/runtime/ops_support.h"

namespace octet::ops::test {

// Owns what a LinearPart points to.
struct Weight {
  LinearPart part;
  std::vector<std::byte> data;
};

inline Weight dense(std::int64_t n, std::int64_t k, DType type, unsigned seed) {
  Weight w;
  const auto values = random_values(n * k, seed);
  w.data.resize(values.size() * dtype_bytes(type) + 1);
  std::byte* at = w.data.data() + 1;  // unaligned on purpose: mapped files are
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t half =
        type == DType::bf16 ? float_to_bf16(values[i]) : float_to_f16(values[i]);
    if (type == DType::f32)
      std::memcpy(at + 4 * i, &values[i], 4);
    else
      std::memcpy(at + 2 * i, &half, 2);
  }
  w.part = {.out_features = n, .in_features = k, .dense = {at, type}};
  return w;
}

struct CodeForm {
  std::int64_t group_size = 32;  // -1: the whole row
  bool zeros = false, f32_scales = false, act_order = false;
  int bits = 8;  // fewer: smaller codes around one zero point
};

inline Weight codes(std::int64_t n, std::int64_t k, const CodeForm& form, unsigned seed) {
  Weight w;
  std::mt19937 rng(seed);
  const std::int64_t group = form.group_size < 0 ? k : form.group_size, groups = k / group;
  w.data.resize(static_cast<std::size_t>(n * k) + 1);
  for (std::byte& b : w.data) b = static_cast<std::byte>(rng() & ((1u << form.bits) - 1));
  w.part = {.out_features = n, .in_features = k, .quantized = true};
  QuantizedWeight& q = w.part.codes;
  q.codes = w.data.data() + 1;
  q.group_size = group;
  std::uniform_real_distribution<float> scale(0.001f, 0.01f);
  for (std::int64_t i = 0; i < groups * n; ++i) {
    const float s = scale(rng);
    q.scales.push_back(form.f32_scales ? s : f16_to_float(float_to_f16(s)));
    if (form.zeros)
      q.zeros.push_back(static_cast<std::uint8_t>(rng() & 255));
    else if (form.bits < 8)
      q.zeros.push_back(static_cast<std::uint8_t>(1 << (form.bits - 1)));
  }
  if (form.act_order) {
    for (std::int64_t i = 0; i < k; ++i)
      q.group_index.push_back(static_cast<std::int32_t>(i / group));
    std::shuffle(q.group_index.begin(), q.group_index.end(), rng);
  }
  return w;
}

inline std::vector<float> run(Bench& bench, const std::vector<float>& x, std::int64_t rows,
                              const LinearPart& part) {
  const auto packed = bench.backend->pack_linear({&part, 1});
  const Tensor in = bench.put(x, {rows, part.in_features});
  const Tensor out = bench.empty({rows, part.out_features});
  bench.backend->linear(in, *packed, out);
  return bench.get(out);
}

}  // namespace octet::ops::test
