#include "runtime/ops/cpu/kv_cache.h"

#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"
#include "runtime/ops/kv_rounding.h"

namespace octet::ops::cpu {

namespace {

// Where element j of token t lies in the keys and in the values of a page.
std::size_t key_at(std::int64_t t, std::int64_t j, bool rounded) {
  return size(rounded ? (j / 2 * kPageTokens + t) * 2 + j % 2 : j * kPageTokens + t);
}
std::size_t value_at(std::int64_t t, std::int64_t j, bool rounded) {
  const std::int64_t panel = j / kPanel * kPageTokens * kPanel, lane = j % kPanel;
  return size(panel + (rounded ? (t / 2 * kPanel + lane) * 2 + t % 2 : t * kPanel + lane));
}

template <typename T>
void scatter(std::byte* keys, std::byte* values, std::int64_t t, std::int64_t d, bool rounded,
             auto&& key, auto&& value) {
  T* k = reinterpret_cast<T*>(keys);
  T* v = reinterpret_cast<T*>(values);
  for (std::int64_t j = 0; j < d; ++j) k[key_at(t, j, rounded)] = static_cast<T>(key(j));
  for (std::int64_t j = 0; j < d; ++j) v[value_at(t, j, rounded)] = static_cast<T>(value(j));
}

}  // namespace

CpuKvCache::CpuKvCache(const KvCacheShape& shape) {
  OCTET_CHECK(shape.dtype == DType::f32 || shape.dtype == DType::bf16 || is_kv_rounded(shape.dtype),
              "KV cache of {}", to_string(shape.dtype));
  shape_ = shape;
  side_bytes_ = attention_scales_at(shape.dtype, shape.head_dim) +
                (is_kv_rounded(shape.dtype) ? kPageTokens * sizeof(float) : 0);
  memory_ = make_host_tensor(DType::u8, {shape.num_layers, shape.num_pages, shape.num_kv_heads,
                                         static_cast<std::int64_t>(head_bytes())});
}

std::byte* CpuKvCache::head_block(std::int64_t layer, std::int64_t page, std::int64_t head) const {
  return static_cast<std::byte*>(memory_.view().data()) +
         size((layer * shape_.num_pages + page) * shape_.num_kv_heads + head) * head_bytes();
}

void CpuKvCache::put(std::int64_t layer, std::int32_t page, std::int64_t in_page, std::int64_t head,
                     const float* key, const float* value) {
  const std::int64_t d = shape_.head_dim;
  std::byte* keys = head_block(layer, page, head);
  std::byte* values = keys + side_bytes_;
  if (shape_.dtype == DType::f32)
    return scatter<float>(
        keys, values, in_page, d, false, [&](auto j) { return key[j]; },
        [&](auto j) { return value[j]; });
  if (shape_.dtype == DType::bf16)
    return scatter<std::uint16_t>(
        keys, values, in_page, d, false, [&](auto j) { return float_to_bf16(key[j]); },
        [&](auto j) { return float_to_bf16(value[j]); });
  std::int16_t key_codes[kMaxKvHeadDim], value_codes[kMaxKvHeadDim];
  const float scales[] = {round_key(shape_.dtype, {key, size(d)}, key_codes),
                          round_value(shape_.dtype, {value, size(d)}, value_codes)};
  const auto k = [&](auto j) { return key_codes[j]; };
  const auto v = [&](auto j) { return value_codes[j]; };
  if (shape_.dtype == DType::i16)
    scatter<std::int16_t>(keys, values, in_page, d, true, k, v);
  else
    scatter<std::int8_t>(keys, values, in_page, d, true, k, v);
  const std::size_t at = attention_scales_at(shape_.dtype, d) + size(in_page) * sizeof(float);
  std::memcpy(keys + at, &scales[0], sizeof(float));
  std::memcpy(values + at, &scales[1], sizeof(float));
}

AttentionPages CpuKvCache::pages(std::int64_t layer, std::int64_t head,
                                 std::span<const std::int32_t> table) const {
  return {.base = head_block(layer, 0, head),
          .page_stride = size(shape_.num_kv_heads) * head_bytes(),
          .side_bytes = side_bytes_,
          .pages = table.data(),
          .head_dim = shape_.head_dim,
          .dtype = shape_.dtype};
}

void CpuKvCache::copy_page(std::int32_t from, std::int32_t to) {
  const std::size_t bytes = size(shape_.num_kv_heads) * head_bytes();
  for (std::int64_t layer = 0; layer < shape_.num_layers; ++layer)
    std::memcpy(head_block(layer, to, 0), head_block(layer, from, 0), bytes);
}

void CpuKvCache::read(std::int64_t layer, std::span<const std::int32_t> pages,
                      std::int64_t num_tokens, std::vector<float>& keys,
                      std::vector<float>& values) const {
  const std::int64_t d = shape_.head_dim;
  const bool rounded = is_kv_rounded(shape_.dtype);
  const auto element = [&](const std::byte* side, std::size_t i, std::int64_t t) {
    float scale = 0;
    if (rounded)
      std::memcpy(&scale, side + attention_scales_at(shape_.dtype, d) + size(t) * sizeof(float),
                  sizeof(float));
    switch (shape_.dtype) {
      case DType::f32:
        return reinterpret_cast<const float*>(side)[i];
      case DType::bf16:
        return bf16_to_float(reinterpret_cast<const std::uint16_t*>(side)[i]);
      case DType::i16:
        return static_cast<float>(reinterpret_cast<const std::int16_t*>(side)[i]) * scale;
      default:
        return static_cast<float>(reinterpret_cast<const std::int8_t*>(side)[i]) * scale;
    }
  };
  keys.clear();
  values.clear();
  for (std::int64_t h = 0; h < shape_.num_kv_heads; ++h)
    for (std::int64_t token = 0; token < num_tokens; ++token) {
      const std::byte* side = head_block(layer, pages[size(token / kPageTokens)], h);
      const std::int64_t t = token % kPageTokens;
      for (std::int64_t j = 0; j < d; ++j) {
        keys.push_back(element(side, key_at(t, j, rounded), t));
        values.push_back(element(side + side_bytes_, value_at(t, j, rounded), t));
      }
    }
}

std::unique_ptr<KvCache> CpuBackend::make_kv_cache(const KvCacheShape& shape) {
  if (shape.head_dim % kPanel != 0 || shape.head_dim > kMaxKvHeadDim)
    fail(
        ErrorCode::bad_data,
        "the cpu backend needs a head_dim that is a multiple of {}, at most {}; this model has {}; "
        "use --backend reference",
        kPanel, kMaxKvHeadDim, shape.head_dim);
  return std::make_unique<CpuKvCache>(shape);
}

}  // namespace octet::ops::cpu
