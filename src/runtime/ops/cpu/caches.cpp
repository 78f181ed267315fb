#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

CpuKvCache::CpuKvCache(const KvCacheShape& shape) {
  OCTET_CHECK(shape.dtype == DType::f32 || shape.dtype == DType::bf16, "KV cache of {}",
              to_string(shape.dtype));
  shape_ = shape;
  const Shape all{shape.num_layers, shape.num_pages, shape.num_kv_heads, head_size()};
  keys_ = make_host_tensor(shape.dtype, all);
  values_ = make_host_tensor(shape.dtype, all);
}

void CpuKvCache::put(std::int64_t layer, std::int32_t page, std::int64_t in_page, std::int64_t head,
                     const float* key, const float* value) {
  const std::int64_t base = page_offset(layer, page, head), d = shape_.head_dim;
  if (shape_.dtype == DType::f32) {
    float* k = keys_.view().as<float>() + base + in_page;
    for (std::int64_t j = 0; j < d; ++j) k[j * kPageTokens] = key[j];
    std::memcpy(values_.view().as<float>() + base + in_page * d, value, size(d) * sizeof(float));
  } else {
    std::uint16_t* k = keys_.view().as<std::uint16_t>() + base + in_page;
    std::uint16_t* v = values_.view().as<std::uint16_t>() + base + in_page * d;
    for (std::int64_t j = 0; j < d; ++j) {
      k[j * kPageTokens] = float_to_bf16(key[j]);
      v[j] = float_to_bf16(value[j]);
    }
  }
}

AttentionPages CpuKvCache::pages(std::int64_t layer, std::int64_t head,
                                 std::span<const std::int32_t> table) const {
  const std::size_t at = size(page_offset(layer, 0, 0)) * element();
  return {.keys = static_cast<const std::byte*>(keys_.view().data()) + at,
          .values = static_cast<const std::byte*>(values_.view().data()) + at,
          .page_stride = size(shape_.num_kv_heads * head_size()) * element(),
          .head_offset = size(head * head_size()) * element(),
          .pages = table.data(),
          .head_dim = shape_.head_dim,
          .bf16 = shape_.dtype == DType::bf16};
}

void CpuKvCache::copy_page(std::int32_t from, std::int32_t to) {
  const std::size_t bytes = size(shape_.num_kv_heads * head_size()) * element();
  for (std::int64_t layer = 0; layer < shape_.num_layers; ++layer)
    for (const Tensor* side : {&keys_, &values_}) {
      auto* base = static_cast<std::byte*>(side->view().data());
      std::memcpy(base + size(page_offset(layer, to, 0)) * element(),
                  base + size(page_offset(layer, from, 0)) * element(), bytes);
    }
}

void CpuKvCache::read(std::int64_t layer, std::span<const std::int32_t> pages,
                      std::int64_t num_tokens, std::vector<float>& keys,
                      std::vector<float>& values) const {
  const std::int64_t d = shape_.head_dim;
  const auto element_at = [&](const Tensor& t, std::int64_t i) {
    return shape_.dtype == DType::f32 ? t.view().as<float>()[i]
                                      : bf16_to_float(t.view().as<std::uint16_t>()[i]);
  };
  keys.clear();
  values.clear();
  for (std::int64_t h = 0; h < shape_.num_kv_heads; ++h)
    for (std::int64_t t = 0; t < num_tokens; ++t) {
      const std::int64_t base = page_offset(layer, pages[size(t / kPageTokens)], h);
      for (std::int64_t j = 0; j < d; ++j) {
        keys.push_back(element_at(keys_, base + j * kPageTokens + t % kPageTokens));
        values.push_back(element_at(values_, base + t % kPageTokens * d + j));
      }
    }
}

CpuStateCache::CpuStateCache(const StateCacheShape& shape) {
  shape_ = shape;
  const std::int64_t n = shape.num_slots, l = shape.num_layers, nv = shape.num_value_heads;
  const std::int64_t records = kDeltaBlock - 1 + shape.max_draft_rows;
  state_ = make_host_tensor(DType::f32, {n, l, nv * head_state_size()});
  conv_ = make_host_tensor(DType::f32, {n, l, (shape.conv_kernel - 1) * shape.conv_dim()});
  keys_ = make_host_tensor(DType::f32, {n, l, records, shape.num_key_heads * shape.key_head_dim});
  deltas_ = make_host_tensor(DType::f32, {n, l, records, nv * shape.value_head_dim});
  decays_ = make_host_tensor(DType::f32, {n, l, records, nv});
  draft_column_ = make_host_tensor(DType::f32, {n, l, shape.max_draft_rows, shape.conv_dim()});
  taken_.resize(size(n * l));
}

std::size_t CpuStateCache::bytes() const {
  std::size_t n = 0;
  for (const Tensor* t : {&state_, &conv_, &keys_, &deltas_, &decays_, &draft_column_})
    n += t->view().bytes();
  return n;
}

