#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/config.h"
#include "runtime/ops/backend.h"

namespace octet::model {

class SequencePool;

/// One token sequence in a pool: how long it is, which pages and which slot it uses. Full pages may
/// be shared with other sequences; the last, partly filled one is its own. Holds numbers, no
/// memory; gives them back in its destructor. Move only.
class Sequence {
 public:
  Sequence() = default;
  ~Sequence() { release(); }
  Sequence(Sequence&& other) noexcept { *this = std::move(other); }
  Sequence& operator=(Sequence&& other) noexcept;

  /// Tokens that the caches hold.
  std::int64_t length() const { return length_; }
  /// What is added to a token's index to get its position when the caller gives none: negative
  /// after pictures, whose tokens share positions. docs/model.md §6.
  std::int32_t rope_delta = 0;

  /// After a draft step: keeps its first `rows` rows (0: none). Without a call, none are kept.
  /// Errors: internal if there is no draft or it is shorter.
  void accept(std::int64_t rows);
  std::int64_t draft_rows() const { return draft_rows_; }

  const std::vector<std::int32_t>& pages() const { return pages_; }
  std::int32_t slot() const { return slot_; }

  /// Gives pages and slot back; the sequence is empty afterwards and belongs to no pool.
  void release();

 private:
  friend class SequencePool;
  SequencePool* pool_ = nullptr;
  std::vector<std::int32_t> pages_;
  std::int32_t slot_ = -1;
  std::int64_t length_ = 0;
  std::int64_t draft_rows_ = 0;
  std::int32_t accepted_rows_ = 0;
};

struct PoolOptions {
  std::int64_t num_sequences = 1;  ///< state slots
  std::int64_t num_tokens = 0;     ///< KV tokens of all sequences together, rounded up to pages
  DType kv_dtype = DType::f32;
  std::int64_t max_draft_rows = 0;  ///< rows that a draft step may have; 0: no drafts
  std::int64_t num_snapshots = 0;   ///< state slots besides those of the sequences
};

/// The caches of all sequences: KV pages of the full-attention layers, states of the linear ones.
/// A page is free when nobody uses it: users are sequences, and a cache of prefixes that keeps it.
/// Threads: one at a time. Outlives its sequences.
class SequencePool {
 public:
  /// Errors: out_of_memory.
  SequencePool(ops::Backend& backend, const checkpoint::TextConfig& config,
               const PoolOptions& options);

  /// An empty sequence. Errors: overloaded if every slot is taken.
  Sequence create();
  /// Makes sure that pages exist for the sequence's tokens plus `more`. Errors: overloaded if the
  /// pages don't suffice; the sequence is as before then.
  void reserve(Sequence& sequence, std::int64_t more);
  /// A second continuation of a sequence: copies the states and the partly filled page, shares the
  /// full ones. Errors: overloaded if a slot or the page is missing.
  Sequence fork(const Sequence& from);
  /// A sequence of pages.size() * kPageTokens tokens: uses full pages that are there, and copies
  /// the state that a snapshot holds. Errors: overloaded if every slot is taken.
  Sequence resume(std::span<const std::int32_t> pages, std::int32_t snapshot);

  /// Keeps the sequence's states in a slot of its own; returns its number. Errors: overloaded if
  /// all num_snapshots are taken.
  std::int32_t take_snapshot(const Sequence& from);
  void drop_snapshot(std::int32_t snapshot);

  /// A page stays when its sequences end, until drop_page(). Once for a page.
  void keep_page(std::int32_t page);
  void drop_page(std::int32_t page);
  /// Makes a sequence use another page that holds the same tokens, and gives its own back.
  void use_page(Sequence& sequence, std::int64_t index, std::int32_t page);
  /// Sequences that use a page.
  std::int32_t page_sequences(std::int32_t page) const {
    return users_[static_cast<std::size_t>(page)] - kept_[static_cast<std::size_t>(page)];
  }

  /// What the next step of a sequence looks like to the operations; reserves pages.
  ops::Segment segment(Sequence& sequence, std::int64_t rows, bool draft);
  /// Books a step whose segment() was computed by all layers.
  void advance(Sequence& sequence, std::int64_t rows, bool draft);

  ops::KvCache& kv() { return *kv_; }
  ops::StateCache& states() { return *states_; }
  std::int64_t free_pages() const { return static_cast<std::int64_t>(free_pages_.size()); }
  std::int64_t free_slots() const { return static_cast<std::int64_t>(free_slots_.size()); }
  std::int64_t free_snapshots() const { return static_cast<std::int64_t>(free_snapshots_.size()); }
  /// Pages that are kept and used by no sequence.
  std::int64_t idle_pages() const { return idle_pages_; }
  std::size_t bytes() const { return kv_->bytes() + states_->bytes(); }

 private:
  friend class Sequence;
  void add_user(std::int32_t page);
  void remove_user(std::int32_t page);
  std::unique_ptr<ops::KvCache> kv_;
  std::unique_ptr<ops::StateCache> states_;
  std::int64_t num_sequences_;
  std::vector<std::int32_t> free_pages_, free_slots_, free_snapshots_;
  std::vector<std::int32_t> users_;  // of each page
  std::vector<std::uint8_t> kept_;   // each page: whether keep_page() is one of them
  std::int64_t idle_pages_ = 0;
};

/// Sizes of the caches for a configuration: for plans of memory.
ops::KvCacheShape kv_shape(const checkpoint::TextConfig& config, const PoolOptions& options);
ops::StateCacheShape state_shape(const checkpoint::TextConfig& config, const PoolOptions& options);
/// What a state slot takes, about: the backend's own records are estimated.
std::size_t state_bytes(const ops::StateCacheShape& shape);

}  // namespace octet::model
