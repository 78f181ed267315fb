#include "model/sequence.h"

#include <utility>

namespace octet::model {

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(pages_, other.pages_);
  std::swap(slot_, other.slot_);
  std::swap(length_, other.length_);
  std::swap(draft_rows_, other.draft_rows_);
  std::swap(accepted_rows_, other.accepted_rows_);
  std::swap(rope_delta, other.rope_delta);
  return *this;
}

void Sequence::accept(std::int64_t rows) {
  OCTET_CHECK(rows >= 0 && rows <= draft_rows_, "accept {} of {} draft rows", rows, draft_rows_);
  length_ += rows;
  accepted_rows_ = static_cast<std::int32_t>(rows);
  draft_rows_ = 0;
}

void Sequence::release() {
  if (!pool_) return;
  for (const std::int32_t page : pages_) pool_->remove_user(page);
  pool_->free_slots_.push_back(slot_);
  pages_.clear();
  pool_ = nullptr;
  slot_ = -1;
  length_ = draft_rows_ = 0;
  accepted_rows_ = 0;
  rope_delta = 0;
}

ops::KvCacheShape kv_shape(const checkpoint::TextConfig& config, const PoolOptions& options) {
  ops::KvCacheShape shape{
      .num_pages = (options.num_tokens + ops::kPageTokens - 1) / ops::kPageTokens,
      .num_kv_heads = config.num_key_value_heads,
      .head_dim = config.head_dim,
      .dtype = options.kv_dtype};
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
    shape.num_layers += config.is_full_attention(i);
  return shape;
}

ops::StateCacheShape state_shape(const checkpoint::TextConfig& config, const PoolOptions& options) {
  ops::StateCacheShape shape{.num_slots = options.num_sequences + options.num_snapshots,
                             .num_key_heads = config.linear_num_key_heads,
                             .num_value_heads = config.linear_num_value_heads,
                             .key_head_dim = config.linear_key_head_dim,
                             .value_head_dim = config.linear_value_head_dim,
                             .conv_kernel = config.linear_conv_kernel_dim,
                             .max_draft_rows = options.max_draft_rows};
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i)
    shape.num_layers += !config.is_full_attention(i);
  return shape;
}

std::size_t state_bytes(const ops::StateCacheShape& s) {
  // Rows of a block of 8 that isn't complete are recorded beside the state.
  const std::int64_t records = 7 + s.max_draft_rows;
  const std::int64_t floats =
      s.num_value_heads * s.key_head_dim * s.value_head_dim +
      (s.conv_kernel - 1 + s.max_draft_rows) * s.conv_dim() +
      records * (s.num_key_heads * s.key_head_dim + s.num_value_heads * (s.value_head_dim + 1));
  return static_cast<std::size_t>(s.num_layers * floats) * sizeof(float);
}

SequencePool::SequencePool(ops::Backend& backend, const checkpoint::TextConfig& config,
                           const PoolOptions& options)
    : kv_(backend.make_kv_cache(kv_shape(config, options))),
      states_(backend.make_state_cache(state_shape(config, options))),
      num_sequences_(options.num_sequences) {
  OCTET_CHECK(options.max_draft_rows <= ops::kMaxDraftRows, "drafts of {} rows",
              options.max_draft_rows);
  // Taken from the back: low numbers first.
  for (auto i = static_cast<std::int32_t>(kv_->shape().num_pages); i-- > 0;)
    free_pages_.push_back(i);
  for (auto i = static_cast<std::int32_t>(options.num_sequences); i-- > 0;)
    free_slots_.push_back(i);
  for (auto i = static_cast<std::int32_t>(options.num_snapshots); i-- > 0;)
    free_snapshots_.push_back(static_cast<std::int32_t>(num_sequences_) + i);
  users_.resize(free_pages_.size());
  kept_.resize(free_pages_.size());
}

void SequencePool::add_user(std::int32_t page) {
  const auto i = static_cast<std::size_t>(page);
  if (++users_[i] == 2 && kept_[i]) --idle_pages_;
}

void SequencePool::remove_user(std::int32_t page) {
  const auto i = static_cast<std::size_t>(page);
  if (--users_[i] == 0)
    free_pages_.push_back(page);
  else if (users_[i] == 1 && kept_[i])
    ++idle_pages_;
}

Sequence SequencePool::create() {
  if (free_slots_.empty())
    fail(ErrorCode::overloaded, "all {} sequences of the pool are in use", num_sequences_);
  Sequence sequence;
  sequence.pool_ = this;
  sequence.slot_ = free_slots_.back();
  free_slots_.pop_back();
  states_->clear_slot(sequence.slot_);
  return sequence;
}

