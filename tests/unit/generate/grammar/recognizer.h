#pragma once

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "generate/grammar/json_text.h"
#include "generate/grammar/rules.h"

namespace octet::generate::grammar {

/// Whether texts are in the language of rules: straight from the meaning of the nodes, sharing
/// nothing with the matcher. For short texts: time and memory grow with text length times rules,
/// and more.
class Recognizer {
 public:
  explicit Recognizer(const Rules& rules) : rules_(rules) {}
  Recognizer(const Rules& rules, NodePtr start) : rules_(rules), start_(std::move(start)) {}

  bool matches(std::string_view text) {
    text_ = text;
    known_.clear();
    const NodePtr start = start_ ? start_ : rule_ref(rules_.root);
    // Left recursion: what a rule matches is found in rounds, until nothing new comes.
    std::set<std::size_t> found;
    do {
      changed_ = false;
      visited_.clear();
      found = ends(*start, 0);
    } while (changed_);
    return found.contains(text.size());
  }

 private:
  using Ends = std::set<std::size_t>;

  Ends ends(const Node& node, std::size_t at) {
    Ends out;
    switch (node.kind) {
      case NodeKind::literal:
        if (text_.substr(at).starts_with(node.bytes)) out.insert(at + node.bytes.size());
        break;
      case NodeKind::char_class:
        if (const std::size_t n = character_size(at)) {
          const std::uint32_t c = code_points(text_.substr(at, n))[0];
          for (const auto& [first, last] : node.ranges)
            if (first <= c && c <= last) out.insert(at + n);
        }
        break;
      case NodeKind::sequence: {
        out.insert(at);
        for (const NodePtr& child : node.children) {
          Ends next;
          for (const std::size_t from : out) next.merge(ends(*child, from));
          out = std::move(next);
        }
        break;
      }
      case NodeKind::choice:
        for (const NodePtr& child : node.children) out.merge(ends(*child, at));
        break;
      case NodeKind::repeat: {
        Ends now{at};
        if (node.min == 0) out.insert(at);
        std::set<Ends> seen;
        for (std::int64_t i = 1; i <= node.max && !now.empty(); ++i) {
          Ends next;
          for (const std::size_t from : now) next.merge(ends(*node.children[0], from));
          if (i >= node.min) {
            const std::size_t before = out.size();
            out.insert(next.begin(), next.end());
            if (out.size() == before && seen.contains(next)) break;
            seen.insert(next);
          }
          now = std::move(next);
        }
        break;
      }
      case NodeKind::rule: {
        Ends& known = known_[{node.rule, at}];
        if (visited_.insert({node.rule, at}).second) {
          Ends found = ends(*rules_.rules.at(static_cast<std::size_t>(node.rule)).body, at);
          const std::size_t before = known.size();
          known.merge(found);
          changed_ = changed_ || known.size() != before;
        }
        return known;
      }
      case NodeKind::any_byte_text:
        for (std::size_t end = at;;) {
          if (!node.bytes.empty() &&
              text_.substr(at, end - at).find(node.bytes) != std::string_view::npos)
            break;
          out.insert(end);
          const std::size_t n = end < text_.size() ? character_size(end) : 0;
          if (n == 0) break;
          end += n;
        }
        break;
    }
    return out;
  }

  /// Bytes of the character there; 0 at the end of the text.
  std::size_t character_size(std::size_t at) const {
    if (at >= text_.size()) return 0;
    std::size_t n = 1;
    while (at + n < text_.size() && (static_cast<unsigned char>(text_[at + n]) & 0xC0) == 0x80) ++n;
    return n;
  }

  const Rules& rules_;
  NodePtr start_;
  std::string_view text_;
  std::map<std::pair<std::int32_t, std::size_t>, Ends> known_;
  std::set<std::pair<std::int32_t, std::size_t>> visited_;
  bool changed_ = false;
};

}  // namespace octet::generate::grammar
