// Membership straight from the definition of Rules, slow and simple: what the matcher is held
// against.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "generate/grammar/rules.h"
#include "input/tokenizer/unicode.h"

namespace octet::generate::grammar {

class NaiveRecogniser {
 public:
  explicit NaiveRecogniser(const Rules& rules) : rules_(rules), productive_(rules.rules.size()) {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t r = 0; r < rules_.rules.size(); ++r)
        if (!productive_[r] && productive(*rules_.rules[r].body)) productive_[r] = changed = true;
    }
  }

  bool empty_language() const { return !productive_[static_cast<std::size_t>(rules_.root)]; }

  /// Sets `accepts` and `viable` (some text of the language begins with it).
  void read(const std::string& text) {
    text_ = text;
    const auto n = rules_.rules.size() * (text.size() + 1);
    ends_.assign(n, {});
    prefix_.assign(n, false);
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t r = 0; r < rules_.rules.size(); ++r)
        for (std::size_t at = 0; at <= text_.size(); ++at) {
          auto found = ends(*rules_.rules[r].body, at);
          const bool begins = prefix(*rules_.rules[r].body, at);
          auto& known = ends_[index(r, at)];
          if (found != known || begins != prefix_[index(r, at)]) changed = true;
          known = std::move(found);
          prefix_[index(r, at)] = begins;
        }
    }
    const auto root = static_cast<std::size_t>(rules_.root);
    accepts = ends_[index(root, 0)].contains(text_.size());
    viable = prefix_[index(root, 0)];
  }
  bool accepts = false, viable = false;

 private:
  std::size_t index(std::size_t rule, std::size_t at) const {
    return rule * (text_.size() + 1) + at;
  }

  bool productive(const Node& node) const {
    switch (node.kind) {
      case NodeKind::literal:
      case NodeKind::any_byte_text:
        return true;
      case NodeKind::char_class:
        return !node.ranges.empty();
      case NodeKind::sequence:
        for (const auto& c : node.children)
          if (!productive(*c)) return false;
        return true;
      case NodeKind::choice:
        for (const auto& c : node.children)
          if (productive(*c)) return true;
        return false;
      case NodeKind::repeat:
        return node.min == 0 || productive(*node.children[0]);
      case NodeKind::rule:
        return productive_[static_cast<std::size_t>(node.rule)];
    }
    return false;
  }

  static std::vector<std::string> characters(const Node& node) {
    std::vector<std::string> all;
    for (const auto& [first, last] : node.ranges)
      for (auto c = first; c <= last && c < first + 500; ++c) {
        std::string bytes;
        tokenizer::append_utf8(bytes, c);
        all.push_back(bytes);
      }
    return all;
  }

  // Where parts that begin at `at` may end.
  std::set<std::size_t> ends(const Node& node, std::size_t at) const {
    std::set<std::size_t> result;
    switch (node.kind) {
      case NodeKind::literal:
        if (text_.compare(at, node.bytes.size(), node.bytes) == 0)
          result.insert(at + node.bytes.size());
        break;
      case NodeKind::char_class:
        for (const auto& c : characters(node))
          if (text_.compare(at, c.size(), c) == 0) result.insert(at + c.size());
        break;
      case NodeKind::sequence: {
        result.insert(at);
        for (const auto& c : node.children) result = ends_of_all(*c, result);
        break;
      }
      case NodeKind::choice:
        for (const auto& c : node.children) result.merge(ends(*c, at));
        break;
      case NodeKind::repeat: {
        std::set<std::size_t> now{at};
        // As many rounds as could still tell anything new.
        const auto rounds = std::min<std::int64_t>(
            node.max, node.min + static_cast<std::int64_t>(text_.size()) + 1);
        for (std::int64_t n = 0;; ++n) {
          if (n >= node.min) result.insert(now.begin(), now.end());
          if (n >= rounds) break;
          now = ends_of_all(*node.children[0], now);
        }
        break;
      }
      case NodeKind::rule:
        return ends_[index(static_cast<std::size_t>(node.rule), at)];
      case NodeKind::any_byte_text:
        for (auto end = at; end <= text_.size(); ++end) {
          const auto part = text_.substr(at, end - at);
          if (tokenizer::to_valid_utf8(part) == part &&
              (node.bytes.empty() || part.find(node.bytes) == std::string::npos))
            result.insert(end);
        }
        break;
    }
    return result;
  }

  std::set<std::size_t> ends_of_all(const Node& node, const std::set<std::size_t>& from) const {
    std::set<std::size_t> result;
    for (const auto at : from) result.merge(ends(node, at));
    return result;
  }

  // Some text of the part begins with all the rest.
  bool prefix(const Node& node, std::size_t at) const {
    const auto rest = text_.substr(at);
    switch (node.kind) {
      case NodeKind::literal:
        return node.bytes.starts_with(rest);
      case NodeKind::char_class:
        for (const auto& c : characters(node))
          if (c.starts_with(rest)) return true;
        return false;
      case NodeKind::sequence: {
        if (!productive(node)) return false;
        std::set<std::size_t> now{at};
        for (const auto& c : node.children) {
          for (const auto p : now)
            if (prefix(*c, p)) return true;
          now = ends_of_all(*c, now);
        }
        return now.contains(text_.size());
      }
      case NodeKind::choice:
        for (const auto& c : node.children)
          if (prefix(*c, at)) return true;
        return false;
      case NodeKind::repeat: {
        const Node& child = *node.children[0];
        std::set<std::size_t> now{at};
        const auto rounds = std::min<std::int64_t>(
            node.max, node.min + static_cast<std::int64_t>(text_.size()) + 1);
        for (std::int64_t n = 0; n <= rounds; ++n) {
          if (n >= node.min && now.contains(text_.size())) return true;
          if (n == rounds || !productive(child)) break;
          for (const auto p : now)
            if (prefix(child, p)) return true;
          now = ends_of_all(child, now);
        }
        return false;
      }
      case NodeKind::rule:
        return prefix_[index(static_cast<std::size_t>(node.rule), at)];
      case NodeKind::any_byte_text: {
        if (!node.bytes.empty() && rest.find(node.bytes) != std::string::npos) return false;
        for (const char* more : {"", "\x80", "\xa9", "\x80\x80", "\xa9\xa9", "\x80\x80\x80"}) {
          const auto whole = rest + more;
          if (tokenizer::to_valid_utf8(whole) == whole &&
              (node.bytes.empty() || whole.find(node.bytes) == std::string::npos))
            return true;
        }
        return false;
      }
    }
    return false;
  }

  const Rules& rules_;
  std::vector<bool> productive_;
  std::string text_;
  std::vector<std::set<std::size_t>> ends_;
  std::vector<bool> prefix_;
};

}  // namespace octet::generate::grammar
