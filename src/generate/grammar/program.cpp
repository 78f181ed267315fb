#include "generate/grammar/program.h"

#include <algorithm>
#include <bitset>
#include <map>
#include <span>

#include "generate/grammar/node_graph.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

// Counters are 32 bits; what lies beyond can't be told from "without end" in an answer.
constexpr std::int64_t kMaxCount = 1'000'000'000;

class Compiler {
 public:
  Compiler(const Rules& rules, CompileBudget& budget)
      : rules_(rules), budget_(budget), graph_(analyse(rules, budget)) {}

  Program run() {
    const auto root = static_cast<std::size_t>(rules_.root);
    if (!graph_.of(rules_.rules[root].body).productive) fail_empty();
    emit({Op::ret});
    program_.root = rule(rules_.rules[root].body);
    while (!pending_.empty()) {
      const auto [number, body] = pending_.back();
      pending_.pop_back();
      const auto pc = part(body, Program::kRet, true);
      program_.rules[number].pc = pc;
    }
    divide_bytes();
    program_.bytes = budget_.taken();
    return std::move(program_);
  }

 private:
  [[noreturn]] void fail_empty() const {
    // Which of them is to blame only their author knows.
    std::string names;
    int listed = 0;
    for (const auto& rule : rules_.rules)
      if (!graph_.of(rule.body).productive && ++listed <= 5)
        names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", rule.name);
    fail(ErrorCode::invalid_argument,
         "no text satisfies the grammar: rule \"{}\" can't be completed (without any text: {}{})",
         rules_.rules[static_cast<std::size_t>(rules_.root)].name, names,
         listed > 5 ? fmt::format(" and {} more", listed - 5) : "");
  }

  std::uint32_t emit(Instruction instruction) {
    budget_.take(sizeof instruction);
    program_.code.push_back(instruction);
    return static_cast<std::uint32_t>(program_.code.size()) - 1;
  }

  // Rules are numbered by body: rules and shared parts are the same thing.
  std::uint32_t rule(const NodePtr& body) {
    const auto [it, fresh] =
        numbers_.try_emplace(body.get(), static_cast<std::uint32_t>(program_.rules.size()));
    if (fresh) {
      budget_.take(sizeof(Program::RuleEntry) + 64);
      program_.rules.push_back({.nullable = graph_.of(body).nullable});
      pending_.emplace_back(it->second, body);
    }
    return it->second;
  }

  std::uint32_t split(std::vector<std::uint32_t> targets) {
    std::ranges::sort(targets);
    const auto repeated = std::ranges::unique(targets);
    targets.erase(repeated.begin(), repeated.end());
    if (targets.size() == 1) return targets[0];
    budget_.take(targets.size() * sizeof(std::uint32_t));
    const auto begin = static_cast<std::uint32_t>(program_.targets.size());
    program_.targets.insert(program_.targets.end(), targets.begin(), targets.end());
    return emit({Op::split, begin, static_cast<std::uint32_t>(targets.size())});
  }

  // Where to begin to read a (productive) part and go on at `next`. own: the body of the rule that
  // is being made, which isn't called but written out.
  std::uint32_t part(const NodePtr& ptr, std::uint32_t next, bool own = false) {
    const auto& info = graph_.of(ptr);
    const Node& node = *ptr;
    const bool composite = !node.children.empty();
    if (!own && composite && info.uses > 1) return emit({Op::call, rule(ptr), next});
    switch (node.kind) {
      case NodeKind::literal:
        return node.bytes.empty() ? next : emit({Op::literal, literal(node.bytes), next});
      case NodeKind::char_class:
        return emit({Op::char_class, char_class(node.ranges), next});
      case NodeKind::any_byte_text:
        return emit({Op::text, text(node.bytes), next});
      case NodeKind::rule:
        return emit({Op::call, rule(rules_.rules[static_cast<std::size_t>(node.rule)].body), next});
      case NodeKind::sequence: {
        for (auto i = node.children.size(); i-- > 0;) next = part(node.children[i], next);
        return next;
      }
      case NodeKind::choice:
        return choice(node, next);
      case NodeKind::repeat:
        return repeat(node, next);
    }
    OCTET_CHECK(false, "node kind {}", static_cast<int>(node.kind));
  }

  std::uint32_t choice(const Node& node, std::uint32_t next) {
    std::vector<std::uint32_t> targets;
    std::vector<std::string_view> literals;
    for (const auto& child : node.children) {
      if (!graph_.of(child).productive) continue;
      if (child->kind == NodeKind::literal)
        literals.push_back(child->bytes);
      else
        targets.push_back(part(child, next));
    }
    std::ranges::sort(literals);
    add_literals(literals, 0, next, 0, targets);
    return split(std::move(targets));
  }

  // Sorted literals, of which the first `at` bytes are read: common beginnings are read once, so
  // that an enumeration of thousands costs a step no more than one of two.
  void add_literals(std::span<const std::string_view> literals, std::size_t at, std::uint32_t next,
                    int depth, std::vector<std::uint32_t>& targets) {
    constexpr int kMaxDepth = 500;
    while (!literals.empty()) {
      const auto first = literals.front();
      if (first.size() == at) {
        targets.push_back(next);
        literals = literals.subspan(1);
        continue;
      }
      std::size_t count = 1;
      while (count < literals.size() && literals[count].size() > at &&
             literals[count][at] == first[at])
        ++count;
      const auto last = literals[count - 1];
      auto common =
          static_cast<std::size_t>(std::ranges::mismatch(first, last).in1 - first.begin());
      if (depth == kMaxDepth && count > 1) {
        count = 1;
        common = first.size();
      }
      auto then = next;
      if (count > 1 && last.size() > common) {
        std::vector<std::uint32_t> inner;
        add_literals(literals.first(count), common, next, depth + 1, inner);
        then = split(std::move(inner));
      }
      targets.push_back(
          emit({Op::literal, literal(std::string(first.substr(at, common - at))), then}));
      literals = literals.subspan(count);
    }
  }

