#include "input/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

namespace octet::tokenizer {

namespace {

std::size_t hash(std::uint64_t pair) {
  pair ^= pair >> 31;
  pair *= 0x9e3779b97f4a7c15u;
  return static_cast<std::size_t>(pair ^ pair >> 29);
}

std::uint64_t key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

// A symbol of the word under way; merged ones drop out of the list.
struct Symbol {
  std::int32_t id;
  std::int32_t previous, next;  // -1 at the ends
};

// A pair that could be merged. `id` of both halves tells later whether it still stands.
struct Candidate {
  std::int32_t rank, at, left, right, result;
  bool operator<(const Candidate& other) const {  // the queue's top is the best
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

}  // namespace

Bpe::Bpe(const std::array<std::int32_t, 256>& byte_ids, const std::vector<Merge>& merges)
    : byte_ids_(byte_ids), table_(std::bit_ceil(2 * merges.size() + 2)) {
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& m = merges[rank];
    const std::uint64_t pair = key(m.left, m.right);
    std::size_t i = hash(pair) & (table_.size() - 1);
    while (table_[i].pair != kEmpty && table_[i].pair != pair) i = (i + 1) & (table_.size() - 1);
    // A pair listed twice counts with its last rank, as in the library's map.
    table_[i] = {pair, static_cast<std::int32_t>(rank), m.result};
  }
}

const Bpe::Entry* Bpe::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = key(left, right);
  for (std::size_t i = hash(pair) & (table_.size() - 1);; i = (i + 1) & (table_.size() - 1)) {
    if (table_[i].pair == pair) return &table_[i];
    if (table_[i].pair == kEmpty) return nullptr;
  }
}

void Bpe::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (std::size_t i = 0; i < piece.size(); ++i)
    symbols.push_back({byte_ids_[static_cast<unsigned char>(piece[i])],
                       static_cast<std::int32_t>(i) - 1,
                       i + 1 < piece.size() ? static_cast<std::int32_t>(i) + 1 : -1});
  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::int32_t at) {
    if (at < 0) return;
    const Symbol& s = symbols[static_cast<std::size_t>(at)];
    if (s.next < 0) return;
    const std::int32_t right = symbols[static_cast<std::size_t>(s.next)].id;
    if (const Entry* e = find(s.id, right)) queue.push({e->rank, at, s.id, right, e->result});
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Symbol& s = symbols[static_cast<std::size_t>(c.at)];
    if (s.id != c.left || s.next < 0 || symbols[static_cast<std::size_t>(s.next)].id != c.right)
      continue;  // one of the halves has been merged since
    Symbol& gone = symbols[static_cast<std::size_t>(s.next)];
    gone.id = -1;
    s.id = c.result;
    s.next = gone.next;
    if (gone.next >= 0) symbols[static_cast<std::size_t>(gone.next)].previous = c.at;
    consider(s.previous);
    consider(c.at);
  }
  for (const Symbol& s : symbols)
    if (s.id >= 0) ids.push_back(s.id);
}

}  // namespace octet::tokenizer
