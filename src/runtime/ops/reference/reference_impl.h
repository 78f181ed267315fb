// What the files of this folder share.
#pragma once

#include <cmath>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/backend.h"

namespace octet::ops::reference {

inline double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}
inline double silu(double x) {
  return x * sigmoid(x);
}

/// [out, in] float32.
struct ReferenceLinear final : PackedLinear {
  ReferenceLinear(std::span<const LinearPart> parts, const RankSlice& slice);
  std::vector<float> weight;
};

/// keys, values [layer][page][token][kv head][head_dim].
class ReferenceKvCache final : public KvCache {
 public:
  explicit ReferenceKvCache(const KvCacheShape& shape);
  std::size_t bytes() const override { return (keys_.size() + values_.size()) * sizeof(float); }
  void copy_page(std::int32_t from, std::int32_t to) override;
  void read(std::int64_t layer, std::span<const std::int32_t> pages, std::int64_t num_tokens,
            std::vector<float>& keys, std::vector<float>& values) const override;
  float* key(std::int64_t layer, const Segment& s, std::int64_t token, std::int64_t head) {
    return keys_.data() + offset(layer, s.pages, token, head);
  }
  float* value(std::int64_t layer, const Segment& s, std::int64_t token, std::int64_t head) {
    return values_.data() + offset(layer, s.pages, token, head);
  }
  /// Stores a key and a value of a head as they would be after storage in the cache's type.
  void put(std::int64_t layer, const Segment& s, std::int64_t token, std::int64_t head,
           const float* new_key, const float* new_value);

 private:
  std::size_t offset(std::int64_t layer, std::span<const std::int32_t> pages, std::int64_t token,
                     std::int64_t head) const;
  std::vector<float> keys_, values_;
};

/// What one draft row would change, for all layers.
struct DraftRow {
  std::vector<float> key;     // [layer][key head][key dim], after l2norm
  std::vector<float> delta;   // [layer][value head][value dim]
  std::vector<float> decay;   // [layer][value head]
  std::vector<float> column;  // [layer][conv_dim]
};

struct StateSlot {
  std::vector<float> recurrent;  // [layer][value head][key dim][value dim]
  std::vector<float> conv;       // [layer][kernel - 1][conv_dim], oldest first
  std::vector<DraftRow> draft;   // [max_draft_rows]
};

class ReferenceStateCache final : public StateCache {
 public:
  explicit ReferenceStateCache(const StateCacheShape& shape);
  std::size_t bytes() const override;
  void clear_slot(std::int32_t slot) override;
  void copy_slot(std::int32_t from, std::int32_t to) override;
  void read(std::int64_t layer, std::int32_t slot, std::vector<float>& recurrent,
            std::vector<float>& conv) const override;
  StateSlot& slot(std::int32_t i) { return slots_[static_cast<std::size_t>(i)]; }

 private:
  std::vector<StateSlot> slots_;
};

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(ThreadPool& pool) : pool_(pool) {}
  std::string name() const override { return "reference"; }
  Device device() const override { return {}; }
  Tensor allocate(DType type, Shape shape) override;
  void upload(std::span<const std::byte> from, TensorView to) override;
  void download(TensorView from, std::span<std::byte> to) override;
  std::unique_ptr<KvCache> make_kv_cache(const KvCacheShape& shape) override;
  std::unique_ptr<StateCache> make_state_cache(const StateCacheShape& shape) override;
  std::unique_ptr<PackedLinear> pack_linear(std::span<const LinearPart> parts,
                                            const RankSlice& slice) override;
  void embed(TensorView table, TensorView ids, TensorView y) override;
  void linear(TensorView x, const PackedLinear& w, TensorView y) override;
  void add(TensorView x, TensorView delta) override;
  void rms_norm(TensorView x, TensorView weight, float eps, TensorView y) override;
  void silu_mul(TensorView x, TensorView y) override;
  void attention_inputs(const AttentionShape& shape, TensorView projected, TensorView q_norm,
                        TensorView k_norm, TensorView cos_sin, const RaggedBatch& batch,
                        KvCache& cache, std::int64_t layer, TensorView query) override;
  void attention(const AttentionShape& shape, TensorView query, TensorView projected,
                 const RaggedBatch& batch, const KvCache& cache, std::int64_t layer,
                 TensorView out) override;
  void causal_conv1d(Columns x, TensorView weight, const RaggedBatch& batch, StateCache& states,
                     std::int64_t layer, TensorView y) override;
  void gated_delta_rule(const DeltaRuleInputs& inputs, const RaggedBatch& batch, StateCache& states,
                        std::int64_t layer, TensorView out) override;
  void gated_rms_norm(TensorView x, Columns gate, TensorView weight, float eps,
                      GateActivation activation, TensorView y) override;

 private:
  ThreadPool& pool_;
};

}  // namespace octet::ops::reference
