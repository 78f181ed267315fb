#include <algorithm>
#include <map>
#include <unordered_map>

#include "generate/grammar/json_text.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

constexpr std::uint32_t kLastCodePoint = 0x10FFFF;

bool must_escape(std::uint32_t c) {
  return c < 0x20 || c == '"' || c == '\\';
}

/// The letter of the short escape; 0: none.
char short_escape(std::uint32_t c) {
  switch (c) {
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    case '"':
    case '\\':
      return static_cast<char>(c);
    default:
      return 0;
  }
}

using Ranges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// The escapes of those characters of a class that need one.
void add_escapes(const Ranges& ranges, std::vector<NodePtr>& out) {
  Ranges letters, low[2];
  for (const auto& [first, last] : ranges)
    for (std::uint32_t c = first; c <= std::min<std::uint32_t>(last, '\\'); ++c) {
      if (!must_escape(c)) continue;
      if (const char letter = short_escape(c))
        letters.emplace_back(static_cast<std::uint32_t>(letter),
                             static_cast<std::uint32_t>(letter));
      if (c >= 0x20) continue;
      const std::uint32_t digit = c % 16;
      const std::uint32_t hex = digit < 10 ? '0' + digit : 'a' + digit - 10;
      low[c / 16].emplace_back(hex, hex);
      if (digit >= 10) low[c / 16].emplace_back(hex - 0x20, hex - 0x20);
    }
  if (!letters.empty()) out.push_back(sequence({literal("\\"), char_class(std::move(letters))}));
  for (int i = 0; i < 2; ++i)
    if (!low[i].empty())
      out.push_back(sequence({literal(i == 0 ? "\\u000" : "\\u001"), char_class(low[i])}));
}

NodePtr escaped_class(const Node& node) {
  Ranges plain;
  for (auto [first, last] : node.ranges) {
    // Cut out what must be escaped.
    for (const auto& [bad, end] : Ranges{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}) {
      if (last < bad || first > end) continue;
      if (first < bad) plain.emplace_back(first, bad - 1);
      first = end + 1;
      if (first > last) break;
    }
    if (first <= last) plain.emplace_back(first, last);
  }
  std::vector<NodePtr> choices;
  if (!plain.empty()) choices.push_back(char_class(std::move(plain)));
  add_escapes(node.ranges, choices);
  return choices.size() == 1 ? choices[0] : choice(std::move(choices));
}

NodePtr escaped_literal(const std::string& bytes) {
  if (std::ranges::none_of(bytes, [](char c) { return must_escape(static_cast<unsigned char>(c)); }))
    return literal(bytes);
  std::vector<NodePtr> parts;
  std::string plain;
  for (const char c : bytes) {
    const auto code = static_cast<unsigned char>(c);
    if (!must_escape(code)) {
      plain += c;
      continue;
    }
    if (!plain.empty()) parts.push_back(literal(std::exchange(plain, {})));
    std::vector<NodePtr> escapes;
    add_escapes({{code, code}}, escapes);
    parts.push_back(escapes.size() == 1 ? escapes[0] : choice(std::move(escapes)));
  }
  if (!plain.empty()) parts.push_back(literal(plain));
  return sequence(std::move(parts));
}

/// Copies nodes from one set of rules to another; shared parts stay shared, rules are copied once.
class Copier {
 public:
  Copier(Rules& into, const Rules& from, bool escape) : into_(into), from_(from), escape_(escape) {}

  NodePtr copy_all(const NodePtr& node) {
    NodePtr result = copy(node);
    while (!queue_.empty()) {
      const auto [old_rule, new_rule] = queue_.back();
      queue_.pop_back();
      NodePtr body = copy(from_.rules[old_rule].body);
      into_.rules[new_rule].body = std::move(body);
    }
    return result;
  }

 private:
  NodePtr copy(const NodePtr& node) {
    if (const auto known = copies_.find(node.get()); known != copies_.end()) return known->second;
    NodePtr result = make(node);
    copies_.emplace(node.get(), result);
    return result;
  }

