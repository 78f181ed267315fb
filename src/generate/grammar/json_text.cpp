#include "generate/grammar/json_text.h"

#include <cmath>

#include "generate/grammar/json_numbers.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

/// Blanks after a line break: deeper indentation than anyone writes, but an end to blanks that a
/// model can't find out of.
constexpr std::int64_t kMaxIndent = 128, kMaxTabs = 32;

NodePtr hex() {
  return char_class({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
}

NodePtr one(char a, char b) {
  return char_class({{static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a)},
                     {static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b)}});
}

}  // namespace

template <typename Make>
NodePtr JsonText::once(Lazy& lazy, const char* name, const Make& make) {
  if (lazy.rule < 0) {
    lazy.rule = rules_.add(name);
    NodePtr body = make();  // may add rules
    rules_.rules[static_cast<std::size_t>(lazy.rule)].body = std::move(body);
  }
  return rule_ref(lazy.rule);
}

NodePtr JsonText::space() {
  if (!style_.any_whitespace) return sequence({});
  return once(space_, "blank", [] {
    return optional(choice(
        {literal(" "), sequence({literal("\n"), choice({repeat(literal(" "), 0, kMaxIndent),
                                                        repeat(literal("\t"), 1, kMaxTabs)})})}));
  });
}

// Where people's and libraries' formatters put blanks, and nowhere else: a model that is offered a
// line break before a colon may take it, and writes worse from there.
NodePtr JsonText::comma() {
  if (!style_.any_whitespace) return literal(", ");
  return once(comma_, "comma", [&] { return sequence({literal(","), space()}); });
}

NodePtr JsonText::colon() {
  if (!style_.any_whitespace) return literal(": ");
  return once(colon_, "colon", [] { return sequence({literal(":"), optional(literal(" "))}); });
}

NodePtr JsonText::character() {
  return once(character_, "character", [] {
    const NodePtr x = hex();
    // Halves of surrogate pairs come in pairs only.
    const NodePtr unit = sequence(
        {choice({sequence(
                     {char_class({{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}), x}),
                 sequence({one('d', 'D'), char_class({{'0', '7'}})})}),
         x, x});
    const NodePtr pair =
        sequence({one('d', 'D'), char_class({{'8', '9'}, {'A', 'B'}, {'a', 'b'}}), x, x,
                  literal("\\u"), one('d', 'D'), char_class({{'C', 'F'}, {'c', 'f'}}), x, x});
    return choice(
        {char_class({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xD7FF}, {0xE000, 0x10FFFF}}),
         sequence({literal("\\"), choice({char_class({{'"', '"'},
                                                      {'/', '/'},
                                                      {'\\', '\\'},
                                                      {'b', 'b'},
                                                      {'f', 'f'},
                                                      {'n', 'n'},
                                                      {'r', 'r'},
                                                      {'t', 't'}}),
                                          sequence({literal("u"), choice({unit, pair})})})})});
  });
}

NodePtr JsonText::string() {
  return once(string_, "string", [&] {
    return sequence({literal("\""), repeat(character(), 0, kUnbounded), literal("\"")});
  });
}

NodePtr JsonText::integer() {
  return once(integer_, "integer", [] { return integer_between({}, {}); });
}

NodePtr JsonText::number() {
  return once(number_, "number", [] { return number_between({}, {}); });
}

NodePtr JsonText::boolean() {
  return choice({literal("true"), literal("false")});
}

NodePtr JsonText::value() {
  return once(value_, "value", [&] {
    return choice({string(), number(), object(), array(), literal("true"), literal("false"),
                   literal("null")});
  });
}

NodePtr JsonText::object() {
  return once(object_, "object", [&] {
    const NodePtr member = sequence({string(), colon(), value()});
    return sequence(
        {literal("{"), space(),
         optional(sequence({member, repeat(sequence({comma(), member}), 0, kUnbounded), space()})),
         literal("}")});
  });
}

NodePtr JsonText::array() {
  return once(array_, "array", [&] {
    return sequence({literal("["), space(),
                     optional(sequence(
                         {value(), repeat(sequence({comma(), value()}), 0, kUnbounded), space()})),
                     literal("]")});
  });
}

NodePtr JsonText::constant(const json::value& v) {
  if (const auto* list = v.if_array()) {
    std::vector<NodePtr> parts{literal("["), space()};
    for (const json::value& item : *list) {
      if (parts.size() > 2) parts.push_back(comma());
      parts.push_back(constant(item));
    }
    if (!list->empty()) parts.push_back(space());
    parts.push_back(literal("]"));
    return sequence(std::move(parts));
  }
  if (const auto* object = v.if_object()) {
    std::vector<NodePtr> parts{literal("{"), space()};
    for (const auto& [key, item] : *object) {
      if (parts.size() > 2) parts.push_back(comma());
      parts.push_back(literal(to_json(json::value(key))));
      parts.push_back(colon());
      parts.push_back(constant(item));
    }
    if (!object->empty()) parts.push_back(space());
    parts.push_back(literal("}"));
    return sequence(std::move(parts));
  }
  if (const auto* number = v.if_double();
      number && std::trunc(*number) == *number && std::abs(*number) < 1e15)
    return choice({literal(to_json(v)), literal(fmt::format("{:.0f}", *number))});
  return literal(to_json(v));
}

NodePtr json_object(Rules& rules, const JsonStyle& style) {
  return JsonText(rules, style).object();
}

NodePtr json_value(Rules& rules, const JsonStyle& style) {
  return JsonText(rules, style).value();
}

}  // namespace octet::generate::grammar
