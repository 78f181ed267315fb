#include "generate/grammar/rules.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

NodePtr make(Node node) {
  return std::make_shared<const Node>(std::move(node));
}

constexpr std::uint32_t kLastCodePoint = 0x10FFFF;

}  // namespace

NodePtr literal(std::string bytes) {
  return make({.kind = NodeKind::literal, .bytes = std::move(bytes)});
}

NodePtr char_class(std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges, bool negated) {
  std::ranges::sort(ranges);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> merged;
  for (const auto& [begin, end] : ranges) {
    OCTET_CHECK(begin <= end && end <= kLastCodePoint, "code points {} to {}", begin, end);
    if (!merged.empty() && begin <= merged.back().second + 1)
      merged.back().second = std::max(merged.back().second, end);
    else
      merged.emplace_back(begin, end);
  }
  if (negated) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> rest;
    std::uint32_t next = 0;
    for (const auto& [begin, end] : merged) {
      if (begin > next) rest.emplace_back(next, begin - 1);
      next = end + 1;
    }
    if (next <= kLastCodePoint) rest.emplace_back(next, kLastCodePoint);
    merged = std::move(rest);
  }
  return make({.kind = NodeKind::char_class, .ranges = std::move(merged)});
}

NodePtr sequence(std::vector<NodePtr> children) {
  return make({.kind = NodeKind::sequence, .children = std::move(children)});
}

NodePtr choice(std::vector<NodePtr> children) {
  return make({.kind = NodeKind::choice, .children = std::move(children)});
}

NodePtr repeat(NodePtr child, std::int64_t min, std::int64_t max) {
  OCTET_CHECK(min >= 0 && min <= max, "a part repeated {} to {} times", min, max);
  return make({.kind = NodeKind::repeat, .children = {std::move(child)}, .min = min, .max = max});
}

NodePtr optional(NodePtr child) {
  return repeat(std::move(child), 0, 1);
}

NodePtr rule_ref(std::int32_t rule) {
  return make({.kind = NodeKind::rule, .rule = rule});
}

NodePtr text_without(std::string bytes) {
  return make({.kind = NodeKind::any_byte_text, .bytes = std::move(bytes)});
}

std::int32_t Rules::add(std::string name, NodePtr body) {
  constexpr std::size_t kMaxRules = 250'000;
  if (rules.size() >= kMaxRules)
    fail(ErrorCode::invalid_argument, "the grammar has more than {} rules; make it smaller",
         kMaxRules);
  rules.push_back({std::move(name), std::move(body)});
  return static_cast<std::int32_t>(rules.size()) - 1;
}

}  // namespace octet::generate::grammar
