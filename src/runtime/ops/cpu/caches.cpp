#include <cstring>

#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

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

std::unique_ptr<StateCache> CpuBackend::make_state_cache(const StateCacheShape& shape) {
  if (shape.conv_kernel != 4)
    fail(ErrorCode::bad_data,
         "the cpu backend convolves with 4 taps, this model asks for {}; use --backend reference",
         shape.conv_kernel);
  return std::make_unique<CpuStateCache>(shape);
}

}  // namespace octet::ops::cpu
