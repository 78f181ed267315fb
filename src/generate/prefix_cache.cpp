#include "generate/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"

namespace octet::generate {

namespace {

constexpr auto kPage = static_cast<std::size_t>(ops::kPageTokens);

std::span<const std::int32_t> page_ids(std::span<const std::int32_t> tokens, std::size_t page) {
  return tokens.subspan(page * kPage, kPage);
}

}  // namespace

PrefixKeys::PrefixKeys(const std::string& salt) : root_(sha256(std::as_bytes(std::span(salt)))) {}

const Hash256& PrefixKeys::key(std::span<const std::int32_t> tokens, std::size_t page) {
  while (keys_.size() <= page) {
    std::array<std::byte, sizeof(Hash256) + kPage * sizeof(std::int32_t)> text;
    const auto ids = page_ids(tokens, keys_.size());
    std::memcpy(text.data(), keys_.empty() ? &root_ : &keys_.back(), sizeof(Hash256));
    std::memcpy(text.data() + sizeof(Hash256), ids.data(), ids.size_bytes());
    keys_.push_back(sha256(text));
  }
  return keys_[page];
}

PrefixCache::PrefixCache(model::SequencePool& pool) : pool_(pool) {
  const auto pages = static_cast<std::size_t>(pool.kv().shape().num_pages);
  nodes_.resize(pages);
  buckets_.assign(std::bit_ceil(pages + 1), -1);
}

std::int32_t& PrefixCache::bucket(const Hash256& key) {
  std::uint64_t word;
  std::memcpy(&word, key.data(), sizeof word);
  return buckets_[word & (buckets_.size() - 1)];
}

std::int32_t PrefixCache::lookup(const Hash256& key, std::span<const std::int32_t> ids,
                                 std::int32_t parent) const {
  std::int32_t page = const_cast<PrefixCache*>(this)->bucket(key);
  for (; page >= 0; page = node(page).next)
    if (node(page).key == key && node(page).parent == parent &&
        std::ranges::equal(node(page).ids, ids))
      return page;
  return -1;
}

PrefixCache::Hit PrefixCache::find(std::span<const std::int32_t> tokens, PrefixKeys& keys,
                                   std::int64_t limit) const {
  Hit hit;
  std::vector<std::int32_t> pages;
  const std::size_t most = std::min(tokens.size(), static_cast<std::size_t>(limit)) / kPage;
  for (std::int32_t page = -1; pages.size() < most;) {
    page = lookup(keys.key(tokens, pages.size()), page_ids(tokens, pages.size()), page);
    if (page < 0) break;
    pages.push_back(page);
    if (node(page).snapshot < 0) continue;
    hit.tokens = static_cast<std::int64_t>(pages.size() * kPage);
    hit.snapshot = node(page).snapshot;
  }
  pages.resize(static_cast<std::size_t>(hit.tokens) / kPage);
  hit.pages = std::move(pages);
  return hit;
}

void PrefixCache::touch(const Hit& hit) {
  if (hit.tokens == 0) return;
  unrank(hit.pages.back());
  rank(hit.pages.back());
}

// The snapshot's worth as of now.
void PrefixCache::rank(std::int32_t page) {
  std::int64_t saved = 0;
  for (std::int32_t at = page; at >= 0 && (at == page || node(at).snapshot < 0);
       at = node(at).parent)
    saved += ops::kPageTokens;
  node(page).worth = clock_ + saved;
  node(page).stamp = ++stamps_;
  by_worth_.insert(ranked(page));
  if (node(page).children == 0) leaves_.insert(ranked(page));
}

void PrefixCache::unrank(std::int32_t page) {
  by_worth_.erase(ranked(page));
  leaves_.erase(ranked(page));
}

void PrefixCache::add(std::int32_t page, const Hash256& key, std::span<const std::int32_t> ids,
                      std::int32_t parent) {
  pool_.keep_page(page);
  Node& n = node(page);
  n.key = key;
  std::ranges::copy(ids, n.ids.begin());
  n.parent = parent;
  n.children = 0;
  n.next = std::exchange(bucket(key), page);
  ++num_pages_;
  if (parent < 0) return;
  if (node(parent).children++ == 0 && node(parent).snapshot >= 0) leaves_.erase(ranked(parent));
}

PrefixCache::Handle PrefixCache::insert(model::Sequence& sequence,
                                        std::span<const std::int32_t> tokens, PrefixKeys& keys,
                                        Handle replaced) {
  const std::int64_t length = sequence.length();
  OCTET_CHECK(length > 0 && length % ops::kPageTokens == 0 &&
                  static_cast<std::size_t>(length) <= tokens.size(),
              "a snapshot after {} of {} tokens", length, tokens.size());
  // What leaves does so before the pages are walked: it may be a part of the same chain.
  if (replaced.page >= 0 && node(replaced.page).snapshot >= 0 &&
      node(replaced.page).stamp == replaced.stamp)
    remove_snapshot(replaced.page);
  Hit there = find(tokens, keys, length);
  if (there.tokens < length && pool_.free_snapshots() == 0) {
    if (by_worth_.empty()) return {};  // no slots at all
    evict_snapshot(std::get<2>(*by_worth_.begin()));
  }
  std::int32_t page = -1;
  for (std::size_t i = 0; i < static_cast<std::size_t>(length) / kPage; ++i) {
    const Hash256& key = keys.key(tokens, i);
    const auto ids = page_ids(tokens, i);
    const std::int32_t own = sequence.pages()[i];
    const std::int32_t found = lookup(key, ids, page);
    if (found < 0)
      add(own, key, ids, page);
    else
      pool_.use_page(sequence, static_cast<std::int64_t>(i), found);
    page = found < 0 ? own : found;
  }
  if (node(page).snapshot < 0)
    node(page).snapshot = pool_.take_snapshot(sequence);
  else
    unrank(page);
  rank(page);
  return {page, node(page).stamp};
}

void PrefixCache::remove_snapshot(std::int32_t page) {
  unrank(page);
  pool_.drop_snapshot(std::exchange(node(page).snapshot, -1));
  while (page >= 0 && node(page).children == 0 && node(page).snapshot < 0) {
    Node& n = node(page);
    std::int32_t* link = &bucket(n.key);
    while (*link != page) link = &node(*link).next;
    *link = n.next;
    --num_pages_;
    pool_.drop_page(page);
    page = std::exchange(n.parent, -1);
    if (page >= 0 && --node(page).children == 0 && node(page).snapshot >= 0)
      leaves_.insert(ranked(page));
  }
}

void PrefixCache::evict_snapshot(std::int32_t page) {
  clock_ = std::max(clock_, node(page).worth);
  ++evictions_;
  remove_snapshot(page);
}

bool PrefixCache::evict() {
  // A sequence uses one leaf at most, so few are passed over.
  for (const auto& [worth, stamp, page] : leaves_)
    if (pool_.page_sequences(page) == 0) {
      evict_snapshot(page);
      return true;
    }
  return false;
}

void PrefixCache::clear() {
  while (!by_worth_.empty()) remove_snapshot(std::get<2>(*by_worth_.begin()));
}

}  // namespace octet::generate
