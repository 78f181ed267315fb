#include "generate/grammar/closure.h"

#include <algorithm>

namespace octet::generate::grammar {
namespace {

// Places and edges that one byte may lead to, beyond what the grammar's own size explains. A
// grammar that keeps more alive is ambiguous without bounds (palindromes), and each byte would cost
// more than the last. However large the grammar is, a byte may not take tens of milliseconds.
constexpr std::uint64_t kLeastWork = 1 << 16, kWorkPerInstruction = 16, kMostWork = 1'200'000;

std::uint64_t key(std::uint32_t a, std::uint32_t b) {
  return (static_cast<std::uint64_t>(a) << 32) | b;
}

}  // namespace

void Closure::clear() {
  todo_.clear();
  seen_.clear();
  items_.clear();
  may_end_ = escaped_ = false;
  locals_.clear();
  end_work_ = owner_.work_ + std::clamp<std::uint64_t>(kWorkPerInstruction * program_.code.size(),
                                                       kLeastWork, kMostWork);
}

void Closure::go_on(std::uint32_t pc, std::uint32_t frame) {
  owner_.work_ += 4;
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

std::uint32_t Closure::begin(std::uint32_t label, std::uint32_t pc) {
  const auto [frame, fresh] = locals_.at(label);
  if (fresh) go_on(pc, frame);
  return frame;
}

// A counted part of which lo to hi repetitions are complete.
void Closure::enter(std::uint32_t pc, std::uint32_t lo, std::uint32_t hi, std::uint32_t frame) {
  owner_.work_ += 6;
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
  locals_.add(begin(2 * pc + 1, count.body), {pc | kLoop, frame, lo, hi});
}

void Closure::follow(std::uint32_t pc, std::uint32_t frame) {
  const auto& instruction = program_.code[pc];
  switch (instruction.op) {
    case Op::ret:
      // A local frame's rule has read nothing: whoever called it went on already.
      if ((frame & LocalFrames::kLocal) != 0) return;
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
      const auto local = begin(2 * instruction.a, rule.pc);
      // A tail call returns to where this rule would, so right recursion needs no deeper stack.
      if (instruction.b == Program::kRet)
        locals_.add_all(local, frame);
      else
        locals_.add(local, {instruction.b, frame, 0, 0});
      if (rule.nullable) go_on(instruction.b, frame);
      return;
    }
    case Op::counted:
      enter(pc, 0, 0, frame);
      return;
  }
}

Configuration* Closure::finish() {
  while (!todo_.empty()) {
    const auto [pc, frame] = todo_.back();
    todo_.pop_back();
    follow(pc, frame);
    owner_.check_work();
    if (owner_.work_ > end_work_) return owner_.dead();
  }
  if (!locals_.intern(items_, end_work_)) return owner_.dead();
  std::erase_if(items_, [&](const Item& i) {
    return owner_.frames_[i.frame].depth > Configurations::kMaxDepth;
  });
  std::ranges::sort(items_);
  const auto repeated = std::ranges::unique(items_);
  items_.erase(repeated.begin(), repeated.end());
  locals_.drop_redundant(items_);
  owner_.work_ += items_.size();
  return owner_.intern(items_, may_end_, escaped_);
}

}  // namespace octet::generate::grammar
