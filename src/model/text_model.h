// model: the text decoder. Weights packed for a backend, sequences in a pool, one forward pass over
// a ragged batch. Knows no files (checkpoint/ does), no text (input/ does), no sampling.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "model/layer.h"
#include "model/rope.h"
#include "model/sequence.h"
#include "model/weights.h"

namespace octet::model {

/// Some consecutive tokens of one sequence within a step.
struct StepRows {
  Sequence* sequence = nullptr;
  std::span<const std::int32_t> ids;
  /// [3][ids.size()] time, height, width; empty: token index + rope_delta on all axes.
  std::span<const std::int32_t> positions;
  /// Rows to be verified: the sequence doesn't advance until accept().
  bool draft = false;
};

/// The decoder, constant after construction; one step at a time.
class TextModel {
 public:
  /// Loads everything; progress(done, total) after each layer. With a cache, linears come from it
  /// or go into it; otherwise they are packed. Errors: not_found, bad_data, out_of_memory.
  TextModel(ops::Backend& backend, const checkpoint::Checkpoint& checkpoint,
            const std::function<void(std::int64_t, std::int64_t)>& progress = {},
            WeightCache* cache = nullptr);
  /// From packed parts: synthetic models for measuring.
  struct Parts {
    checkpoint::TextConfig config;
    TensorView embed_tokens;  ///< [vocab_size, hidden_size], host or device; must outlive the model
    std::vector<LayerWeights> layers;
    Tensor norm;
    std::unique_ptr<ops::PackedLinear> lm_head;
    std::vector<std::byte> storage;  ///< what embed_tokens points to, if the parts own it
  };
  TextModel(ops::Backend& backend, Parts parts);

  /// Makes room for steps of `rows` rows and for logits of `logit_rows` rows at once, so that later
  /// steps of that size allocate no tensors that stay. Errors: out_of_memory.
  void reserve(std::int64_t rows, std::int64_t logit_rows = 0);
  /// What that takes.
  static std::size_t workspace_bytes(const checkpoint::TextConfig& config, std::int64_t rows,
                                     std::int64_t logit_rows);

  const checkpoint::TextConfig& config() const { return parts_.config; }
  ops::Backend& backend() const { return backend_; }

  /// One step: all rows of all sequences pass through all layers; sequences advance (or, for
  /// drafts, wait for accept()). Returns the hidden states after the final norm [rows,
  /// hidden_size], rows in the order given; they hold until the next call.
  /// A row's result is the same bits however its sequence was cut into steps and whatever other
  /// rows are there. Errors: invalid_argument for an id outside the vocabulary; overloaded if
  /// pages are missing. After an error no sequence has advanced.
  TensorView forward(std::span<const StepRows> rows, SequencePool& pool);

  /// Logits of some rows of the last forward's result: [indices.size(), vocab_size] on the host.
  /// Computed in pieces; the caller bounds the memory by the number of rows.
  void logits(TensorView hidden, std::span<const std::int32_t> indices, std::vector<float>& out);

  /// Called after the embedding (-1) and after each layer with the residual stream.
  std::function<void(std::int64_t layer, TensorView x)> observer;
  /// Layers that steps went through and pieces of logits, since the start: whether a step that
  /// takes minutes moves on. Any thread.
  std::int64_t work_done() const { return work_done_.load(std::memory_order_relaxed); }

  std::size_t weight_bytes() const;  ///< packed linears incl. lm_head
  std::size_t bytes_per_step() const { return weight_bytes(); }

 private:
  ops::Backend& backend_;
  Parts parts_;
  Rope rope_;
  LayerWorkspace workspace_;
  Tensor x_, normed_, cos_sin_, ids_, logits_;
  std::int64_t rows_ = 0, logit_rows_ = 0;
  std::atomic<std::int64_t> work_done_ = 0;
  std::vector<std::int64_t> cache_layer_;  // number of each layer among those of its kind
};

}  // namespace octet::model
