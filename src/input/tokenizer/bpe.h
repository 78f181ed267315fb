#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace octet::tokenizer {

/// Byte-pair merging over token ids. Constant after construction; threads may share it.
class Bpe {
 public:
  struct Merge {
    std::int32_t left, right, result;
  };
  /// byte_ids: the token of each single byte. merges: in order of rank, best first.
  Bpe(const std::array<std::int32_t, 256>& byte_ids, const std::vector<Merge>& merges);

  /// Appends the ids of one piece: bytes first, then the best-ranked adjacent pair (leftmost of
  /// equals) is merged until none is left. Cost O(n log n) for n bytes.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

 private:
  struct Entry {
    std::uint64_t pair = kEmpty;  // left << 32 | right
    std::int32_t rank = 0, result = 0;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  const Entry* find(std::int32_t left, std::int32_t right) const;
  std::array<std::int32_t, 256> byte_ids_;
  std::vector<Entry> table_;  // open addressing, a power of two, at most half full
};

}  // namespace octet::tokenizer
