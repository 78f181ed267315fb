// Arrays and objects of a schema.
#include <algorithm>

#include "generate/grammar/schema_rules.h"

namespace octet::generate::grammar {
namespace {

/// Rules that counting an object's members may take: properties times members counted.
constexpr std::int64_t kMaxCountedRules = 20000;
/// Letters of names that are told from other names one by one.
constexpr std::size_t kMaxNameLetters = 20000;

std::int64_t minus(std::int64_t a, std::int64_t b) {
  return a == kUnbounded ? a : a - b;
}

}  // namespace

NodePtr SchemaRules::array(const SchemaShape& shape) {
  const auto prefix = static_cast<std::int64_t>(shape.prefix_items.size());
  const std::int64_t least = shape.min_items;
  std::int64_t most = shape.max_items;
  if (is_never(shape.items)) most = std::min(most, prefix);
  if (least > most) return nullptr;
  if (most == 0) return sequence({literal("["), text_.space(), literal("]")});
  // From the last to the first: what follows when i items are there.
  NodePtr follow;
  if (most <= prefix) {
    follow = text_.space();
  } else {
    const NodePtr item = value(shape.items);
    const NodePtr next = sequence({text_.comma(), item});
    const std::int64_t min = std::max<std::int64_t>(0, least - prefix);
    const std::int64_t max = minus(most, prefix);
    if (prefix > 0)
      follow = sequence({repeat(next, min, max), text_.space()});
    else
      follow = sequence(
          {item, repeat(next, std::max<std::int64_t>(0, min - 1), minus(max, 1)), text_.space()});
  }
  for (std::int64_t i = std::min(prefix, most) - 1; i >= 0; --i) {
    // `follow` is what comes once i + 1 items are there.
    if (i + 1 >= least && i + 1 < most) follow = choice({text_.space(), follow});
    std::vector<NodePtr> parts;
    if (i > 0) parts.push_back(text_.comma());
    parts.push_back(value(shape.prefix_items[static_cast<std::size_t>(i)]));
    parts.push_back(follow);
    follow = rule_ref(text_.rules().add("items", sequence(std::move(parts))));
  }
  if (least == 0) follow = optional(follow);
  return sequence({literal("["), text_.space(), follow, literal("]")});
}

NodePtr SchemaRules::object(const SchemaShape& shape) {
  std::vector<Member> known;
  std::vector<std::string> names;
  std::size_t letters = 0;
  for (const auto& property : shape.properties) {
    known.push_back({sequence({literal(to_json(json::value(property.name))), text_.colon(),
                               value(property.schemas)}),
                     property.required});
    names.emplace_back(property.name);
    letters += property.name.size();
  }
  for (const std::string_view name : shape.forbidden) {
    names.emplace_back(name);
    letters += name.size();
  }
  std::vector<NodePtr> others;
  const auto add_pattern = [&](const SchemaShape::Text& pattern, const SchemaSet& schemas) {
    if (is_never(schemas)) return;
    SchemaShape name;
    name.place = pattern.place;
    name.patterns.push_back(pattern);
    // Names of two patterns, and properties that a pattern writes again, are only held to one
    // schema: a grammar can't intersect.
    others.push_back(sequence({string(name), text_.colon(), value(schemas)}));
  };
  for (const auto& [pattern, schemas] : shape.pattern_properties) add_pattern(pattern, schemas);
  // Which names no pattern takes can't be told; so only those of the patterns are written.
  if (shape.additional && shape.pattern_properties.empty()) {
    NodePtr name;
    if (!shape.property_names.empty()) {
      SchemaSet set = shape.property_names;
      static const json::value kString{{"type", "string"}};
      set.push_back({&kString, shape.place});
      name = value(set);
    } else if (names.empty() || letters > kMaxNameLetters) {
      name = text_.string();
    } else {
      name = sequence({literal("\""),
                       text_other_than(text_.rules(), names, any_character(), true, true),
                       literal("\"")});
    }
    others.push_back(sequence({name, text_.colon(), value(shape.additional_schemas)}));
  }
  const NodePtr other = others.empty()       ? nullptr
                        : others.size() == 1 ? others[0]
                                             : choice(std::move(others));
  const NodePtr inside = members(known, other, text_.comma(), text_.space(), shape);
  if (!inside) return nullptr;
  return sequence({literal("{"), text_.space(), inside, literal("}")});
}

NodePtr SchemaRules::members(const std::vector<Member>& known, const NodePtr& other,
                             const NodePtr& separator, const NodePtr& end,
                             const SchemaShape& shape) {
  const auto n = static_cast<std::int64_t>(known.size());
  const auto required =
      static_cast<std::int64_t>(std::ranges::count(known, true, &Member::required));
  std::int64_t least = shape.min_properties, most = shape.max_properties;
  if (!other) most = std::min(most, n);
  if (least > most || required > most || (!other && least > n)) return nullptr;
  // Nothing to count if every selection is within the bounds.
  bool counted = least > required || (other ? most < kUnbounded : most < n);
  std::int64_t states = counted ? std::max<std::int64_t>(1, most < kUnbounded ? most : least) : 1;
  if (counted && n > 0 && (states > kMaxCountedRules || states * n > kMaxCountedRules)) {
    reader_.unsupported(*shape.place, most < kUnbounded ? "maxProperties" : "minProperties",
                        "is not supported beside so many properties");
    least = 0, most = kUnbounded, states = 1, counted = false;
  }
  const auto with_separator = [&](const NodePtr& node) { return sequence({separator, node}); };
  if (n == 0) {
    if (!other || most == 0) return sequence({});
    const NodePtr some = sequence(
        {other, repeat(with_separator(other), std::max<std::int64_t>(0, least - 1), minus(most, 1)),
         end});
    return least == 0 ? optional(some) : some;
  }
  if (!counted && required > 0) {
    // The first that is always there has the separators of what may stand before it.
    std::vector<NodePtr> parts;
    bool after = false;
    for (const Member& member : known) {
      if (after)
        parts.push_back(member.required ? with_separator(member.node)
                                        : optional(with_separator(member.node)));
      else
        parts.push_back(member.required ? member.node
                                        : optional(sequence({member.node, separator})));
      after = after || member.required;
    }
    if (other) parts.push_back(repeat(with_separator(other), 0, kUnbounded));
    parts.push_back(end);
    return sequence(std::move(parts));
  }
  // rest[c]: what may follow from property i on when c members are there; c stops counting at
  // `states` if there is no upper bound.
  const bool bounded = counted && most < kUnbounded;
  std::vector<NodePtr> rest;
  for (std::int64_t c = 0; c <= states; ++c) {
    const std::int64_t min = std::max<std::int64_t>(0, least - c);
    const std::int64_t max = bounded ? most - c : kUnbounded;
    if (max < 0)
      rest.push_back(nullptr);
    else if (!other || max == 0)
      rest.push_back(min > 0 ? nullptr : c == 0 ? sequence({}) : end);
    else if (c > 0)
      rest.push_back(sequence({repeat(with_separator(other), min, max), end}));
    else
      rest.push_back([&] {
        const NodePtr some = sequence(
            {other,
             repeat(with_separator(other), std::max<std::int64_t>(0, min - 1), minus(max, 1)),
             end});
        return min == 0 ? optional(some) : some;
      }());
  }
  for (std::int64_t i = n - 1; i >= 0; --i) {
    const Member& member = known[static_cast<std::size_t>(i)];
    std::vector<NodePtr> before;
    for (std::int64_t c = 0; c <= std::min(i, states); ++c) {
      std::vector<NodePtr> choices;
      const auto with = static_cast<std::size_t>(std::min(c + 1, states));
      if ((!bounded || c < most) && rest[with])
        choices.push_back(
            sequence({c > 0 ? with_separator(member.node) : member.node, rest[with]}));
      if (!member.required && rest[static_cast<std::size_t>(c)])
        choices.push_back(rest[static_cast<std::size_t>(c)]);
      before.push_back(choices.empty()
                           ? nullptr
                           : rule_ref(text_.rules().add("members", choice(std::move(choices)))));
    }
    before.resize(static_cast<std::size_t>(states) + 1);
    rest = std::move(before);
  }
  return rest[0];
}

}  // namespace octet::generate::grammar
