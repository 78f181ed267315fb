#include "generate/grammar/closure.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

// Places and edges that one byte may lead to, beyond what the grammar's own size explains. A
// grammar that keeps more alive is ambiguous without bounds (palindromes), and each byte would cost
// more than the last.
constexpr std::uint64_t kMaxWork = 1 << 16, kMaxWorkPerInstruction = 4;
// Rules inside each other in a text. JSON this deep is nonsense, and stacks are memory.
constexpr std::uint32_t kMaxDepth = 1 << 16;
constexpr std::uint32_t kNone = 0xFFFFFFFF;

std::uint64_t key(std::uint32_t a, std::uint32_t b) {
  return (static_cast<std::uint64_t>(a) << 32) | b;
}

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

}  // namespace

void Closure::clear() {
  todo_.clear();
  seen_.clear();
  items_.clear();
  may_end_ = escaped_ = false;
  locals_.clear();
  by_label_.clear();
  end_work_ = owner_.work_ + std::max(kMaxWork, kMaxWorkPerInstruction * program_.code.size());
}

void Closure::go_on(std::uint32_t pc, std::uint32_t frame) {
  ++owner_.work_;
  if (seen_.insert(key(pc, frame)).second) todo_.emplace_back(pc, frame);
}

void Closure::go_on(const Edge& edge) {
  if (edge.pc == kEnd)
    may_end_ = true;
  else if (edge.pc == kUnknown)
    escaped_ = true;
  else if ((edge.pc & kLoop) != 0)
    enter(edge.pc & ~kLoop, edge.lo + 1, edge.hi + 1, edge.parent);
  else
    go_on(edge.pc, edge.parent);
}

Closure::Local& Closure::begin(std::uint32_t label, std::uint32_t pc, std::uint32_t& number) {
  const auto [it, fresh] = by_label_.try_emplace(label, static_cast<std::uint32_t>(locals_.size()));
  number = it->second;
  if (fresh) {
    locals_.push_back({label, {}, {}});
    go_on(pc, kLocal | number);
  }
  return locals_[number];
}

// A counted part of which lo to hi repetitions are complete.
void Closure::enter(std::uint32_t pc, std::uint32_t lo, std::uint32_t hi, std::uint32_t frame) {
  ++owner_.work_;
  const auto& instruction = program_.code[pc];
  const Count& count = program_.counts[instruction.a];
  if (hi >= count.min) go_on(instruction.b, frame);
  if (count.max == Count::kUnbounded) {
    lo = std::min(lo, count.min);
    hi = std::min(hi, count.min);
  } else {
    if (lo >= count.max) return;
    hi = std::min(hi, count.max - 1);
  }
  std::uint32_t number;
  begin(2 * pc + 1, count.body, number).edges.push_back({pc | kLoop, frame, lo, hi});
}

void Closure::follow(std::uint32_t pc, std::uint32_t frame) {
  const auto& instruction = program_.code[pc];
  switch (instruction.op) {
    case Op::ret:
      // A local frame's rule has read nothing: whoever called it went on already.
      if ((frame & kLocal) != 0) return;
      owner_.work_ += owner_.frames_[frame].count;
      for (std::uint32_t i = 0; i < owner_.frames_[frame].count; ++i)
        go_on(Edge(owner_.edges(frame)[i]));
      return;
    case Op::text:
      go_on(instruction.b, frame);
      items_.push_back({pc, 0, frame});
      return;
    case Op::char_class:
      items_.push_back({pc, program_.classes[instruction.a].start(), frame});
      return;
    case Op::literal:
      items_.push_back({pc, 0, frame});
      return;
    case Op::split:
      for (std::uint32_t i = 0; i < instruction.b; ++i)
        go_on(program_.targets[instruction.a + i], frame);
      return;
    case Op::call: {
      const auto& rule = program_.rules[instruction.a];
      std::uint32_t number;
      auto& local = begin(2 * instruction.a, rule.pc, number);
      if (instruction.b != Program::kRet) {
        local.edges.push_back({instruction.b, frame, 0, 0});
      } else if ((frame & kLocal) == 0) {
        // A tail call: the callee returns to where this rule would, so right recursion needs no
        // deeper stack.
        const auto edges = owner_.edges(frame);
        owner_.work_ += edges.size();
        local.edges.insert(local.edges.end(), edges.begin(), edges.end());
      } else if ((frame & ~kLocal) != number) {
        local.as.push_back(frame & ~kLocal);
      }
      if (rule.nullable) go_on(instruction.b, frame);
      return;
    }
    case Op::counted:
      enter(pc, 0, 0, frame);
      return;
  }
}

