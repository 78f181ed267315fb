#include <algorithm>
#include <limits>

#include "generate/grammar/matcher.h"
#include "generate/grammar/token_trie.h"
#include "input/tokenizer/tokenizer.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

// A longer token can't be a node's depth. No tokenizer has one; it would never match.
constexpr std::size_t kMaxTokenBytes = std::numeric_limits<std::uint16_t>::max();

std::vector<std::string> bytes_of(const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size) {
  if (vocab_size < tokenizer.size())
    fail(ErrorCode::invalid_argument, "a vocabulary of {} tokens for a tokenizer with {}",
         vocab_size, tokenizer.size());
  std::vector<std::string> tokens(static_cast<std::size_t>(vocab_size));
  for (std::int32_t id = 0; id < tokenizer.size(); ++id)
    if (!tokenizer.is_special(id)) tokens[static_cast<std::size_t>(id)] = tokenizer.bytes(id);
  return tokens;
}

}  // namespace

Vocabulary::Impl::Impl(std::vector<std::string> tokens, std::vector<std::int32_t> stops,
                       std::size_t max_kept_bytes)
    : size(static_cast<std::int64_t>(tokens.size())),
      stop_ids(std::move(stops)),
      max_kept(max_kept_bytes) {
  std::ranges::sort(stop_ids);
  const auto repeated = std::ranges::unique(stop_ids);
  stop_ids.erase(repeated.begin(), repeated.end());
  for (const auto id : stop_ids) {
    if (id < 0 || id >= size)
      fail(ErrorCode::invalid_argument, "stop id {} is outside the vocabulary of {} tokens", id,
           size);
    tokens[static_cast<std::size_t>(id)].clear();  // it ends a text and is never part of one
  }
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    offsets_.push_back(pool_.size());
    if (tokens[id].empty() || tokens[id].size() > kMaxTokenBytes) continue;
    pool_ += tokens[id];
    ids.push_back(static_cast<std::int32_t>(id));
  }
  offsets_.push_back(pool_.size());
  std::ranges::sort(ids, {}, [&](std::int32_t id) { return std::pair(bytes(id), id); });

  nodes.push_back({});
  std::vector<std::uint32_t> path{0};  // nodes from the root to the last token's
  std::string_view last;
  for (std::uint32_t i = 0; i < ids.size(); ++i) {
    const auto token = bytes(ids[i]);
    const auto common =
        static_cast<std::size_t>(std::ranges::mismatch(last, token).in1 - last.begin());
    for (; path.size() > common + 1; path.pop_back())
      nodes[path.back()].end = static_cast<std::uint32_t>(nodes.size());
    for (auto depth = common; depth < token.size(); ++depth) {
      path.push_back(static_cast<std::uint32_t>(nodes.size()));
      nodes.push_back({.first_token = i,
                       .depth = static_cast<std::uint16_t>(depth + 1),
                       .byte = static_cast<std::uint8_t>(token[depth])});
    }
    max_depth = std::max(max_depth, static_cast<std::uint32_t>(token.size()));
    last = token;
  }
  for (; !path.empty(); path.pop_back())
    nodes[path.back()].end = static_cast<std::uint32_t>(nodes.size());
  nodes.push_back({.first_token = static_cast<std::uint32_t>(ids.size())});
}

std::string_view Vocabulary::Impl::bytes(std::int32_t id) const {
  if (id < 0 || id >= size) return {};
  const auto at = static_cast<std::size_t>(id);
  return std::string_view(pool_).substr(offsets_[at], offsets_[at + 1] - offsets_[at]);
}

bool Vocabulary::Impl::is_stop(std::int32_t id) const {
  return std::ranges::binary_search(stop_ids, id);
}

Vocabulary::Vocabulary(const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size,
                       std::vector<std::int32_t> stop_ids)
    : Vocabulary(bytes_of(tokenizer, vocab_size), std::move(stop_ids)) {}

Vocabulary::Vocabulary(std::vector<std::string> tokens, std::vector<std::int32_t> stop_ids,
                       std::size_t max_kept)
    : impl_(std::make_unique<const Impl>(std::move(tokens), std::move(stop_ids), max_kept)) {}

Vocabulary::~Vocabulary() = default;

std::int64_t Vocabulary::size() const {
  return impl_->size;
}

std::size_t Vocabulary::program_bytes() const {
  return impl_->programs;
}

const std::vector<std::int32_t>& Vocabulary::stop_ids() const {
  return impl_->stop_ids;
}

}  // namespace octet::generate::grammar
