// generate/grammar: languages that an answer must belong to, and which tokens keep it in them.
// Rules (an abstract grammar over bytes) come from JSON schemas, regular expressions, EBNF, tools;
// a compiled grammar and a matcher say which tokens of a vocabulary may come next.
// Knows no model and no sampling.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace octet::generate::grammar {

struct Node;
using NodePtr = std::shared_ptr<const Node>;

enum class NodeKind {
  literal,        ///< bytes (UTF-8 text as it is)
  char_class,     ///< one code point of ranges; text is UTF-8
  sequence,       ///< children in order; none: the empty text
  choice,         ///< one of the children
  repeat,         ///< children[0] min to max times; expanded lazily
  rule,           ///< the rule of that number
  any_byte_text,  ///< any valid UTF-8 text that does not contain `bytes` (free text up to a
                  ///< trigger)
};

inline constexpr std::int64_t kUnbounded = std::numeric_limits<std::int64_t>::max();

/// A part of a rule. Immutable; shared parts are fine.
struct Node {
  NodeKind kind = NodeKind::sequence;
  std::string bytes;  ///< literal; any_byte_text: what must not occur (empty: anything goes)
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;  ///< char_class: inclusive, sorted
  std::vector<NodePtr> children;
  std::int64_t min = 0, max = kUnbounded;  ///< repeat
  std::int32_t rule = -1;                  ///< rule
};

NodePtr literal(std::string bytes);
NodePtr char_class(std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges,
                   bool negated = false);
NodePtr sequence(std::vector<NodePtr> children);
NodePtr choice(std::vector<NodePtr> children);
NodePtr repeat(NodePtr child, std::int64_t min, std::int64_t max);
NodePtr optional(NodePtr child);
NodePtr rule_ref(std::int32_t rule);
NodePtr text_without(std::string bytes);

/// Rules that may refer to each other, recursively; left recursion is allowed.
struct Rules {
  struct Rule {
    std::string name;  ///< for messages
    NodePtr body;
  };
  std::vector<Rule> rules;
  std::int32_t root = 0;
  /// Adds a rule, whose body may be set later; returns its number. Errors: invalid_argument beyond
  /// 250,000: sources multiply (a schema's alternatives) before the compiler can count.
  std::int32_t add(std::string name, NodePtr body = nullptr);
};

}  // namespace octet::generate::grammar
