// runtime/ops: the operations that the model is made of, at the size of an op, and the backends
// that compute them. Backend is the only device seam: model/ holds tensors and calls it, and never
// touches a host pointer. One op has one small file of the same name in each backend's folder.
//
// Rules for every backend:
// - a row's result is the same bits whatever other rows are in the call, for any number of threads
//   (fixed order of accumulation), so that batching, caching and speculation can't change answers;
// - activations are float32 tensors [rows, features];
// - calls of one backend object come from one thread at a time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/ops/linear_spec.h"
#include "runtime/ops/ragged_batch.h"
#include "runtime/tensor/tensor.h"

namespace octet {
class ThreadPool;
}

namespace octet::ops {

/// A weight in the backend's own order. Made by Backend::pack_linear, used by that backend only.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  std::int64_t in_features() const { return in_features_; }
  std::int64_t out_features() const { return out_features_; }  ///< of all parts, in order
  Split split() const { return split_; }
  std::size_t bytes() const { return bytes_; }  ///< what one pass over the weight reads

 protected:
  std::int64_t in_features_ = 0, out_features_ = 0;
  Split split_ = Split::none;
  std::size_t bytes_ = 0;
};

/// A packed weight as it can lie in a file: numbers that describe it, and blocks of bytes that the
/// backend reads where they lie. Both are the backend's own business.
struct StoredLinear {
  std::vector<std::int64_t> description;
  std::vector<std::span<const std::byte>> blocks;
};
/// What the blocks of a restored weight must be aligned to: a page, so that a file can be mapped.
inline constexpr std::size_t kStoredAlignment = 4096;

/// Sizes of a KV cache.
struct KvCacheShape {
  std::int64_t num_layers = 0, num_pages = 0, num_kv_heads = 0, head_dim = 0;
  /// f32 or bf16, or rounded to integers with a scale for each head of a token: i16, i8
  /// (kv_rounding.h).
  DType dtype = DType::f32;
  /// Keys and values of all pages as a backend holds them that stores this type.
  std::size_t bytes() const;
};

/// Keys (after norm and rotation) and values of the full-attention layers, in pages of kPageTokens
/// tokens. A page number means the same page in every layer.
class KvCache {
 public:
  virtual ~KvCache() = default;
  const KvCacheShape& shape() const { return shape_; }
  virtual std::size_t bytes() const = 0;
  /// Copies a page in all layers: a sequence that shares a prefix and then differs.
  virtual void copy_page(std::int32_t from, std::int32_t to) = 0;
  /// Keys and values of the first num_tokens of a block table: two host vectors
  /// [kv_heads, tokens, head_dim]. For tests and snapshots.
  virtual void read(std::int64_t layer, std::span<const std::int32_t> pages,
                    std::int64_t num_tokens, std::vector<float>& keys,
                    std::vector<float>& values) const = 0;

 protected:
  KvCacheShape shape_;
};

/// Sizes of the states of the Gated DeltaNet layers.
struct StateCacheShape {
  std::int64_t num_layers = 0, num_slots = 0;
  std::int64_t num_key_heads = 0, num_value_heads = 0, key_head_dim = 0, value_head_dim = 0;
  std::int64_t conv_kernel = 4;
  std::int64_t max_draft_rows = 0;  ///< rows that a draft step may hold back, <= kMaxDraftRows
  std::int64_t conv_dim() const {
    return 2 * num_key_heads * key_head_dim + num_value_heads * value_head_dim;
  }
};

/// Recurrent states S [value head, key dim, value dim] and convolution histories, float32, in
/// slots.
class StateCache {
 public:
  virtual ~StateCache() = default;
  const StateCacheShape& shape() const { return shape_; }
  virtual std::size_t bytes() const = 0;
  /// A sequence's beginning: all zero.
  virtual void clear_slot(std::int32_t slot) = 0;
  /// Copies states of all layers, without draft records: a snapshot, or its restoration.
  virtual void copy_slot(std::int32_t from, std::int32_t to) = 0;
  /// The state as host vectors: recurrent [value_heads, key_dim, value_dim], conv [conv_dim,
  /// kernel - 1] oldest first. For tests and snapshots.
  virtual void read(std::int64_t layer, std::int32_t slot, std::vector<float>& recurrent,
                    std::vector<float>& conv) const = 0;

 protected:
  StateCacheShape shape_;
};

/// Some columns [begin, begin + count) of a tensor [rows, columns].
struct Columns {
  TensorView tensor;
  std::int64_t begin = 0, count = 0;
};

/// Operands of the input side of a full-attention layer.
struct AttentionShape {
  std::int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0, rotary_dim = 0;
  float rms_norm_eps = 1e-6f;
  std::int64_t query_columns() const { return 2 * num_heads * head_dim; }
  std::int64_t columns() const { return query_columns() + 2 * num_kv_heads * head_dim; }
};

/// Operands of the gated delta rule of one layer.
struct DeltaRuleInputs {
  TensorView mixed;    ///< [rows, conv_dim] q | k | v after convolution and SiLU
  Columns b, a;        ///< [rows, value_heads] outputs of in_proj_b and in_proj_a
  TensorView A_log;    ///< [value_heads] f32
  TensorView dt_bias;  ///< [value_heads] f32
};

enum class GateActivation { silu, sigmoid };

class Backend {
 public:
  virtual ~Backend() = default;

