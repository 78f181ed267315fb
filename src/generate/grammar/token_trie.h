#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "generate/grammar/matcher.h"

namespace octet::generate::grammar {

/// A node of the trie, in preorder: what follows a node up to `end` is its subtree. Node 0 is the
/// root (no bytes).
struct TrieNode {
  std::uint32_t end = 0;          ///< one past the subtree's last node
  std::uint32_t first_token = 0;  ///< in `ids`; a node's tokens end where the next node's begin
  std::uint16_t depth = 0;        ///< bytes from the root
  std::uint8_t byte = 0;
};

/// The tokens' bytes as one trie. One more node than there are follows the last, as an end.
struct Vocabulary::Impl {
  Impl(std::vector<std::string> tokens, std::vector<std::int32_t> stop_ids, std::size_t max_kept);

  /// Empty: never matches.
  std::string_view bytes(std::int32_t id) const;
  bool is_stop(std::int32_t id) const;

  std::int64_t size = 0;
  std::vector<TrieNode> nodes;
  std::vector<std::int32_t> ids;  // by bytes, then by id
  std::uint32_t max_depth = 0;    // bytes of the longest token
  std::vector<std::int32_t> stop_ids;
  /// Bytes that the matching of all grammars over this vocabulary keeps; and beyond which each
  /// keeps less.
  mutable std::atomic<std::size_t> kept{0};
  std::size_t max_kept;
  mutable std::atomic<std::size_t> programs{0};  // of what is compiled, bytes

 private:
  std::string pool_;
  std::vector<std::uint64_t> offsets_;  // of each id in pool_, and the end
};

}  // namespace octet::generate::grammar
