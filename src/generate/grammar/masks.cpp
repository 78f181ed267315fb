#include "generate/grammar/masks.h"

#include <algorithm>
#include <bit>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

// Of kept masks: about a thousand with all their bits at 248k tokens.
constexpr std::size_t kMaxBytes = 32 << 20;
// Nodes of the trie that cost as much as looking at one place in the grammar.
constexpr std::uint64_t kNodesPerWork = 4;
// With so few tokens, ids are smaller than bits.
constexpr std::size_t kFew = 1000;

std::shared_ptr<const MaskEntry> pack(std::vector<std::uint32_t> bits,
                                      std::vector<std::uint32_t> open) {
  std::size_t count = 0;
  for (const auto word : bits) count += static_cast<std::size_t>(std::popcount(word));
  auto entry = std::make_shared<MaskEntry>();
  entry->open = std::move(open);
  if (count > kFew || count >= bits.size()) {
    entry->bits = std::move(bits);
    return entry;
  }
  entry->ids.reserve(count);
  for (std::size_t i = 0; i < bits.size(); ++i)
    for (auto word = bits[i]; word != 0; word &= word - 1)
      entry->ids.push_back(static_cast<std::int32_t>(i * 32) + std::countr_zero(word));
  return entry;
}

std::vector<std::uint32_t> unpack(const MaskEntry& entry, std::size_t words) {
  if (!entry.bits.empty()) return entry.bits;
  std::vector<std::uint32_t> bits(words);
  for (const auto id : entry.ids) bits[static_cast<std::size_t>(id) / 32] |= 1U << (id % 32);
  return bits;
}

bool bit(std::span<const std::uint32_t> mask, std::int32_t id) {
  return (mask[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

}  // namespace

void Masks::walk(Configurations& in, std::uint32_t node, Configuration* at, bool escaped,
                 std::vector<std::uint32_t>& bits, std::vector<std::uint32_t>& open) {
  const auto* nodes = vocabulary_.nodes.data();
  const auto* ids = vocabulary_.ids.data();
  Configuration* const dead = in.dead();
  const auto base = nodes[node].depth;
  path_.resize(vocabulary_.max_depth + 2);
  path_[base] = at;
  // From this depth on, some place is below a cut; 0: none is.
  std::uint32_t escaped_depth = escaped || at->escaped ? 1 : 0;
  const auto accept = [&](std::uint32_t i) {
    for (auto t = nodes[i].first_token; t < nodes[i + 1].first_token; ++t)
      bits[static_cast<std::size_t>(ids[t]) / 32] |= 1U << (ids[t] % 32);
  };
  accept(node);
  const auto end = nodes[node].end;
  std::uint64_t visited = 0;
  for (auto i = node + 1; i < end; ++visited) {
    const auto depth = nodes[i].depth;
    if (depth < escaped_depth) escaped_depth = 0;
    Configuration* const to = in.step(path_[depth - 1], nodes[i].byte);
    if (to == dead) {
      if (escaped_depth != 0) open.push_back(i);
      i = nodes[i].end;
      continue;
    }
    path_[depth] = to;
    if (to->escaped && escaped_depth == 0) escaped_depth = depth + 1U;
    accept(i);
    ++i;
  }
  in.add_work(visited / kNodesPerWork);
}

// The subtrees of some nodes in order, where `at` is the configuration at the root.
void Masks::walk_open(Configurations& in, const std::vector<std::uint32_t>& nodes,
                      Configuration* at, std::vector<std::uint32_t>& bits,
                      std::vector<std::uint32_t>& open) {
  std::vector<Configuration*> path{at};
  std::string_view read;
  for (const auto node : nodes) {
    const auto& n = vocabulary_.nodes[node];
    // The way to a node is the beginning of any token below it.
    const auto bytes = vocabulary_.bytes(vocabulary_.ids[n.first_token]).substr(0, n.depth);
    path.resize(1 +
                static_cast<std::size_t>(std::ranges::mismatch(read, bytes).in1 - read.begin()));
    while (path.size() <= bytes.size())
      path.push_back(in.step(path.back(), static_cast<std::uint8_t>(bytes[path.size() - 1])));
    read = bytes;
    const bool escaped = std::ranges::any_of(path, [](const auto* c) { return c->escaped; });
    if (path.back() != in.dead())
      walk(in, node, path.back(), escaped, bits, open);
    else if (escaped)
      open.push_back(node);
  }
}

std::shared_ptr<const MaskEntry> Masks::get(Configurations& in, Configuration* at, int cuts) {
  at->mask_used = true;
  if (at->mask) return at->mask;
  const auto words = static_cast<std::size_t>((vocabulary_.size + 31) / 32);
  std::vector<std::uint32_t> bits, open;
  Configuration* const cut = cuts > 0 ? in.cut(at, cuts - 1) : at;
  if (cuts == 0) {
    bits.resize(words);
    walk(in, 0, at, false, bits, open);
  } else {
    auto known = get(in, cut, cuts - 1);
    if (cut == at || known->open.empty()) return known;
    // Only the tokens that look below the cut are open; those on the longer stack.
    bits = unpack(*known, words);
    walk_open(in, known->open, at, bits, open);
  }
  auto entry = pack(std::move(bits), std::move(open));
  keep(at, entry);
  return entry;
}

void Masks::keep(Configuration* at, std::shared_ptr<const MaskEntry> entry) {
  // Second chances: what was used since it last came to the front goes to the back again.
  std::size_t chances = kept_.size();
  while (!kept_.empty() && bytes_ + entry->bytes() > kMaxBytes) {
    Configuration* const oldest = kept_.front();
    kept_.pop_front();
    if (oldest->mask_used && chances-- > 0) {
      oldest->mask_used = false;
      kept_.push_back(oldest);
      continue;
    }
    bytes_ -= oldest->mask->bytes();
    oldest->mask.reset();
  }
  bytes_ += entry->bytes();
  at->mask = std::move(entry);
  kept_.push_back(at);
}

void Masks::clear() {
  kept_.clear();
  bytes_ = 0;
}

bool Masks::fill(Configurations& in, Configuration* at, std::span<std::uint32_t> mask) {
  const auto words = static_cast<std::size_t>((vocabulary_.size + 31) / 32);
  OCTET_CHECK(mask.size() >= words, "a mask of {} words for {} tokens", mask.size(),
              vocabulary_.size);
  stop_bits_.clear();
  if (at->may_end)
    for (const auto id : vocabulary_.stop_ids)
      if (bit(mask, id)) stop_bits_.push_back(id);
  const auto entry = get(in, at, 2);
  std::uint32_t any = 0;
  if (!entry->bits.empty()) {
    for (std::size_t i = 0; i < words; ++i) any |= mask[i] &= entry->bits[i];
    std::ranges::fill(mask.subspan(words), 0U);
  } else {
    auto& allowed = stop_bits_;
    for (const auto id : entry->ids)
      if (bit(mask, id)) allowed.push_back(id);
    std::ranges::fill(mask, 0U);
  }
  for (const auto id : stop_bits_) mask[static_cast<std::size_t>(id) / 32] |= 1U << (id % 32);
  return any != 0 || !stop_bits_.empty();
}

}  // namespace octet::generate::grammar