  std::uint32_t repeat(const Node& node, std::uint32_t next) {
    const auto& child = node.children[0];
    const auto& info = graph_.of(child);
    if (node.max == 0 || !info.productive) return next;
    // Repetitions that read nothing can be left out, so none is needed.
    const std::int64_t min = info.nullable ? 0 : node.min;
    if (min > kMaxCount)
      fail(ErrorCode::invalid_argument, "a part repeated {} times or more; at most {} is possible",
           min, kMaxCount);
    const bool unbounded = node.max > kMaxCount;
    if (node.max == 1) {
      const auto once = part(child, next);
      return min == 0 ? split({once, next}) : once;
    }
    if (unbounded && min <= 1) {
      const auto loop = emit({Op::split});
      const auto body = part(child, loop);
      budget_.take(2 * sizeof(std::uint32_t));
      program_.code[loop] = {Op::split, static_cast<std::uint32_t>(program_.targets.size()), 2};
      program_.targets.push_back(body);
      program_.targets.push_back(next);
      return min == 0 ? loop : body;
    }
    const auto body = part(child, Program::kRet);
    budget_.take(sizeof(Count));
    program_.counts.push_back(
        {body, static_cast<std::uint32_t>(min),
         unbounded ? Count::kUnbounded : static_cast<std::uint32_t>(node.max)});
    return emit({Op::counted, static_cast<std::uint32_t>(program_.counts.size()) - 1, next});
  }

  std::uint32_t literal(const std::string& bytes) {
    const auto [it, fresh] =
        literals_.try_emplace(bytes, static_cast<std::uint32_t>(program_.literals.size()));
    if (fresh) {
      budget_.take(2 * bytes.size() + 128);
      program_.literals.push_back(bytes);
    }
    return it->second;
  }

  std::uint32_t char_class(const CodePointRanges& ranges) {
    const auto [it, fresh] =
        classes_.try_emplace(ranges, static_cast<std::uint32_t>(program_.classes.size()));
    if (fresh) {
      program_.classes.emplace_back(ranges);
      budget_.take(program_.classes.back().bytes() + ranges.size() * sizeof ranges[0] + 64);
    }
    return it->second;
  }

  std::uint32_t text(const std::string& without) {
    const auto [it, fresh] =
        texts_.try_emplace(without, static_cast<std::uint32_t>(program_.texts.size()));
    if (fresh) {
      budget_.take(6 * without.size() + 128);
      program_.texts.emplace_back(without);
    }
    return it->second;
  }

  // Cuts the bytes where some terminal tells neighbours apart.
  void divide_bytes() {
    std::bitset<257> cut;
    const auto tell = [&](unsigned first, unsigned last) {
      cut.set(first);
      cut.set(last + 1);
    };
    for (const auto& bytes : program_.literals)
      for (const char c : bytes) tell(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c));
    for (const auto& automaton : program_.classes) automaton.for_each_range(tell);
    for (const auto& automaton : program_.texts) {
      for (const char c : automaton.without())
        tell(static_cast<std::uint8_t>(c), static_cast<std::uint8_t>(c));
      for (const unsigned b :
           {0x80, 0x90, 0xA0, 0xC0, 0xC2, 0xE0, 0xE1, 0xED, 0xEE, 0xF0, 0xF1, 0xF4, 0xF5})
        cut.set(b);
    }
    for (unsigned b = 0; b < 256; ++b) {
      if (b == 0 || cut[b]) program_.class_byte.push_back(static_cast<std::uint8_t>(b));
      program_.byte_class[b] = static_cast<std::uint8_t>(program_.class_byte.size() - 1);
    }
  }

  const Rules& rules_;
  CompileBudget& budget_;
  NodeGraph graph_;
  Program program_;
  std::unordered_map<const Node*, std::uint32_t> numbers_;
  std::vector<std::pair<std::uint32_t, NodePtr>> pending_;
  std::unordered_map<std::string, std::uint32_t> literals_, texts_;
  std::map<CodePointRanges, std::uint32_t> classes_;
};

}  // namespace

CompileBudget::CompileBudget(std::chrono::milliseconds time, std::size_t memory)
    : end_(std::chrono::steady_clock::now() + time), time_(time), memory_(memory) {}

void CompileBudget::take(std::size_t bytes) {
  taken_ += bytes;
  if (taken_ > memory_)
    fail(ErrorCode::invalid_argument,
         "the grammar needs more than the {} MiB it may have; make it smaller", memory_ >> 20);
  if (calls_++ % 256 == 0 && std::chrono::steady_clock::now() > end_)
    fail(ErrorCode::invalid_argument,
         "compiling the grammar took longer than {} ms; make it smaller", time_.count());
}

Program make_program(const Rules& rules, CompileBudget& budget) {
  return Compiler(rules, budget).run();
}

}  // namespace octet::generate::grammar
