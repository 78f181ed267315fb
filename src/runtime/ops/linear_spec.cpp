#include "runtime/ops/linear_spec.h"

#include <cstring>

namespace octet::ops {

namespace {

Range share(std::int64_t size, const RankSlice& slice, const char* what) {
  if (size % slice.num_ranks != 0)
    fail(ErrorCode::invalid_argument,
         "a linear with {} {} features can't be split over {} ranks; use a number of ranks that "
         "divides it",
         size, what, slice.num_ranks);
  const std::int64_t count = size / slice.num_ranks;
  return {count * slice.rank, count};
}

float read_element(const std::byte* data, DType type, std::int64_t i) {
  if (type == DType::f32) {
    float f;
    std::memcpy(&f, data + i * 4, 4);
    return f;
  }
  std::uint16_t h;
  std::memcpy(&h, data + i * 2, 2);
  return type == DType::bf16 ? bf16_to_float(h) : f16_to_float(h);
}

}  // namespace

Range output_range(const LinearPart& part, const RankSlice& slice) {
  if (slice.split != Split::rows) return {0, part.out_features};
  return share(part.out_features, slice, "output");
}

Range input_range(const LinearPart& part, const RankSlice& slice) {
  if (slice.split != Split::columns) return {0, part.in_features};
  const Range range = share(part.in_features, slice, "input");
  if (part.quantized && part.codes.group_size < part.in_features &&
      range.count % part.codes.group_size != 0)
    fail(ErrorCode::invalid_argument,
         "a linear with groups of {} input features can't be cut into pieces of {}; use fewer "
         "ranks",
         part.codes.group_size, range.count);
  return range;
}

std::vector<float> dequantize(const LinearPart& part, Range out, Range in) {
  std::vector<float> w(static_cast<std::size_t>(out.count * in.count));
  const std::int64_t n_all = part.out_features, k_all = part.in_features;
  for (std::int64_t i = 0; i < out.count; ++i) {
    const std::int64_t n = out.begin + i;
    for (std::int64_t j = 0; j < in.count; ++j) {
      const std::int64_t k = in.begin + j;
      float& value = w[static_cast<std::size_t>(i * in.count + j)];
      if (!part.quantized) {
        value = read_element(part.dense.data, part.dense.dtype, n * k_all + k);
        continue;
      }
      const QuantizedWeight& q = part.codes;
      const auto group =
          q.group_index.empty()
              ? k / q.group_size
              : static_cast<std::int64_t>(q.group_index[static_cast<std::size_t>(k)]);
      const auto at = static_cast<std::size_t>(group * n_all + n);
      const int code = static_cast<int>(q.codes[(k / 4 * n_all + n) * 4 + k % 4]);
      const int zero = q.zeros.empty() ? 128 : q.zeros[at];
      value = static_cast<float>(static_cast<double>(q.scales[at]) * (code - zero));
    }
  }
  return w;
}

}  // namespace octet::ops
