// What the files of this folder share: the backend's class and its own forms of weights and caches.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/backend.h"
#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/kv_cache.h"

namespace octet::ops::cpu {

inline std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}
inline std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

struct CpuLinear final : PackedLinear {
  CpuLinear(std::span<const LinearPart> stacked, const RankSlice& slice, ThreadPool& pool);
  /// linear_store.cpp. Errors: as Backend::restore_linear.
  CpuLinear(const StoredLinear& stored, std::shared_ptr<const void> owner);
  struct Part {
    PanelWeight panels;
    Tensor memory;
    std::int64_t num_panels = 0;
    bool quantized = false;  ///< in the checkpoint, however it lies here
    bool takes_int8() const {
      return panels.holds_codes() && !panels.has_zeros && panels.group_size % kInt8Group == 0;
    }
    /// Act-order: where in x each packed input feature lies; empty: in order.
    std::vector<std::int32_t> gather;
  };
  std::vector<Part> parts;
  /// Keeps restored panels alive: their Part::memory is a view that frees nothing.
  std::shared_ptr<const void> owner;
};

/// Recurrent states [slot][layer][value head][slices of 16][key_dim][16] as of the last complete
/// block of kDeltaBlock tokens, records of the rows since (and of a draft) [slot][layer][record],
/// convolution histories [slot][layer][kernel - 1][conv_dim], and raw columns of a draft.
class CpuStateCache final : public StateCache {
 public:
  explicit CpuStateCache(const StateCacheShape& shape);
  std::size_t bytes() const override;
  void clear_slot(std::int32_t slot) override;
  void copy_slot(std::int32_t from, std::int32_t to) override;
  void read(std::int64_t layer, std::int32_t slot, std::vector<float>& recurrent,
            std::vector<float>& conv) const override;

  float* state(std::int32_t slot, std::int64_t layer, std::int64_t head) const;
  DeltaRecords records(std::int32_t slot, std::int64_t layer, std::int64_t key_head,
                       std::int64_t value_head) const;
  /// Tokens that state and records stand for, without those of a draft.
  std::int64_t& taken(std::int32_t slot, std::int64_t layer) {
    return taken_[size(slot * shape_.num_layers + layer)];
  }
  float* conv(std::int32_t slot, std::int64_t layer) const;  ///< [kernel - 1][conv_dim]
  /// Raw column of a draft's row.
  float* draft_column(std::int32_t slot, std::int64_t layer, std::int64_t row) const;

 private:
  std::int64_t head_state_size() const {
    return round_to_panel(shape_.value_head_dim) * shape_.key_head_dim;
  }
  Tensor state_, conv_, keys_, deltas_, decays_, draft_column_;
  std::vector<std::int64_t> taken_;  // [slot][layer]
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(std::string isa, const CpuKernels& kernels, const Int8Kernels& int8, Rounding rounding,
             ThreadPool& pool)
      : isa_(std::move(isa)),
        kernels_(kernels),
        int8_(&int8),
        int8_terms_(rounding == Rounding::int8    ? 1
                    : rounding == Rounding::int16 ? 2
                                                  : 0),
        rounds_to_bf16_(rounding == Rounding::bf16),
        pool_(pool) {}
  std::string name() const override { return "cpu/" + isa_; }
  Device device() const override { return {}; }
  Tensor allocate(DType type, Shape shape) override;
  void upload(std::span<const std::byte> from, TensorView to) override;
  void download(TensorView from, std::span<std::byte> to) override;
  std::unique_ptr<KvCache> make_kv_cache(const KvCacheShape& shape) override;
  std::unique_ptr<StateCache> make_state_cache(const StateCacheShape& shape) override;
  std::unique_ptr<PackedLinear> pack_linear(std::span<const LinearPart> parts,
                                            const RankSlice& slice) override;
  std::string weight_layout() const override;
  StoredLinear store_linear(const PackedLinear& weight) const override;
  std::unique_ptr<PackedLinear> restore_linear(const StoredLinear& stored,
                                               std::shared_ptr<const void> owner) const override;
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
  /// A block of floats that lives until the next call for the same purpose.
  float* scratch(std::vector<float>& block, std::int64_t n) {
    if (block.size() < size(n)) block.resize(size(n));
    return block.data();
  }
  Int8Rows quantize_inputs(const float* x, std::int64_t rows, std::int64_t k);
  std::string isa_;  ///< as choose_isa names it
  const CpuKernels& kernels_;
  const Int8Kernels* int8_;
  int int8_terms_;  ///< of rounded inputs; 0: they are not rounded to integers
  bool rounds_to_bf16_;
  ThreadPool& pool_;
  std::vector<float> worker_scratch_, attention_sums_, gathered_, rounded_, keys_, gates_,
      input_scales_;
  std::vector<DeltaWeights> delta_weights_;
  std::vector<std::int8_t> input_codes_;
  std::vector<std::int32_t> input_corrections_;
};

}  // namespace octet::ops::cpu
