#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "generate/grammar/configurations.h"
#include "generate/grammar/token_trie.h"

namespace octet::generate::grammar {

/// The tokens that may come in a configuration, as bits or, if they are few, as ids.
struct MaskEntry {
  std::vector<std::uint32_t> bits;
  std::vector<std::int32_t> ids;  ///< sorted; if bits is empty
  /// Of a cut configuration: nodes of the trie where the text gets below the cut. The tokens from
  /// there on depend on the rest of the stack.
  std::vector<std::uint32_t> open;
  std::size_t bytes() const {
    return sizeof(*this) + 4 * (bits.capacity() + ids.capacity() + open.capacity());
  }
};

/// Makes masks and keeps the latest, a bounded number of bytes.
/// Not thread-safe. Entries refer to configurations of one Configurations at a time: clear() when
/// it goes.
class Masks {
 public:
  explicit Masks(const Vocabulary::Impl& vocabulary) : vocabulary_(vocabulary) {}

  /// Clears the bits of the tokens that can't come; false: of all. Stop tokens may where the
  /// configuration may_end. Known masks cost a pass over the words; new ones a walk over the part
  /// of the trie that is alive (a few ms at 248k tokens). Errors: as step(), if that takes more
  /// work than allowed; the bits are as they were then.
  bool fill(Configurations& in, Configuration* at, std::span<std::uint32_t> mask);
  void clear();
  std::size_t bytes() const { return bytes_; }

 private:
  /// cuts: 0 for one that was cut to the fewest frames, 1 for more, 2 for an exact one.
  std::shared_ptr<const MaskEntry> get(Configurations& in, Configuration* at, int cuts);
  void walk_open(Configurations& in, const std::vector<std::uint32_t>& nodes, Configuration* at,
                 std::vector<std::uint32_t>& bits, std::vector<std::uint32_t>& open);
  void keep(Configuration* at, std::shared_ptr<const MaskEntry> entry);
  /// Sets the bits of all tokens of the subtree of `node` that may come; `at` is the configuration
  /// at that node. open: gets the nodes whose tokens depend on what is below a cut; escaped: those
  /// of the whole subtree do, as far as they don't come anyway.
  void walk(Configurations& in, std::uint32_t node, Configuration* at, bool escaped,
            std::vector<std::uint32_t>& bits, std::vector<std::uint32_t>& open);

  const Vocabulary::Impl& vocabulary_;
  std::deque<Configuration*> kept_;  // with masks, oldest first
  std::size_t bytes_ = 0;
  std::vector<Configuration*> path_;
  std::vector<std::int32_t> stop_bits_;
};

}  // namespace octet::generate::grammar