  /// "reference", "cpu/avx512", ...
  virtual std::string name() const = 0;
  virtual Device device() const = 0;

  // -- memory ------------------------------------------------------------------------------
  /// Zeroed. Errors: out_of_memory.
  virtual Tensor allocate(DType type, Shape shape) = 0;
  /// Copies between host and device; the byte counts must match.
  virtual void upload(std::span<const std::byte> from, TensorView to) = 0;
  virtual void download(TensorView from, std::span<std::byte> to) = 0;
  virtual std::unique_ptr<KvCache> make_kv_cache(const KvCacheShape& shape) = 0;
  virtual std::unique_ptr<StateCache> make_state_cache(const StateCacheShape& shape) = 0;
  /// Stacks parts with the same in_features into one linear. Reads the parts' data now and keeps
  /// no reference to them. Errors: invalid_argument for shapes that don't fit together.
  virtual std::unique_ptr<PackedLinear> pack_linear(std::span<const LinearPart> parts,
                                                    const RankSlice& slice = {}) = 0;
  /// Names the form in which this backend packs weights: what was stored under a name may be
  /// restored by any later process whose backend says the same name. It changes with every change
  /// of the packing. Empty: weights can't be stored.
  virtual std::string weight_layout() const { return {}; }
  /// A packed weight of this backend taken apart; the blocks are views that live as long as it.
  virtual StoredLinear store_linear(const PackedLinear& weight) const;
  /// A weight from its parts: the same results, bit by bit, as the one that was stored. The blocks
  /// are used in place, aligned to kStoredAlignment, and `owner` keeps them alive.
  /// Errors: bad_data if description and blocks don't fit together; their values are not looked at.
  virtual std::unique_ptr<PackedLinear> restore_linear(const StoredLinear& stored,
                                                       std::shared_ptr<const void> owner) const;

  // -- ops ---------------------------------------------------------------------------------
  /// y[r] = table[ids[r]]. table [vocab, hidden] bf16, f16 or f32, host memory that may be
  /// unaligned (a mapped file) or device memory; ids [rows] i32, all inside (the model checks).
  virtual void embed(TensorView table, TensorView ids, TensorView y) = 0;
  /// y[r, n] = sum_k x[r, k] w[n, k]. x [rows, in_features], y [rows, out_features].
  virtual void linear(TensorView x, const PackedLinear& w, TensorView y) = 0;
  /// x += delta.
  virtual void add(TensorView x, TensorView delta) = 0;
  /// y = x / sqrt(mean(x^2) + eps) * (1 + weight). docs/model.md §3.2.
  virtual void rms_norm(TensorView x, TensorView weight, float eps, TensorView y) = 0;
  /// y[r, i] = silu(x[r, i]) * x[r, I + i]; x [rows, 2 I] = gate | up.
  virtual void silu_mul(TensorView x, TensorView y) = 0;
  /// Input side of full attention. projected [rows, AttentionShape::columns()] holds for each head
  /// query | gate, then all keys, then all values. Writes normed and rotated queries to
  /// query [rows, heads * head_dim] and appends keys and values to the cache at token index
  /// past + i. cos_sin [rows, 2, rotary_dim / 2] f32. docs/model.md §3.5-3.6.
  virtual void attention_inputs(const AttentionShape& shape, TensorView projected,
                                TensorView q_norm, TensorView k_norm, TensorView cos_sin,
                                const RaggedBatch& batch, KvCache& cache, std::int64_t layer,
                                TensorView query) = 0;
  /// out = softmax(q k^T / sqrt(head_dim), causal) v * sigmoid(gate); the gates are read from
  /// projected. out [rows, heads * head_dim].
  virtual void attention(const AttentionShape& shape, TensorView query, TensorView projected,
                         const RaggedBatch& batch, const KvCache& cache, std::int64_t layer,
                         TensorView out) = 0;
  /// y = silu(causal depthwise convolution of x with weight [kernel, channels], oldest tap first);
  /// takes the history of the sequence from the state and updates it. x: conv_dim columns, before
  /// activation. docs/model.md §3.7.
  virtual void causal_conv1d(Columns x, TensorView weight, const RaggedBatch& batch,
                             StateCache& states, std::int64_t layer, TensorView y) = 0;
  /// The gated delta rule with l2norm of q and k: out [rows, value_heads * value_dim]; updates the
  /// states. A backend that uses a chunked form must compute single rows by it as well, from the
  /// state at the beginning of a chunk and the rows since, with chunks counted from the beginning
  /// of the sequence: then any cut of a sequence gives the same bits. docs/model.md §3.7.
  virtual void gated_delta_rule(const DeltaRuleInputs& inputs, const RaggedBatch& batch,
                                StateCache& states, std::int64_t layer, TensorView out) = 0;
  /// y = x / sqrt(mean(x^2) + eps) * weight * act(gate), each head alone. x, y [rows, heads *
  /// head_dim], gate: as many columns, weight [head_dim]. docs/model.md §3.3.
  virtual void gated_rms_norm(TensorView x, Columns gate, TensorView weight, float eps,
                              GateActivation activation, TensorView y) = 0;
};

/// Checks that hold on every backend; each throws internal (a caller's bug) with both shapes.
void check_rows(const char* op, TensorView tensor, std::int64_t rows, std::int64_t columns);
void check_batch(const char* op, const RaggedBatch& batch, TensorView rows);

}  // namespace octet::ops
