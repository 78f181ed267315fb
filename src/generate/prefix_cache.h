#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "model/sequence.h"
#include "runtime/base/hash.h"

namespace octet::generate {

/// Keys of the full pages of one list of tokens, computed as they are asked for: SHA-256 of the key
/// before, the page's 64 ids; the first is preceded by the hash of the salt.
class PrefixKeys {
 public:
  explicit PrefixKeys(const std::string& salt = {});
  /// Key of the tokens [0, 64 (page + 1)). `tokens` only ever grows.
  const Hash256& key(std::span<const std::int32_t> tokens, std::size_t page);

 private:
  Hash256 root_;
  std::vector<Hash256> keys_;
};

/// Beginnings of sequences that later ones may continue: a tree of full KV pages, and snapshots of
/// the recurrent state at some of its nodes. A hit needs a snapshot: pages alone say nothing about
/// the state. So every leaf has one, and what leaves the cache is a snapshot with the pages that
/// nothing else needs.
///
/// What leaves first (GreedyDual): a snapshot is worth the tokens between it and the snapshot
/// before it, which its loss would have computed again, on top of a clock that rises with each
/// eviction; so worth ages. Among equals the one that was used longest ago goes.
///
/// Hits are exact: a page stores its 64 ids and its parent, both are compared.
/// A sequence that inserts a page which is there already takes that one and gives its own back.
/// Then a page in use has all its ancestors in use, and every idle page can be freed.
/// Cost: find and insert O(pages of the prefix); eviction O(log snapshots + sequences + pages
/// freed). Threads: one at a time, as the pool. Outlived by the pool.
class PrefixCache {
 public:
  explicit PrefixCache(model::SequencePool& pool);
  ~PrefixCache() { clear(); }
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Hit {
    std::int64_t tokens = 0;          ///< multiple of 64; 0: none
    std::vector<std::int32_t> pages;  ///< tokens / 64
    std::int32_t snapshot = -1;
  };
  /// The longest beginning of at most `limit` tokens that can be continued. Valid until the cache
  /// changes.
  Hit find(std::span<const std::int32_t> tokens, PrefixKeys& keys, std::int64_t limit) const;
  /// The hit was used.
  void touch(const Hit& hit);

  /// A snapshot that the same caller may replace while nobody has used it.
  struct Handle {
    std::int32_t page = -1;
    std::uint64_t stamp = 0;
  };
  /// Keeps the state of a sequence that has taken in exactly `length` tokens, a multiple of 64, and
  /// its pages. If no slot is free the least worthy snapshot goes; `replaced` goes in any case if
  /// nobody has used it since. A snapshot that is there already counts as used.
  Handle insert(model::Sequence& sequence, std::span<const std::int32_t> tokens, PrefixKeys& keys,
                Handle replaced);

  /// Frees at least one page of the pool, if there is an idle one.
  bool evict();
  /// Forgets everything; pages in use stay with their sequences.
  void clear();

  std::int64_t num_snapshots() const { return static_cast<std::int64_t>(by_worth_.size()); }
  std::int64_t num_pages() const { return num_pages_; }
  std::int64_t evictions() const { return evictions_; }

 private:
  // One for each page of the pool, under its number.
  struct Node {
    Hash256 key{};
    std::array<std::int32_t, ops::kPageTokens> ids{};
    std::int32_t parent = -1, children = 0, next = -1;  // next: in its bucket
    std::int32_t snapshot = -1;
    std::int64_t worth = 0;
    std::uint64_t stamp = 0;
  };
  using Ranked = std::tuple<std::int64_t, std::uint64_t, std::int32_t>;  // worth, stamp, page

  Node& node(std::int32_t page) { return nodes_[static_cast<std::size_t>(page)]; }
  const Node& node(std::int32_t page) const { return nodes_[static_cast<std::size_t>(page)]; }
  std::int32_t& bucket(const Hash256& key);
  std::int32_t lookup(const Hash256& key, std::span<const std::int32_t> ids,
                      std::int32_t parent) const;
  void add(std::int32_t page, const Hash256& key, std::span<const std::int32_t> ids,
           std::int32_t parent);
  Ranked ranked(std::int32_t page) const { return {node(page).worth, node(page).stamp, page}; }
  void rank(std::int32_t page);
  void unrank(std::int32_t page);
  void remove_snapshot(std::int32_t page);
  void evict_snapshot(std::int32_t page);

  model::SequencePool& pool_;
  std::vector<Node> nodes_;
  std::vector<std::int32_t> buckets_;   // first page, -1: none
  std::set<Ranked> by_worth_, leaves_;  // all snapshots; those without pages behind them
  std::int64_t clock_ = 0, num_pages_ = 0, evictions_ = 0;
  std::uint64_t stamps_ = 0;
};

}  // namespace octet::generate
