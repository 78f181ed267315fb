#include <algorithm>

#include "runtime/ops/kv_rounding.h"
#include "runtime/ops/reference/reference_impl.h"

namespace octet::ops::reference {

namespace {
std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}
}  // namespace

ReferenceKvCache::ReferenceKvCache(const KvCacheShape& shape) {
  shape_ = shape;
  const auto n =
      size(shape.num_layers * shape.num_pages * kPageTokens * shape.num_kv_heads * shape.head_dim);
  keys_.resize(n);
  values_.resize(n);
}

std::size_t ReferenceKvCache::offset(std::int64_t layer, std::span<const std::int32_t> pages,
                                     std::int64_t token, std::int64_t head) const {
  const std::int64_t page = pages[size(token / kPageTokens)];
  return size((((layer * shape_.num_pages + page) * kPageTokens + token % kPageTokens) *
                   shape_.num_kv_heads +
               head) *
              shape_.head_dim);
}

void ReferenceKvCache::put(std::int64_t layer, const Segment& s, std::int64_t token,
                           std::int64_t head, const float* new_key, const float* new_value) {
  const std::span<const float> from[] = {{new_key, size(shape_.head_dim)},
                                         {new_value, size(shape_.head_dim)}};
  float* to[] = {key(layer, s, token, head), value(layer, s, token, head)};
  std::vector<std::int16_t> codes(size(shape_.head_dim));
  for (int side = 0; side < 2; ++side) {
    if (is_kv_rounded(shape_.dtype)) {
      const float scale =
          (side == 0 ? round_key : round_value)(shape_.dtype, from[side], codes.data());
      std::ranges::transform(codes, to[side],
                             [scale](std::int16_t c) { return static_cast<float>(c) * scale; });
    } else if (shape_.dtype == DType::bf16) {
      std::ranges::transform(from[side], to[side],
                             [](float x) { return bf16_to_float(float_to_bf16(x)); });
    } else {
      std::ranges::copy(from[side], to[side]);
    }
  }
}

void ReferenceKvCache::copy_page(std::int32_t from, std::int32_t to) {
  const std::int64_t page = kPageTokens * shape_.num_kv_heads * shape_.head_dim;
  for (std::int64_t layer = 0; layer < shape_.num_layers; ++layer)
    for (auto* side : {&keys_, &values_}) {
      float* base = side->data() + layer * shape_.num_pages * page;
      std::copy_n(base + from * page, page, base + to * page);
    }
}

void ReferenceKvCache::read(std::int64_t layer, std::span<const std::int32_t> pages,
                            std::int64_t num_tokens, std::vector<float>& keys,
                            std::vector<float>& values) const {
  keys.clear();
  values.clear();
  for (std::int64_t h = 0; h < shape_.num_kv_heads; ++h)
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      const auto at = static_cast<std::ptrdiff_t>(offset(layer, pages, t, h));
      keys.insert(keys.end(), keys_.begin() + at, keys_.begin() + at + shape_.head_dim);
      values.insert(values.end(), values_.begin() + at, values_.begin() + at + shape_.head_dim);
    }
}

ReferenceStateCache::ReferenceStateCache(const StateCacheShape& shape) {
  shape_ = shape;
  slots_.resize(size(shape.num_slots));
  for (StateSlot& s : slots_) {
    s.recurrent.resize(
        size(shape.num_layers * shape.num_value_heads * shape.key_head_dim * shape.value_head_dim));
    s.conv.resize(size(shape.num_layers * (shape.conv_kernel - 1) * shape.conv_dim()));
    s.draft.resize(size(shape.max_draft_rows));
    for (DraftRow& row : s.draft) {
      row.key.resize(size(shape.num_layers * shape.num_key_heads * shape.key_head_dim));
      row.delta.resize(size(shape.num_layers * shape.num_value_heads * shape.value_head_dim));
      row.decay.resize(size(shape.num_layers * shape.num_value_heads));
      row.column.resize(size(shape.num_layers * shape.conv_dim()));
    }
  }
}

std::size_t ReferenceStateCache::bytes() const {
  std::size_t n = 0;
  for (const StateSlot& s : slots_) {
    n += s.recurrent.size() + s.conv.size();
    for (const DraftRow& r : s.draft)
      n += r.key.size() + r.delta.size() + r.decay.size() + r.column.size();
  }
  return n * sizeof(float);
}

void ReferenceStateCache::clear_slot(std::int32_t i) {
  std::ranges::fill(slot(i).recurrent, 0.0f);
  std::ranges::fill(slot(i).conv, 0.0f);
}

void ReferenceStateCache::copy_slot(std::int32_t from, std::int32_t to) {
  slot(to).recurrent = slot(from).recurrent;
  slot(to).conv = slot(from).conv;
}

void ReferenceStateCache::read(std::int64_t layer, std::int32_t i, std::vector<float>& recurrent,
                               std::vector<float>& conv) const {
  const StateSlot& s = slots_[size(i)];
  const std::int64_t state = shape_.num_value_heads * shape_.key_head_dim * shape_.value_head_dim;
  recurrent.assign(s.recurrent.begin() + layer * state, s.recurrent.begin() + (layer + 1) * state);
  const std::int64_t taps = shape_.conv_kernel - 1, channels = shape_.conv_dim();
  conv.resize(size(channels * taps));
  for (std::int64_t t = 0; t < taps; ++t)
    for (std::int64_t c = 0; c < channels; ++c)
      conv[size(c * taps + t)] = s.conv[size((layer * taps + t) * channels + c)];
}

std::unique_ptr<KvCache> ReferenceBackend::make_kv_cache(const KvCacheShape& shape) {
  return std::make_unique<ReferenceKvCache>(shape);
}

std::unique_ptr<StateCache> ReferenceBackend::make_state_cache(const StateCacheShape& shape) {
  return std::make_unique<ReferenceStateCache>(shape);
}

}  // namespace octet::ops::reference
