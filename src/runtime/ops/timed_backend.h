#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/ops/backend.h"

namespace octet::ops {

/// What an operation took and what it could not have done without.
struct OpTime {
  std::string name;  ///< "linear 2560 -> 18432", "attention", ...
  std::int64_t calls = 0;
  double seconds = 0;
  /// Read and written if nothing stays in a cache: operands, results, weights, states, KV pages.
  double bytes = 0;
  /// Multiplications and additions that the mathematics needs; 0 where they are not what limits.
  double operations = 0;
  /// Operations are products with codes, which may run as integers.
  bool on_codes = false;
};

/// Passes every call on to another backend and adds up the time of each operation: where a step's
/// time goes, beside what its bytes and operations would allow. Costs two clock reads a call.
/// Weights and caches are the other backend's. Threads: as Backend.
class TimedBackend final : public Backend {
 public:
  explicit TimedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}
  /// In order of their first call.
  const std::vector<OpTime>& times() const { return times_; }
  void reset() { times_.clear(); }

  std::string name() const override { return inner_->name(); }
  Device device() const override { return inner_->device(); }
  Tensor allocate(DType type, Shape shape) override;
  void upload(std::span<const std::byte> from, TensorView to) override { inner_->upload(from, to); }
  void download(TensorView from, std::span<std::byte> to) override { inner_->download(from, to); }
  std::unique_ptr<KvCache> make_kv_cache(const KvCacheShape& shape) override;
  std::unique_ptr<StateCache> make_state_cache(const StateCacheShape& shape) override;
  std::unique_ptr<PackedLinear> pack_linear(std::span<const LinearPart> parts,
                                            const RankSlice& slice) override;
  std::string weight_layout() const override { return inner_->weight_layout(); }
  StoredLinear store_linear(const PackedLinear& weight) const override {
    return inner_->store_linear(weight);
  }
  std::unique_ptr<PackedLinear> restore_linear(const StoredLinear& stored,
                                               std::shared_ptr<const void> owner) const override {
    return inner_->restore_linear(stored, std::move(owner));
  }
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
  template <typename F>
  void time(OpTime op, F&& call);
  std::unique_ptr<Backend> inner_;
  std::vector<OpTime> times_;
};

}  // namespace octet::ops
