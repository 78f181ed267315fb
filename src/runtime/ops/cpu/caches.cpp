#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

CpuStateCache::CpuStateCache(const StateCacheShape& shape) {
  shape_ = shape;
  const std::int64_t n = shape.num_slots, l = shape.num_layers, r = shape.max_draft_rows;
  state_ = make_host_tensor(DType::f32, {n, l, shape.num_value_heads * head_state_size()});
  conv_ = make_host_tensor(DType::f32, {n, l, (shape.conv_kernel - 1) * shape.conv_dim()});
  draft_key_ = make_host_tensor(DType::f32, {n, l, r, shape.num_key_heads * shape.key_head_dim});
  draft_delta_ =
      make_host_tensor(DType::f32, {n, l, r, shape.num_value_heads * shape.value_head_dim});
  draft_decay_ = make_host_tensor(DType::f32, {n, l, r, shape.num_value_heads});
  draft_column_ = make_host_tensor(DType::f32, {n, l, r, shape.conv_dim()});
}

std::size_t CpuStateCache::bytes() const {
  std::size_t n = 0;
  for (const Tensor* t :
       {&state_, &conv_, &draft_key_, &draft_delta_, &draft_decay_, &draft_column_})
    n += t->view().bytes();
  return n;
}

float* CpuStateCache::state(std::int32_t slot, std::int64_t layer, std::int64_t head) const {
  const std::int64_t all = shape_.num_value_heads * head_state_size();
  return state_.view().as<float>() + (slot * shape_.num_layers + layer) * all +
         head * head_state_size();
}

float* CpuStateCache::conv(std::int32_t slot, std::int64_t layer) const {
  return conv_.view().as<float>() +
         (slot * shape_.num_layers + layer) * (shape_.conv_kernel - 1) * shape_.conv_dim();
}

float* CpuStateCache::draft(const Tensor& t, std::int32_t slot, std::int64_t layer,
                            std::int64_t row) const {
  return t.view().as<float>() +
         ((slot * shape_.num_layers + layer) * shape_.max_draft_rows + row) * t.view().dim(3);
}

float* CpuStateCache::draft_key(std::int32_t s, std::int64_t l, std::int64_t r) const {
  return draft(draft_key_, s, l, r);
}
float* CpuStateCache::draft_delta(std::int32_t s, std::int64_t l, std::int64_t r) const {
  return draft(draft_delta_, s, l, r);
}
float* CpuStateCache::draft_decay(std::int32_t s, std::int64_t l, std::int64_t r) const {
  return draft(draft_decay_, s, l, r);
}
float* CpuStateCache::draft_column(std::int32_t s, std::int64_t l, std::int64_t r) const {
  return draft(draft_column_, s, l, r);
}

void CpuStateCache::clear_slot(std::int32_t slot) {
  for (const Tensor* t : {&state_, &conv_}) {
    const TensorView row = t->view().rows(slot, 1);
    std::memset(row.data(), 0, row.bytes());
  }
}

void CpuStateCache::copy_slot(std::int32_t from, std::int32_t to) {
  for (const Tensor* t : {&state_, &conv_}) {
    const TensorView source = t->view().rows(from, 1);
    std::memcpy(t->view().rows(to, 1).data(), source.data(), source.bytes());
  }
}

void CpuStateCache::read(std::int64_t layer, std::int32_t slot, std::vector<float>& recurrent,
                         std::vector<float>& conv_out) const {
  const std::int64_t dk = shape_.key_head_dim, dv = shape_.value_head_dim;
  recurrent.clear();
  for (std::int64_t h = 0; h < shape_.num_value_heads; ++h)
    for (std::int64_t i = 0; i < dk; ++i)
      for (std::int64_t j = 0; j < dv; ++j)
        recurrent.push_back(
            state(slot, layer, h)[j / kPanel * dk * kPanel + i * kPanel + j % kPanel]);
  const std::int64_t taps = shape_.conv_kernel - 1, channels = shape_.conv_dim();
  conv_out.resize(size(channels * taps));
  for (std::int64_t t = 0; t < taps; ++t)
    for (std::int64_t c = 0; c < channels; ++c)
      conv_out[size(c * taps + t)] = conv(slot, layer)[t * channels + c];
}

std::unique_ptr<StateCache> CpuBackend::make_state_cache(const StateCacheShape& shape) {
  if (shape.conv_kernel != 4)
    fail(ErrorCode::bad_data,
         "the cpu backend convolves with 4 taps, this model asks for {}; use --backend reference",
         shape.conv_kernel);
  return std::make_unique<CpuStateCache>(shape);
}

}  // namespace octet::ops::cpu
