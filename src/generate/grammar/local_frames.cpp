#include "generate/grammar/local_frames.h"

#include <algorithm>
#include <unordered_set>

namespace octet::generate::grammar {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFF;
// Comparing all with all costs the square; where more places return alike, none is left out.
constexpr std::size_t kMaxCompared = 16;

// Sorted; counters of the same return that touch become one range.
void normalise(std::vector<Edge>& edges) {
  std::ranges::sort(edges);
  std::size_t kept = 0;
  for (const Edge& e : edges) {
    if (kept > 0) {
      Edge& last = edges[kept - 1];
      if (last.pc == e.pc && last.parent == e.parent && e.lo <= last.hi + 1) {
        last.hi = std::max(last.hi, e.hi);
        continue;
      }
    }
    edges[kept++] = e;
  }
  edges.resize(kept);
}

// Which of n to leave out: those within another, of equals all but the first.
template <typename Within>
std::vector<bool> redundant(std::size_t n, Within within) {
  std::vector<bool> result(n);
  if (n > kMaxCompared) return result;
  for (std::size_t a = 0; a < n; ++a)
    for (std::size_t b = 0; b < n && !result[a]; ++b)
      result[a] = a != b && within(a, b) && (b < a || !within(b, a));
  return result;
}

}  // namespace

void LocalFrames::clear() {
  locals_.clear();
  by_label_.clear();
}

std::pair<std::uint32_t, bool> LocalFrames::at(std::uint32_t label) {
  const auto [it, fresh] = by_label_.try_emplace(label, static_cast<std::uint32_t>(locals_.size()));
  if (fresh) locals_.push_back({label, {}, {}, kNone});
  return {kLocal | it->second, fresh};
}

void LocalFrames::add_all(std::uint32_t frame, std::uint32_t other) {
  auto& local = locals_[frame & ~kLocal];
  if ((other & kLocal) != 0) {
    if (other != frame) local.as.push_back(other & ~kLocal);
    return;
  }
  const auto edges = owner_.edges(other);
  owner_.work_ += edges.size();
  local.edges.insert(local.edges.end(), edges.begin(), edges.end());
}

std::span<const Edge> LocalFrames::edges_of(std::uint32_t frame) const {
  return (frame & kLocal) != 0 ? std::span<const Edge>(locals_[frame & ~kLocal].edges)
                               : owner_.edges(frame);
}

// The edges of a local frame and of those it stands in for. These first, so that a chain of tail
// calls (the optional members of an object) costs no more than its length.
void LocalFrames::collect(std::uint32_t local, std::uint64_t end_work) {
  std::vector<std::pair<std::uint32_t, std::size_t>> path{{local, 0}};
  std::unordered_set<std::uint32_t> seen{local};
  while (!path.empty() && owner_.work_ <= end_work) {
    auto& [at, next] = path.back();
    if (next == locals_[at].as.size()) {
      collect_one(at);
      path.pop_back();
      continue;
    }
    const auto other = locals_[at].as[next++];
    ++owner_.work_;
    if (!locals_[other].as.empty() && seen.insert(other).second) path.emplace_back(other, 0);
  }
}

void LocalFrames::collect_one(std::uint32_t local) {
  if (!locals_[local].as.empty()) {
    std::vector<std::uint32_t> path = std::move(locals_[local].as);
    std::unordered_set<std::uint32_t> seen(path.begin(), path.end());
    seen.insert(local);
    locals_[local].as.clear();
    while (!path.empty()) {
      const auto other = path.back();
      path.pop_back();
      if (other == local) continue;
      const auto& from = locals_[other];
      owner_.work_ += 1 + from.edges.size();
      locals_[local].edges.insert(locals_[local].edges.end(), from.edges.begin(), from.edges.end());
      for (const auto next : from.as)
        if (seen.insert(next).second) path.push_back(next);
    }
  }
  normalise(locals_[local].edges);
}

// In order of discovery, with all their edges; empty if that took too much work.
std::vector<std::uint32_t> LocalFrames::needed_by(const std::vector<Item>& items,
                                                  std::uint64_t end_work) {
  std::vector<std::uint32_t> needed;
  std::vector<bool> found(locals_.size());
  const auto need = [&](std::uint32_t frame) {
    if ((frame & kLocal) == 0 || found[frame & ~kLocal]) return;
    found[frame & ~kLocal] = true;
    needed.push_back(frame & ~kLocal);
  };
  for (const Item& item : items) need(item.frame);
  for (std::size_t i = 0; i < needed.size(); ++i) {
    collect(needed[i], end_work);
    owner_.work_ += 1 + locals_[needed[i]].edges.size();
    owner_.check_work();
    if (owner_.work_ > end_work) return {};
    for (const Edge& e : locals_[needed[i]].edges) need(e.parent);
  }
  return needed;
}

// An edge to a frame adds nothing if another goes on at the same place, to a frame with all the
// edges of the first (and its counters): whatever text follows by the first, follows by the second,
// by induction over the text's frames. That makes `expr "+" expr` come back to where it was after
// each term, instead of remembering every way to group them.
std::vector<Edge> LocalFrames::reduced(const std::vector<Edge>& edges) {
  std::vector<Edge> result;
  for (auto begin = edges.begin(); begin != edges.end();) {
    const auto end =
        std::find_if(begin, edges.end(), [&](const Edge& e) { return e.pc != begin->pc; });
    const auto without =
        redundant(static_cast<std::size_t>(end - begin), [&](std::size_t a, std::size_t b) {
          const Edge &inner = begin[static_cast<std::ptrdiff_t>(a)],
                     &outer = begin[static_cast<std::ptrdiff_t>(b)];
          ++owner_.work_;
          if (outer.lo > inner.lo || inner.hi > outer.hi) return false;
          const auto all = edges_of(outer.parent), some = edges_of(inner.parent);
          owner_.work_ += all.size() / 8;
          return std::ranges::includes(all, some);
        });
    for (auto it = begin; it != end; ++it)
      if (!without[static_cast<std::size_t>(it - begin)]) result.push_back(*it);
    begin = end;
  }
  return result;
}