// The edges of a local frame and of those it stands in for.
void Closure::collect(std::uint32_t local) {
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
      locals_[local].edges.insert(locals_[local].edges.end(), from.edges.begin(),
                                  from.edges.end());
      for (const auto next : from.as)
        if (seen.insert(next).second) path.push_back(next);
    }
  }
  normalise(locals_[local].edges);
}

// Numbers for the local frames that items refer to, directly or not. False: too much work.
bool Closure::intern_locals() {
  interned_.assign(locals_.size(), kNone);
  // What is needed, found from the items on. Collected only at the end: another's edges must be
  // there as they were.
  std::vector<std::uint32_t> needed;
  std::vector<std::vector<std::uint32_t>> children(locals_.size());
  std::vector<std::uint32_t> waits(locals_.size());
  std::vector<bool> found(locals_.size());
  const auto need = [&](std::uint32_t frame) {
    if ((frame & kLocal) == 0 || found[frame & ~kLocal]) return;
    found[frame & ~kLocal] = true;
    needed.push_back(frame & ~kLocal);
  };
  for (const Item& item : items_) need(item.frame);
  for (std::size_t i = 0; i < needed.size(); ++i) {
    if (owner_.work_ > end_work_) return false;
    const auto local = needed[i];
    collect(local);
    for (const Edge& e : locals_[local].edges) {
      if ((e.parent & kLocal) == 0) continue;
      need(e.parent);
      children[e.parent & ~kLocal].push_back(local);
      ++waits[local];
    }
  }
  // Parents first.
  std::vector<std::uint32_t> ready;
  for (const auto local : needed)
    if (waits[local] == 0) ready.push_back(local);
  std::size_t done = 0;
  while (!ready.empty()) {
    const auto local = ready.back();
    ready.pop_back();
    ++done;
    auto& edges = locals_[local].edges;
    for (Edge& e : edges)
      if ((e.parent & kLocal) != 0) e.parent = interned_[e.parent & ~kLocal];
    normalise(edges);
    interned_[local] = owner_.intern_frame(edges);
    for (const auto child : children[local])
      if (--waits[child] == 0) ready.push_back(child);
  }
  if (done == needed.size()) return true;
  // What is left goes in circles (left recursion), or returns to what does.
  std::vector<std::uint32_t> members;
  for (const auto local : needed)
    if (interned_[local] == kNone) members.push_back(local);
  std::ranges::sort(members, {}, [&](std::uint32_t local) { return locals_[local].label; });
  std::vector<std::uint32_t> place(locals_.size());
  for (std::uint32_t i = 0; i < members.size(); ++i) place[members[i]] = i;
  std::vector<std::vector<Edge>> group;
  for (const auto local : members) {
    auto edges = locals_[local].edges;
    for (Edge& e : edges)
      if ((e.parent & kLocal) != 0) {
        const auto parent = e.parent & ~kLocal;
        e.parent = interned_[parent] == kNone ? kLoop | place[parent] : interned_[parent];
      }
    normalise(edges);
    group.push_back(std::move(edges));
  }
  const auto first = owner_.intern_group(group);
  for (std::uint32_t i = 0; i < members.size(); ++i) interned_[members[i]] = first + i;
  return true;
}

Configuration* Closure::finish() {
  while (!todo_.empty()) {
    const auto [pc, frame] = todo_.back();
    todo_.pop_back();
    follow(pc, frame);
    if (owner_.work_ > end_work_) return owner_.dead();
  }
  if (!locals_.empty()) {
    if (!intern_locals()) return owner_.dead();
    for (Item& item : items_)
      if ((item.frame & kLocal) != 0) item.frame = interned_[item.frame & ~kLocal];
  }
  std::erase_if(items_, [&](const Item& i) { return owner_.frames_[i.frame].depth > kMaxDepth; });
  std::ranges::sort(items_);
  const auto repeated = std::ranges::unique(items_);
  items_.erase(repeated.begin(), repeated.end());
  owner_.work_ += items_.size();
  return owner_.intern(items_, may_end_, escaped_);
}

}  // namespace octet::generate::grammar
