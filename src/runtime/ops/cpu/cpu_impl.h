// What the files of this folder share: the backend's class and its own forms of weights and caches.
#pragma once

#include <memory>
#include <vector>

#include "runtime/base/thread_pool.h"
#include "runtime/ops/backend.h"
#include "runtime/ops/cpu/kernels.h"

namespace octet::ops::cpu {

inline std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}
inline std::int64_t round_up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

struct CpuLinear final : PackedLinear {
  CpuLinear(std::span<const LinearPart> stacked, const RankSlice& slice, ThreadPool& pool);
  struct Part {
    PanelWeight panels;
    Tensor memory;
    std::int64_t num_panels = 0;
    bool takes_int8() const {
      return panels.kind == PanelKind::u8 && !panels.has_zeros &&
             panels.group_size % kInt8Group == 0;
    }
    /// Act-order: where in x each packed input feature lies; empty: in order.
    std::vector<std::int32_t> gather;
  };
  std::vector<Part> parts;
};

/// keys [layer][page][kv head][head_dim][64], values [layer][page][kv head][64][head_dim].
class CpuKvCache final : public KvCache {
 public:
  explicit CpuKvCache(const KvCacheShape& shape);
  std::size_t bytes() const override { return keys_.view().bytes() + values_.view().bytes(); }
  void copy_page(std::int32_t from, std::int32_t to) override;
  void read(std::int64_t layer, std::span<const std::int32_t> pages, std::int64_t num_tokens,
            std::vector<float>& keys, std::vector<float>& values) const override;

  /// Stores one token's key and value of a head.
  void put(std::int64_t layer, std::int32_t page, std::int64_t in_page, std::int64_t head,
           const float* key, const float* value);
  /// The pages of a layer as the attention kernel reads them.
  AttentionPages pages(std::int64_t layer, std::int64_t head,
                       std::span<const std::int32_t> table) const;

 private:
  std::size_t element() const { return dtype_bytes(shape_.dtype); }
  std::int64_t head_size() const { return kPageTokens * shape_.head_dim; }
  std::int64_t page_offset(std::int64_t layer, std::int64_t page, std::int64_t head) const {
    return ((layer * shape_.num_pages + page) * shape_.num_kv_heads + head) * head_size();
  }
  Tensor keys_, values_;
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
  /// int8_terms: of rounded inputs, 0: they are not rounded.
  CpuBackend(const CpuKernels& kernels, const Int8Kernels& int8, int int8_terms, ThreadPool& pool)
      : kernels_(kernels), int8_(&int8), int8_terms_(int8_terms), pool_(pool) {}
  std::string name() const override { return std::string("cpu/") + kernels_.isa; }
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
  /// A block of floats that lives until the next call for the same purpose.
  float* scratch(std::vector<float>& block, std::int64_t n) {
    if (block.size() < size(n)) block.resize(size(n));
    return block.data();
  }
  Int8Rows quantize_inputs(const float* x, std::int64_t rows, std::int64_t k);
  const CpuKernels& kernels_;
  const Int8Kernels* int8_;
  int int8_terms_;
  ThreadPool& pool_;
  std::vector<float> worker_scratch_, gathered_, keys_, gates_, input_scales_;
  std::vector<DeltaWeights> delta_weights_;
  std::vector<std::int8_t> input_codes_;
  std::vector<std::int32_t> input_corrections_;
};

}  // namespace octet::ops::cpu