void SequencePool::reserve(Sequence& sequence, std::int64_t more) {
  OCTET_CHECK(sequence.pool_ == this, "a sequence of another pool");
  const std::int64_t need = (sequence.length_ + more + ops::kPageTokens - 1) / ops::kPageTokens -
                            static_cast<std::int64_t>(sequence.pages_.size());
  if (need > free_pages())
    fail(ErrorCode::overloaded, "the KV cache is full: {} tokens needed, {} of {} pages of {} free",
         more, free_pages(), kv_->shape().num_pages, ops::kPageTokens);
  for (std::int64_t i = 0; i < need; ++i) {
    sequence.pages_.push_back(free_pages_.back());
    free_pages_.pop_back();
    add_user(sequence.pages_.back());
  }
}

Sequence SequencePool::fork(const Sequence& from) {
  OCTET_CHECK(from.accepted_rows_ == 0 && from.draft_rows_ == 0,
              "fork of a sequence with a draft that its states haven't taken in");
  const std::int64_t full = from.length_ / ops::kPageTokens;
  const bool part = from.length_ % ops::kPageTokens != 0;
  if (part && free_pages_.empty())
    fail(ErrorCode::overloaded, "the KV cache is full: a copy of a sequence needs a page");
  Sequence copy = create();
  for (std::int64_t i = 0; i < full; ++i) {
    copy.pages_.push_back(from.pages_[static_cast<std::size_t>(i)]);
    add_user(copy.pages_.back());
  }
  copy.length_ = full * ops::kPageTokens;
  if (part) {  // both write into it: each has its own
    reserve(copy, 1);
    kv_->copy_page(from.pages_[static_cast<std::size_t>(full)], copy.pages_.back());
  }
  states_->copy_slot(from.slot_, copy.slot_);
  copy.length_ = from.length_;
  copy.rope_delta = from.rope_delta;
  return copy;
}

Sequence SequencePool::resume(std::span<const std::int32_t> pages, std::int32_t snapshot) {
  Sequence sequence = create();
  states_->copy_slot(snapshot, sequence.slot_);
  sequence.pages_.assign(pages.begin(), pages.end());
  for (const std::int32_t page : pages) add_user(page);
  sequence.length_ = static_cast<std::int64_t>(pages.size()) * ops::kPageTokens;
  return sequence;
}

std::int32_t SequencePool::take_snapshot(const Sequence& from) {
  OCTET_CHECK(from.pool_ == this && from.accepted_rows_ == 0 && from.draft_rows_ == 0,
              "snapshot of a sequence with a draft that its states haven't taken in");
  if (free_snapshots_.empty())
    fail(ErrorCode::overloaded, "all {} snapshots of the pool are taken",
         states_->shape().num_slots - num_sequences_);
  const std::int32_t snapshot = free_snapshots_.back();
  free_snapshots_.pop_back();
  states_->copy_slot(from.slot_, snapshot);
  return snapshot;
}

void SequencePool::drop_snapshot(std::int32_t snapshot) {
  OCTET_CHECK(snapshot >= num_sequences_, "slot {} is no snapshot", snapshot);
  free_snapshots_.push_back(snapshot);
}

void SequencePool::keep_page(std::int32_t page) {
  const auto i = static_cast<std::size_t>(page);
  OCTET_CHECK(!kept_[i] && users_[i] > 0, "page {} is free or kept already", page);
  kept_[i] = 1;
  ++users_[i];
}

void SequencePool::drop_page(std::int32_t page) {
  const auto i = static_cast<std::size_t>(page);
  OCTET_CHECK(kept_[i], "page {} isn't kept", page);
  if (users_[i] == 1) --idle_pages_;
  kept_[i] = 0;
  remove_user(page);
}

void SequencePool::use_page(Sequence& sequence, std::int64_t index, std::int32_t page) {
  std::int32_t& own = sequence.pages_[static_cast<std::size_t>(index)];
  OCTET_CHECK((index + 1) * ops::kPageTokens <= sequence.length_, "page {} isn't full", index);
  if (own == page) return;
  add_user(page);
  remove_user(std::exchange(own, page));
}

ops::Segment SequencePool::segment(Sequence& sequence, std::int64_t rows, bool draft) {
  OCTET_CHECK(rows > 0, "a step of {} rows", rows);
  OCTET_CHECK(!draft || rows <= states_->shape().max_draft_rows,
              "a draft of {} rows in a pool for {}", rows, states_->shape().max_draft_rows);
  reserve(sequence, rows);
  return {.num_rows = rows,
          .past = sequence.length_,
          .state_slot = sequence.slot_,
          .accepted_rows = sequence.accepted_rows_,
          .draft = draft,
          .pages = sequence.pages_};
}

void SequencePool::advance(Sequence& sequence, std::int64_t rows, bool draft) {
  sequence.accepted_rows_ = 0;
  sequence.draft_rows_ = draft ? rows : 0;
  if (!draft) sequence.length_ += rows;
}

}  // namespace octet::model