float* CpuStateCache::state(std::int32_t slot, std::int64_t layer, std::int64_t head) const {
  const std::int64_t all = shape_.num_value_heads * head_state_size();
  return state_.view().as<float>() + (slot * shape_.num_layers + layer) * all +
         head * head_state_size();
}

DeltaRecords CpuStateCache::records(std::int32_t slot, std::int64_t layer, std::int64_t key_head,
                                    std::int64_t value_head) const {
  const auto at = [&](const Tensor& t) {
    return t.view().as<float>() +
           (slot * shape_.num_layers + layer) * t.view().dim(2) * t.view().dim(3);
  };
  return {.keys = at(keys_) + key_head * shape_.key_head_dim,
          .deltas = at(deltas_) + value_head * shape_.value_head_dim,
          .decays = at(decays_) + value_head,
          .key_stride = keys_.view().dim(3),
          .delta_stride = deltas_.view().dim(3),
          .decay_stride = decays_.view().dim(3),
          .count = keys_.view().dim(2)};
}

float* CpuStateCache::conv(std::int32_t slot, std::int64_t layer) const {
  return conv_.view().as<float>() +
         (slot * shape_.num_layers + layer) * (shape_.conv_kernel - 1) * shape_.conv_dim();
}

float* CpuStateCache::draft_column(std::int32_t slot, std::int64_t layer, std::int64_t row) const {
  const TensorView t = draft_column_.view();
  return t.as<float>() + ((slot * shape_.num_layers + layer) * t.dim(2) + row) * t.dim(3);
}

void CpuStateCache::clear_slot(std::int32_t slot) {
  for (const Tensor* t : {&state_, &conv_}) {
    const TensorView row = t->view().rows(slot, 1);
    std::memset(row.data(), 0, row.bytes());
  }
  for (std::int64_t layer = 0; layer < shape_.num_layers; ++layer) taken(slot, layer) = 0;
}

void CpuStateCache::copy_slot(std::int32_t from, std::int32_t to) {
  for (const Tensor* t : {&state_, &conv_, &keys_, &deltas_, &decays_}) {
    const TensorView source = t->view().rows(from, 1);
    std::memcpy(t->view().rows(to, 1).data(), source.data(), source.bytes());
  }
  for (std::int64_t layer = 0; layer < shape_.num_layers; ++layer)
    taken(to, layer) = taken(from, layer);
}

void CpuStateCache::read(std::int64_t layer, std::int32_t slot, std::vector<float>& recurrent,
                         std::vector<float>& conv_out) const {
  const std::int64_t dk = shape_.key_head_dim, dv = shape_.value_head_dim;
  const std::int64_t taken = taken_[size(slot * shape_.num_layers + layer)];
  recurrent.clear();
  for (std::int64_t h = 0; h < shape_.num_value_heads; ++h) {
    const float* kept = state(slot, layer, h);
    const DeltaRecords records =
        this->records(slot, layer, h / (shape_.num_value_heads / shape_.num_key_heads), h);
    const std::size_t begin = recurrent.size();
    for (std::int64_t i = 0; i < dk; ++i)
      for (std::int64_t j = 0; j < dv; ++j)
        recurrent.push_back(kept[j / kPanel * dk * kPanel + i * kPanel + j % kPanel]);
    for (std::int64_t p = taken / kDeltaBlock * kDeltaBlock; p < taken; ++p) {
      const std::int64_t r = p % records.count;
      for (std::int64_t i = 0; i < dk; ++i)
        for (std::int64_t j = 0; j < dv; ++j) {
          float& s = recurrent[begin + size(i * dv + j)];
          s = records.decays[r * records.decay_stride] * s +
              records.keys[r * records.key_stride + i] *
                  records.deltas[r * records.delta_stride + j];
        }
    }
  }
  const std::int64_t taps = shape_.conv_kernel - 1, channels = shape_.conv_dim();
  conv_out.resize(size(channels * taps));
  for (std::int64_t t = 0; t < taps; ++t)
    for (std::int64_t c = 0; c < channels; ++c)
      conv_out[size(c * taps + t)] = conv(slot, layer)[t * channels + c];
}

std::unique_ptr<KvCache> CpuBackend::make_kv_cache(const KvCacheShape& shape) {
  if (shape.head_dim % kPanel != 0)
    fail(ErrorCode::bad_data,
         "the cpu backend needs a head_dim that is a multiple of {}, this model has {}; use "
         "--backend reference",
         kPanel, shape.head_dim);
  return std::make_unique<CpuKvCache>(shape);
}

std::unique_ptr<StateCache> CpuBackend::make_state_cache(const StateCacheShape& shape) {
  if (shape.conv_kernel != 4)
    fail(ErrorCode::bad_data,
         "the cpu backend convolves with 4 taps, this model asks for {}; use --backend reference",
         shape.conv_kernel);
  return std::make_unique<CpuStateCache>(shape);
}

}  // namespace octet::ops::cpu