  NodePtr make(const NodePtr& node) {
    switch (node->kind) {
      case NodeKind::literal:
        return escape_ ? escaped_literal(node->bytes) : node;
      case NodeKind::char_class:
        return escape_ ? escaped_class(*node) : node;
      case NodeKind::any_byte_text: {
        if (!escape_) return node;
        if (!node->bytes.empty())
          fail(ErrorCode::invalid_argument,
               "a text without `{}` can't be written inside a JSON string", node->bytes);
        return repeat(copy(any_character()), 0, kUnbounded);
      }
      case NodeKind::rule: {
        const auto old_rule = static_cast<std::size_t>(node->rule);
        OCTET_CHECK(old_rule < from_.rules.size(), "rule {} of {}", old_rule, from_.rules.size());
        auto [entry, is_new] = rules_.try_emplace(old_rule, 0);
        if (is_new) {
          entry->second = into_.add(from_.rules[old_rule].name);
          queue_.emplace_back(old_rule, static_cast<std::size_t>(entry->second));
        }
        return rule_ref(entry->second);
      }
      default: {
        Node result = *node;
        for (NodePtr& child : result.children) child = copy(child);
        return std::make_shared<const Node>(std::move(result));
      }
    }
  }

  Rules& into_;
  const Rules& from_;
  bool escape_;
  std::unordered_map<const Node*, NodePtr> copies_;
  std::unordered_map<std::size_t, std::int32_t> rules_;
  std::vector<std::pair<std::size_t, std::size_t>> queue_;
};

}  // namespace

NodePtr escaped(Rules& into, const Rules& from, const NodePtr& node) {
  return Copier(into, from, true).copy_all(node);
}

NodePtr imported(Rules& into, const Rules& from, const NodePtr& node) {
  return Copier(into, from, false).copy_all(node);
}

std::vector<std::uint32_t> code_points(std::string_view text) {
  std::vector<std::uint32_t> out;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    std::uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    bool valid = length > 0 && i + length <= text.size();
    for (std::size_t k = 1; valid && k < length; ++k) {
      const auto c = static_cast<unsigned char>(text[i + k]);
      valid = (c & 0xC0) == 0x80;
      code = code << 6 | (c & 0x3F);
    }
    out.push_back(valid ? code : 0xFFFD);
    i += valid ? length : 1;
  }
  return out;
}

std::string to_utf8(std::uint32_t c) {
  const auto byte = [](std::uint32_t b) { return static_cast<char>(static_cast<unsigned char>(b)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 0x3F))};
  if (c < 0x10000)
    return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F))};
  return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 0x3F)), byte(0x80 | (c >> 6 & 0x3F)),
          byte(0x80 | (c & 0x3F))};
}

NodePtr any_character() {
  static const NodePtr node = char_class({{0, 0xD7FF}, {0xE000, kLastCodePoint}});
  return node;
}

NodePtr text_other_than(Rules& rules, std::span<const std::string> names, const NodePtr& alphabet,
                        bool json, bool may_be_empty) {
  const auto written = [&](const NodePtr& node) {
    if (!json) return node;
    return node->kind == NodeKind::char_class ? escaped_class(*node) : escaped_literal(node->bytes);
  };
  const NodePtr any = written(alphabet);
  struct Place {
    std::map<std::uint32_t, std::size_t> next;
    bool is_name = false;
  };
  std::vector<Place> places(1);
  for (const std::string& name : names) {
    std::size_t at = 0;
    for (const std::uint32_t c : code_points(name)) {
      const auto [entry, is_new] = places[at].next.try_emplace(c, places.size());
      at = entry->second;
      if (is_new) places.emplace_back();
    }
    places[at].is_name = true;
  }
  const auto in_alphabet = [&](std::uint32_t c) {
    return std::ranges::any_of(alphabet->ranges,
                               [&](const auto& r) { return r.first <= c && c <= r.second; });
  };
  std::vector<std::int32_t> numbers;
  for (std::size_t i = 0; i < places.size(); ++i) numbers.push_back(rules.add("other name"));
  for (std::size_t i = 0; i < places.size(); ++i) {
    std::vector<NodePtr> choices;
    if (!places[i].is_name && (i > 0 || may_be_empty)) choices.push_back(sequence({}));
    Ranges rest;
    std::uint32_t from = 0;
    const auto leave = [&](std::uint32_t first, std::uint32_t last) {
      for (const auto& r : alphabet->ranges)
        if (std::max(first, r.first) <= std::min(last, r.second))
          rest.emplace_back(std::max(first, r.first), std::min(last, r.second));
    };
    for (const auto& [c, next] : places[i].next) {
      if (c > from) leave(from, c - 1);
      from = c + 1;
      if (in_alphabet(c))
        choices.push_back(sequence({written(literal(to_utf8(c))), rule_ref(numbers[next])}));
    }
    leave(from, kLastCodePoint);
    if (!rest.empty())
      choices.push_back(
          sequence({written(char_class(std::move(rest))), repeat(any, 0, kUnbounded)}));
    rules.rules[static_cast<std::size_t>(numbers[i])].body = choice(std::move(choices));
  }
  return rule_ref(numbers[0]);
}

}  // namespace octet::generate::grammar
