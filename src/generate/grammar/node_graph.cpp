#include "generate/grammar/node_graph.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

// Of parts inside each other within one rule: the compiler descends into them. Sources stop far
// below it.
constexpr std::uint32_t kMaxHeight = 1000;

class Analysis {
 public:
  Analysis(const Rules& rules, CompileBudget& budget) : rules_(rules), budget_(budget) {}

  NodeGraph run() {
    if (rules_.root < 0 || rules_.root >= std::ssize(rules_.rules))
      fail(ErrorCode::invalid_argument, "the grammar's start is rule {} of {}", rules_.root,
           rules_.rules.size());
    for (const auto& rule : rules_.rules) {
      if (!rule.body)
        fail(ErrorCode::invalid_argument, "rule \"{}\" is used but not defined", rule.name);
      collect(rule);
    }
    users_.resize(graph_.parts.size());
    for (std::uint32_t i = 0; i < graph_.parts.size(); ++i) {
      const Node& node = *graph_.parts[i].node;
      for (const auto& child : node.children) users_[graph_.index.at(child.get())].push_back(i);
      if (node.kind == NodeKind::rule) {
        const auto& body = rules_.rules[static_cast<std::size_t>(node.rule)].body;
        users_[graph_.index.at(body.get())].push_back(i);
      }
    }
    spread(&NodeGraph::Info::productive, [](const Node& node) {
      if (node.kind == NodeKind::char_class)  // surrogates alone are no text
        return std::ranges::any_of(
            node.ranges, [](const auto& r) { return r.first < 0xD800 || r.second > 0xDFFF; });
      return node.kind == NodeKind::literal || node.kind == NodeKind::any_byte_text;
    });
    spread(&NodeGraph::Info::nullable, [](const Node& node) {
      return (node.kind == NodeKind::literal && node.bytes.empty()) ||
             node.kind == NodeKind::any_byte_text;
    });
    return std::move(graph_);
  }

 private:
  // Without recursion: sources may be programs that nest as they like.
  void collect(const Rules::Rule& rule) {
    struct Visit {
      const Node* node;
      std::size_t next_child = 0;
      std::uint32_t height = 0;
    };
    if (const auto it = graph_.index.find(rule.body.get()); it != graph_.index.end()) {
      ++graph_.parts[it->second].uses;
      return;
    }
    std::vector<Visit> path{{rule.body.get()}};
    while (!path.empty()) {
      auto& visit = path.back();
      const Node& node = *visit.node;
      if (visit.next_child < node.children.size()) {
        const Node* child = node.children[visit.next_child++].get();
        OCTET_CHECK(child, "a part of rule {} is null", rule.name);
        if (const auto it = graph_.index.find(child); it != graph_.index.end()) {
          ++graph_.parts[it->second].uses;
          visit.height = std::max(visit.height, graph_.parts[it->second].height + 1);
        } else if (path.size() > kMaxHeight) {
          fail_deep(rule);
        } else {
          path.push_back({child});
        }
        continue;
      }
      check(node, rule);
      const auto height = visit.height;
      if (height > kMaxHeight) fail_deep(rule);
      budget_.take(sizeof(NodeGraph::Info) + 64);
      graph_.index.emplace(&node, static_cast<std::uint32_t>(graph_.parts.size()));
      graph_.parts.push_back({.node = &node, .uses = 1, .height = height});
      path.pop_back();
      if (!path.empty()) path.back().height = std::max(path.back().height, height + 1);
    }
  }

  [[noreturn]] void fail_deep(const Rules::Rule& rule) const {
    fail(ErrorCode::invalid_argument, "rule \"{}\" nests more than {} parts; split it into rules",
         rule.name, kMaxHeight);
  }

  void check(const Node& node, const Rules::Rule& rule) const {
    if (node.kind == NodeKind::rule && (node.rule < 0 || node.rule >= std::ssize(rules_.rules)))
      fail(ErrorCode::invalid_argument, "rule \"{}\" refers to rule {} of {}", rule.name, node.rule,
           rules_.rules.size());
    if (node.kind == NodeKind::repeat)
      OCTET_CHECK(node.children.size() == 1 && node.min >= 0 && node.min <= node.max,
                  "a part of rule {} is repeated {} to {} times", rule.name, node.min, node.max);
  }

  // Which parts have a property, given the leaves that do: a sequence if all its children do, a
  // choice if one does, a rule if its body does, a repetition if its child does or none is needed.
  template <typename Leaf>
  void spread(bool NodeGraph::Info::* property, Leaf leaf) {
    std::vector<std::uint32_t> missing(graph_.parts.size()), found;
    const auto set = [&](std::uint32_t i) {
      if (graph_.parts[i].*property) return;
      graph_.parts[i].*property = true;
      found.push_back(i);
    };
    for (std::uint32_t i = 0; i < graph_.parts.size(); ++i) {
      budget_.take(0);
      const Node& node = *graph_.parts[i].node;
      missing[i] = static_cast<std::uint32_t>(
          node.kind == NodeKind::sequence ? node.children.size() : 1);
      if (leaf(node) || missing[i] == 0 || (node.kind == NodeKind::repeat && node.min == 0)) set(i);
    }
    while (!found.empty()) {
      budget_.take(0);
      const auto i = found.back();
      found.pop_back();
      for (const auto user : users_[i])
        if (missing[user] > 0 && --missing[user] == 0) set(user);
    }
  }

  const Rules& rules_;
  CompileBudget& budget_;
  NodeGraph graph_;
  std::vector<std::vector<std::uint32_t>> users_;
};

}  // namespace

NodeGraph analyse(const Rules& rules, CompileBudget& budget) {
  return Analysis(rules, budget).run();
}

}  // namespace octet::generate::grammar
