#include "generate/grammar/json_formats.h"

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

using Ranges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

NodePtr chars(std::string_view set, Ranges ranges = {}) {
  for (const char c : set) {
    const auto code = static_cast<unsigned char>(c);
    ranges.emplace_back(code, code);
  }
  return char_class(std::move(ranges));
}

NodePtr range(char first, char last) {
  return char_class({{static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last)}});
}

NodePtr digit() {
  return range('0', '9');
}

NodePtr times(NodePtr node, std::int64_t min, std::int64_t max) {
  return repeat(std::move(node), min, max);
}

NodePtr exactly(NodePtr node, std::int64_t n) {
  return repeat(std::move(node), n, n);
}

NodePtr any_of(std::initializer_list<const char*> texts) {
  std::vector<NodePtr> choices;
  for (const char* text : texts) choices.push_back(literal(text));
  return choice(std::move(choices));
}

const Ranges kLetters{{'A', 'Z'}, {'a', 'z'}};
const Ranges kAlphanumerics{{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};

NodePtr date() {
  const NodePtr d = digit();
  const NodePtr first_28 = choice({sequence({literal("0"), range('1', '9')}),
                                   sequence({literal("1"), d}),
                                   sequence({literal("2"), range('0', '8')})});
  const NodePtr first_30 = choice({first_28, any_of({"29", "30"})});
  const NodePtr every_year =
      choice({sequence({any_of({"01", "03", "05", "07", "08", "10", "12"}), literal("-"),
                        choice({first_30, literal("31")})}),
              sequence({any_of({"04", "06", "09", "11"}), literal("-"), first_30}),
              sequence({literal("02-"), first_28})});
  // Two digits that 4 divides, without and with 00.
  const NodePtr fours = choice({sequence({literal("0"), chars("48")}),
                                sequence({chars("2468"), chars("048")}),
                                sequence({chars("13579"), chars("26")})});
  const NodePtr leap_year = choice({sequence({d, d, fours}),
                                    sequence({choice({fours, literal("00")}), literal("00")})});
  return choice({sequence({exactly(d, 4), literal("-"), every_year}),
                 sequence({leap_year, literal("-02-29")})});
}

NodePtr time() {
  const NodePtr d = digit();
  const NodePtr hour =
      choice({sequence({range('0', '1'), d}), sequence({literal("2"), range('0', '3')})});
  const NodePtr sixty = sequence({range('0', '5'), d});
  return sequence({hour, literal(":"), sixty, literal(":"), sixty,
                   optional(sequence({literal("."), times(d, 1, 9)})),
                   choice({literal("Z"), sequence({chars("+-"), hour, literal(":"), sixty})})});
}

NodePtr uuid() {
  const NodePtr hex = chars("", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
  const NodePtr dash = literal("-");
  const NodePtr four = exactly(hex, 4);
  return sequence(
      {exactly(hex, 8), dash, four, dash, four, dash, four, dash, exactly(hex, 12)});
}

NodePtr hostname() {
  const NodePtr letter = char_class(kAlphanumerics);
  const NodePtr label = sequence(
      {letter, optional(sequence({times(chars("-", kAlphanumerics), 0, 61), letter}))});
  return sequence({label, times(sequence({literal("."), label}), 0, 126)});
}

NodePtr email() {
  const NodePtr atom = times(chars("!#$%&'*+-/=?^_`{|}~", kAlphanumerics), 1, 64);
  return sequence(
      {atom, times(sequence({literal("."), atom}), 0, 31), literal("@"), hostname()});
}

NodePtr ipv4() {
  const NodePtr d = digit();
  const NodePtr octet = choice({d, sequence({range('1', '9'), d}), sequence({literal("1"), d, d}),
                                sequence({literal("2"), range('0', '4'), d}),
                                sequence({literal("25"), range('0', '5')})});
  const NodePtr rest = sequence({literal("."), octet});
  return sequence({octet, exactly(rest, 3)});
}

NodePtr ipv6() {
  const NodePtr group = times(chars("", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}), 1, 4);
  const NodePtr group_colon = sequence({group, literal(":")});
  const NodePtr last_two = choice({sequence({group, literal(":"), group}), ipv4()});
  std::vector<NodePtr> forms{sequence({exactly(group_colon, 6), last_two})};
  // `left` groups, "::", and `right` groups of 16 bits; together less than eight.
  for (int left = 0; left <= 7; ++left) {
    const NodePtr before =
        left == 0 ? literal("::")
                  : sequence({group, exactly(sequence({literal(":"), group}), left - 1),
                              literal("::")});
    const int room = 7 - left;
    std::vector<NodePtr> after{sequence({})};
    if (room >= 1) after.push_back(group);
    if (room >= 2) after.push_back(sequence({times(group_colon, 0, room - 2), last_two}));
    forms.push_back(sequence({before, choice(std::move(after))}));
  }
  return choice(std::move(forms));
}

NodePtr uri() {
  const Ranges unreserved = [] {
    Ranges r = kAlphanumerics;
    for (const char c : std::string_view("-._~!$&'()*+,;="))
      r.emplace_back(static_cast<unsigned char>(c), static_cast<unsigned char>(c));
    return r;
  }();
  const NodePtr hex = chars("", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
  const NodePtr percent = sequence({literal("%"), hex, hex});
  const auto text = [&](std::string_view more, std::int64_t min) {
    return repeat(choice({chars(more, unreserved), percent}), min, kUnbounded);
  };
  const NodePtr host = choice({text("", 0), sequence({literal("["), ipv6(), literal("]")})});
  const NodePtr authority =
      sequence({literal("//"), optional(sequence({text(":", 0), literal("@")})), host,
                optional(sequence({literal(":"), times(digit(), 0, 5)}))});
  const NodePtr segment = text(":@", 0);
  const NodePtr path = repeat(sequence({literal("/"), segment}), 0, kUnbounded);
  const NodePtr rootless = sequence({text(":@", 1), path});
  const NodePtr absolute = sequence({literal("/"), optional(rootless)});
  return sequence({char_class(kLetters), times(chars("+-.", kAlphanumerics), 0, 30), literal(":"),
                   choice({sequence({authority, path}), absolute, rootless, sequence({})}),
                   optional(sequence({literal("?"), text(":@/?", 0)})),
                   optional(sequence({literal("#"), text(":@/?", 0)}))});
}

struct Lengths {
  std::int64_t min = 0, max = 0;
};

std::int64_t plus(std::int64_t a, std::int64_t b) {
  return a > kUnbounded - b ? kUnbounded : a + b;
}

std::int64_t product(std::int64_t a, std::int64_t b) {
  if (a == 0 || b == 0) return 0;
  return a > kUnbounded / b ? kUnbounded : a * b;
}

Lengths lengths(const Node& node) {
  switch (node.kind) {
    case NodeKind::literal: {
      const auto n = std::ranges::count_if(
          node.bytes, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
      return {n, n};
    }
    case NodeKind::char_class:
      return {1, 1};
    case NodeKind::sequence: {
      Lengths all;
      for (const NodePtr& child : node.children) {
        const Lengths l = lengths(*child);
        all = {plus(all.min, l.min), plus(all.max, l.max)};
      }
      return all;
    }
    case NodeKind::choice: {
      if (node.children.empty()) return {};
      Lengths all{kUnbounded, 0};
      for (const NodePtr& child : node.children) {
        const Lengths l = lengths(*child);
        all = {std::min(all.min, l.min), std::max(all.max, l.max)};
      }
      return all;
    }
    case NodeKind::repeat: {
      const Lengths l = lengths(*node.children[0]);
      return {product(l.min, node.min), product(l.max, node.max)};
    }
    default:
      return {0, kUnbounded};
  }
}

}  // namespace

NodePtr format_text(std::string_view name) {
  if (name == "date") return date();
  if (name == "time") return time();
  if (name == "date-time") return sequence({date(), literal("T"), time()});
  if (name == "uuid") return uuid();
  if (name == "email") return email();
  if (name == "ipv4") return ipv4();
  if (name == "ipv6") return ipv6();
  if (name == "uri") return uri();
  if (name == "hostname") return hostname();
  return nullptr;
}

bool is_note_format(std::string_view name) {
  static constexpr std::string_view kNames[]{"int8",   "int16",  "int32",  "int64",    "uint8",
                                             "uint16", "uint32", "uint64", "float",    "double",
                                             "decimal", "byte",  "binary", "password", "text"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

NodePtr limit_length(const NodePtr& node, std::int64_t min, std::int64_t max) {
  const Lengths all = lengths(*node);
  if (all.min >= min && all.max <= max) return node;
  if (min > max || all.max < min || all.min > max) return choice({});
  switch (node->kind) {
    case NodeKind::choice: {
      std::vector<NodePtr> choices;
      for (const NodePtr& child : node->children) {
        NodePtr limited = limit_length(child, min, max);
        if (!limited) return nullptr;
        choices.push_back(std::move(limited));
      }
      return choice(std::move(choices));
    }
    case NodeKind::repeat: {
      const Lengths one = lengths(*node->children[0]);
      if (one.min != one.max || one.min == 0) {
        // A part that is there once or not at all.
        if (node->min != 0 || node->max != 1) return nullptr;
        NodePtr there = limit_length(node->children[0], min, max);
        if (!there) return nullptr;
        return min == 0 ? optional(std::move(there)) : there;
      }
      const std::int64_t fewest = std::max(node->min, (min + one.min - 1) / one.min);
      const std::int64_t most = std::min(node->max, max / one.min);
      if (fewest > most) return choice({});
      return repeat(node->children[0], fewest, most);
    }
    case NodeKind::sequence: {
      std::int64_t fixed = 0;
      std::size_t open = 0, where = 0;
      for (std::size_t i = 0; i < node->children.size(); ++i) {
        const Lengths l = lengths(*node->children[i]);
        if (l.min == l.max)
          fixed = plus(fixed, l.min);
        else
          ++open, where = i;
      }
      if (open != 1) return nullptr;
      NodePtr limited = limit_length(node->children[where], std::max<std::int64_t>(0, min - fixed),
                                     max == kUnbounded ? max : max - fixed);
      if (!limited) return nullptr;
      std::vector<NodePtr> children = node->children;
      children[where] = std::move(limited);
      return sequence(std::move(children));
    }
    default:
      return nullptr;
  }
}

}  // namespace octet::generate::grammar
