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
  pool_->free_pages_.insert(pool_->free_pages_.end(), pages_.begin(), pages_.end());
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
  ops::StateCacheShape shape{.num_slots = options.num_sequences,
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

SequencePool::SequencePool(ops::Backend& backend, const checkpoint::TextConfig& config,
                           const PoolOptions& options)
    : kv_(backend.make_kv_cache(kv_shape(config, options))),
      states_(backend.make_state_cache(state_shape(config, options))) {
  OCTET_CHECK(options.max_draft_rows <= ops::kMaxDraftRows, "drafts of {} rows",
              options.max_draft_rows);
  // Taken from the back: low numbers first.
  for (auto i = static_cast<std::int32_t>(kv_->shape().num_pages); i-- > 0;)
    free_pages_.push_back(i);
  for (auto i = static_cast<std::int32_t>(options.num_sequences); i-- > 0;)
    free_slots_.push_back(i);
}

Sequence SequencePool::create() {
  if (free_slots_.empty())
    fail(ErrorCode::overloaded, "all {} sequences of the pool are in use",
         states_->shape().num_slots);
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
  }
}

Sequence SequencePool::fork(const Sequence& from) {
  OCTET_CHECK(from.accepted_rows_ == 0 && from.draft_rows_ == 0,
              "fork of a sequence with a draft that its states haven't taken in");
  Sequence copy = create();
  reserve(copy, from.length_);
  states_->copy_slot(from.slot_, copy.slot_);
  for (std::size_t i = 0; i < copy.pages_.size(); ++i)
    kv_->copy_page(from.pages_[i], copy.pages_[i]);
  copy.length_ = from.length_;
  copy.rope_delta = from.rope_delta;
  return copy;
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