bool LocalFrames::intern(std::vector<Item>& items, std::uint64_t end_work) {
  if (locals_.empty()) return true;
  const auto candidates = needed_by(items, end_work);
  if (owner_.work_ > end_work) return false;
  // None may be left out before all are compared.
  std::vector<std::vector<Edge>> smaller;
  for (const auto local : candidates) {
    smaller.push_back(reduced(locals_[local].edges));
    owner_.check_work();
    if (owner_.work_ > end_work) return false;
  }
  for (std::size_t i = 0; i < candidates.size(); ++i)
    locals_[candidates[i]].edges = std::move(smaller[i]);
  const auto needed = needed_by(items, end_work);
  if (owner_.work_ > end_work) return false;
  intern(needed);
  for (Item& item : items)
    if ((item.frame & kLocal) != 0) item.frame = locals_[item.frame & ~kLocal].interned;
  return true;
}

void LocalFrames::intern_one(std::uint32_t local) {
  auto& edges = locals_[local].edges;
  for (Edge& e : edges)
    if ((e.parent & kLocal) != 0) e.parent = locals_[e.parent & ~kLocal].interned;
  normalise(edges);
  locals_[local].interned = owner_.intern_frame(edges);
}

void LocalFrames::intern(const std::vector<std::uint32_t>& needed) {
  std::vector<std::vector<std::uint32_t>> children(locals_.size());
  std::vector<std::uint32_t> waits(locals_.size());
  std::vector<std::uint32_t> ready;
  for (const auto local : needed) {
    for (const Edge& e : locals_[local].edges) {
      if ((e.parent & kLocal) == 0) continue;
      children[e.parent & ~kLocal].push_back(local);
      ++waits[local];
    }
    if (waits[local] == 0) ready.push_back(local);
  }
  const auto finish_ready = [&] {  // parents first
    while (!ready.empty()) {
      const auto local = ready.back();
      ready.pop_back();
      intern_one(local);
      for (const auto child : children[local])
        if (--waits[child] == 0) ready.push_back(child);
    }
  };
  finish_ready();
  std::vector<std::uint32_t> members;
  for (const auto local : needed)
    if (locals_[local].interned == kNone) members.push_back(local);
  if (!members.empty()) intern_circles(members, children);
}

// What goes in circles (left recursion), and what returns to that.
void LocalFrames::intern_circles(const std::vector<std::uint32_t>& members,
                                 const std::vector<std::vector<std::uint32_t>>& children) {
  // Those that none of the others returns to are no part of a circle and come last.
  std::vector<std::uint32_t> last, uses(locals_.size());
  for (const auto local : members) uses[local] = static_cast<std::uint32_t>(children[local].size());
  for (const auto local : members)
    if (uses[local] == 0) last.push_back(local);
  for (std::size_t i = 0; i < last.size(); ++i)
    for (const Edge& e : locals_[last[i]].edges)
      if ((e.parent & kLocal) != 0 && locals_[e.parent & ~kLocal].interned == kNone &&
          --uses[e.parent & ~kLocal] == 0)
        last.push_back(e.parent & ~kLocal);
  std::vector<std::uint32_t> circles;
  for (const auto local : members)
    if (uses[local] != 0) circles.push_back(local);
  // By label, so that equal circles get equal numbers wherever they are found.
  std::ranges::sort(circles, {}, [&](std::uint32_t local) { return locals_[local].label; });
  std::vector<std::uint32_t> place(locals_.size());
  for (std::uint32_t i = 0; i < circles.size(); ++i) place[circles[i]] = i;
  std::vector<std::vector<Edge>> group;
  for (const auto local : circles) {
    auto edges = locals_[local].edges;
    for (Edge& e : edges)
      if ((e.parent & kLocal) != 0) {
        const auto parent = e.parent & ~kLocal;
        const auto number = locals_[parent].interned;
        e.parent = number == kNone ? kLoop | place[parent] : number;
      }
    normalise(edges);
    group.push_back(std::move(edges));
  }
  const auto first = owner_.intern_group(group);
  for (std::uint32_t i = 0; i < circles.size(); ++i) locals_[circles[i]].interned = first + i;
  for (auto it = last.rbegin(); it != last.rend(); ++it) intern_one(*it);
}

void LocalFrames::drop_redundant(std::vector<Item>& items) const {
  std::vector<Item> kept;
  for (auto begin = items.begin(); begin != items.end();) {
    const auto end = std::find_if(begin, items.end(), [&](const Item& i) {
      return i.pc != begin->pc || i.state != begin->state;
    });
    const auto without =
        redundant(static_cast<std::size_t>(end - begin), [&](std::size_t a, std::size_t b) {
          const auto all = owner_.edges(begin[static_cast<std::ptrdiff_t>(b)].frame),
                     some = owner_.edges(begin[static_cast<std::ptrdiff_t>(a)].frame);
          owner_.work_ += 1 + all.size() / 8;
          return std::ranges::includes(all, some);
        });
    for (auto it = begin; it != end; ++it)
      if (!without[static_cast<std::size_t>(it - begin)]) kept.push_back(*it);
    begin = end;
  }
  items = std::move(kept);
}

}  // namespace octet::generate::grammar
