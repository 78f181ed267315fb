// What several schemas demand together: the keywords, one by one.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "generate/grammar/json_formats.h"
#include "generate/grammar/json_text.h"
#include "generate/grammar/schema_pattern.h"
#include "generate/grammar/schema_reader.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

/// What making a pattern ready costs, beside the visit of a schema: once for each alternative.
std::size_t pattern_steps(std::string_view pattern) {
  return 100 + pattern.size() / 4;
}

constexpr unsigned kNumberTypes = kIntegerType | kFractionType;

unsigned type_bits(std::string_view name) {
  if (name == "null") return kNullType;
  if (name == "boolean") return kBooleanType;
  if (name == "integer") return kIntegerType;
  if (name == "number") return kNumberTypes;
  if (name == "string") return kStringType;
  if (name == "array") return kArrayType;
  if (name == "object") return kObjectType;
  return 0;
}

unsigned type_of(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return kNullType;
    case json::kind::bool_:
      return kBooleanType;
    case json::kind::int64:
    case json::kind::uint64:
      return kIntegerType;
    case json::kind::double_:
      return std::trunc(value.get_double()) == value.get_double() ? kIntegerType : kFractionType;
    case json::kind::string:
      return kStringType;
    case json::kind::array:
      return kArrayType;
    case json::kind::object:
      return kObjectType;
  }
  return 0;
}

/// JSON schema's equality: numbers by value, objects whatever their order. Depth: of the schema.
bool same_value(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return compare(to_decimal(a), to_decimal(b)) == 0;
  if (a.kind() != b.kind()) return false;
  if (const auto* list = a.if_array()) return std::ranges::equal(*list, b.get_array(), same_value);
  if (const auto* object = a.if_object()) {
    if (object->size() != b.get_object().size()) return false;
    return std::ranges::all_of(*object, [&](const auto& member) {
      const auto* other = b.get_object().if_contains(member.key());
      return other && same_value(member.value(), *other);
    });
  }
  return a == b;
}

/// As far as it can be told without looking into arrays and objects.
bool allows(const SchemaShape& shape, const json::value& value) {
  if (!(type_of(value) & shape.types)) return false;
  if (value.is_number()) {
    const Decimal d = to_decimal(value);
    if (shape.lower) {
      const auto order = compare(d, shape.lower->value);
      if (order < 0 || (order == 0 && shape.lower->exclusive)) return false;
    }
    if (shape.upper) {
      const auto order = compare(d, shape.upper->value);
      if (order > 0 || (order == 0 && shape.upper->exclusive)) return false;
    }
  }
  if (const auto* text = value.if_string()) {
    const auto length = static_cast<std::int64_t>(code_points(*text).size());
    return shape.min_length <= length && length <= shape.max_length;
  }
  return true;
}

void append(SchemaSet& set, Schema schema) {
  for (const Schema& s : set)
    if (s.value == schema.value && s.plain == schema.plain) return;
  set.push_back(schema);
}

struct Limit {
  std::string_view keyword;
  std::int64_t SchemaShape::* member;
  unsigned type;
};
constexpr Limit kLimits[]{{"minLength", &SchemaShape::min_length, kStringType},
                          {"maxLength", &SchemaShape::max_length, kStringType},
                          {"minItems", &SchemaShape::min_items, kArrayType},
                          {"maxItems", &SchemaShape::max_items, kArrayType},
                          {"minProperties", &SchemaShape::min_properties, kObjectType},
                          {"maxProperties", &SchemaShape::max_properties, kObjectType}};

std::optional<std::int64_t> count(const json::value& value) {
  if (const auto* i = value.if_int64()) return *i < 0 ? std::nullopt : std::optional(*i);
  if (value.is_uint64()) return kUnbounded;
  if (const auto* d = value.if_double(); d && *d >= 0 && std::trunc(*d) == *d)
    return *d < 9e18 ? static_cast<std::int64_t>(*d) : kUnbounded;
  return std::nullopt;
}

}  // namespace

void SchemaReader::merge_simple(SchemaShape& shape, const Schema& schema, unsigned& implied,
                                bool& typed) {
  const json::object& object = schema.value->get_object();
  const auto place_of = [&](std::string_view key) { return at(schema.place, key); };
  if (const auto* type = object.if_contains("type")) {
    unsigned bits = 0;
    const auto add_type = [&](const json::value& name) {
      const unsigned bit = name.is_string() ? type_bits(name.get_string()) : 0;
      if (bit == 0)
        malformed(*place_of("type"),
                  "null, boolean, integer, number, string, array, object or a list of them", name);
      bits |= bit;
    };
    if (const auto* list = type->if_array()) {
      if (list->empty()) malformed(*place_of("type"), "one type or more", *type);
      for (const json::value& name : *list) add_type(name);
    } else {
      add_type(*type);
    }
    shape.types &= bits;
    typed = true;
  }
  const auto restrict_to = [&](const std::vector<const json::value*>& values) {
    if (!shape.values) {
      shape.values = values;
      return;
    }
    spend(shape.values->size() * values.size() / 16);
    std::erase_if(*shape.values, [&](const json::value* v) {
      return std::ranges::none_of(values, [&](const json::value* w) { return same_value(*v, *w); });
    });
  };
  if (const auto* list = object.if_contains("enum")) {
    if (!list->is_array() || list->get_array().empty())
      malformed(*place_of("enum"), "an array with one value or more", *list);
    spend(list->get_array().size() / 2);
    std::vector<const json::value*> values;
    for (const json::value& v : list->get_array()) values.push_back(&v);
    restrict_to(values);
  }
  if (const auto* value = object.if_contains("const")) restrict_to({value});
  for (const Limit& limit : kLimits)
    if (const auto* value = object.if_contains(limit.keyword)) {
      const auto n = count(*value);
      if (!n) malformed(*place_of(limit.keyword), "an integer of 0 or more", *value);
      std::int64_t& member = shape.*limit.member;
      member = limit.keyword.starts_with("min") ? std::max(member, *n) : std::min(member, *n);
      implied |= limit.type;
    }
  for (const auto& [keyword, texts] :
       {std::pair{"pattern", &shape.patterns}, std::pair{"format", &shape.formats}})
    if (const auto* value = object.if_contains(keyword)) {
      if (!value->is_string()) malformed(*place_of(keyword), "a string", *value);
      spend(value->get_string().size() / 4);
      texts->push_back({value->get_string(), place_of(keyword)});
      if (texts == &shape.patterns || format_text(value->get_string())) implied |= kStringType;
    }
  const auto bound = [&](std::string_view inclusive, std::string_view exclusive,
                         std::optional<NumberBound>& limit, bool is_lower) {
    const auto tighten = [&](const json::value& value, bool is_exclusive) {
      const NumberBound found{to_decimal(value), is_exclusive};
      implied |= kNumberTypes;
      if (limit) {
        const auto order = compare(found.value, limit->value);
        if (order == 0 ? !is_exclusive : (order < 0) == is_lower) return;
      }
      limit = found;
    };
    const auto* strict = object.if_contains(exclusive);
    if (strict && !strict->is_number() && !strict->is_bool())
      malformed(*place_of(exclusive), "a number", *strict);
    if (const auto* value = object.if_contains(inclusive)) {
      if (!value->is_number()) malformed(*place_of(inclusive), "a number", *value);
      // Draft 4 has a flag beside the bound.
      tighten(*value, strict && strict->is_bool() && strict->get_bool());
    }
    if (strict && strict->is_number()) tighten(*strict, true);
  };
  bound("minimum", "exclusiveMinimum", shape.lower, true);
  bound("maximum", "exclusiveMaximum", shape.upper, false);
  for (const std::string_view name : {"items", "prefixItems", "additionalItems"})
    if (object.contains(name)) implied |= kArrayType;
  for (const std::string_view name :
       {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
        "unevaluatedProperties"})
    if (object.contains(name)) implied |= kObjectType;
}

void SchemaReader::merge_items(SchemaShape& shape, const std::vector<Schema>& objects) {
  struct Items {
    const json::array* prefix = nullptr;
    const SchemaPlace* prefix_place = nullptr;
    Schema rest;
  };
  std::vector<Items> all;
  std::size_t longest = 0;
  for (const Schema& schema : objects) {
    const json::object& object = schema.value->get_object();
    Items found;
    const auto take_prefix = [&](std::string_view name, const json::value& value) {
      if (!value.is_array()) malformed(*at(schema.place, name), "an array of schemas", value);
      found.prefix = &value.get_array();
      found.prefix_place = at(schema.place, name);
      longest = std::max(longest, found.prefix->size());
    };
    if (const auto* prefix = object.if_contains("prefixItems")) take_prefix("prefixItems", *prefix);
    const auto* items = object.if_contains("items");
    std::string_view rest_name = "items";
    if (items && items->is_array()) {
      // Before 2020-12 a list under `items` was what prefixItems is now.
      if (!found.prefix) take_prefix("items", *items);
      rest_name = "additionalItems";
      items = object.if_contains(rest_name);
    }
    if (items) {
      found.rest = {items, at(schema.place, rest_name)};
      if (const auto* flag = items->if_bool(); flag && !*flag)
        shape.max_items = std::min(
            shape.max_items, static_cast<std::int64_t>(found.prefix ? found.prefix->size() : 0));
      append(shape.items, found.rest);
    }
    if (found.prefix || items) all.push_back(found);
  }
  spend(longest * all.size());
  for (std::size_t i = 0; i < longest; ++i) {
    SchemaSet set;
    for (const Items& items : all) {
      if (items.prefix && i < items.prefix->size())
        append(set, {&(*items.prefix)[i], at(items.prefix_place, static_cast<std::int64_t>(i))});
      else if (items.rest.value)
        append(set, items.rest);
    }
    if (is_never(set)) shape.max_items = std::min(shape.max_items, static_cast<std::int64_t>(i));
    shape.prefix_items.push_back(std::move(set));
  }
}

NamePattern SchemaReader::name_pattern(std::string_view pattern, const SchemaPlace* place) {
  try {
    return NamePattern(pattern);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::invalid_argument) throw;
    if (!beyond_regular(pattern))
      fail(ErrorCode::invalid_argument, "JSON schema at {}: {}", to_pointer(*place), e.what());
    // Said where the pattern's own names are made.
    return {};
  }
}

void SchemaReader::merge_properties(SchemaShape& shape, const std::vector<Schema>& objects) {
  struct Part {
    const json::object* properties = nullptr;
    const SchemaPlace* place = nullptr;
    std::vector<std::pair<NamePattern, Schema>> patterns;
    Schema additional;
  };
  std::vector<Part> parts;
  std::unordered_map<std::string_view, std::size_t> known;
  const auto property = [&](std::string_view name) -> SchemaShape::Property& {
    const auto [entry, is_new] = known.try_emplace(name, shape.properties.size());
    if (is_new) shape.properties.push_back({name, {}, false});
    return shape.properties[entry->second];
  };
  bool closed = false;
  std::size_t patterns = 0;
  std::vector<std::string_view> required;
  for (const Schema& schema : objects) {
    const json::object& object = schema.value->get_object();
    Part part;
    const auto object_at = [&](std::string_view name) -> const json::object* {
      const auto* value = object.if_contains(name);
      if (value && !value->is_object())
        malformed(*at(schema.place, name), "an object of schemas", *value);
      return value ? &value->get_object() : nullptr;
    };
    if ((part.properties = object_at("properties"))) {
      part.place = at(schema.place, "properties");
      spend(part.properties->size());
      for (const auto& member : *part.properties) property(member.key());
    }
    if (const auto* list = object_at("patternProperties")) {
      const SchemaPlace* place = at(schema.place, "patternProperties");
      for (const auto& [key, value] : *list) {
        const SchemaPlace* here = at(place, std::string_view(key));
        spend(pattern_steps(key));
        shape.pattern_properties.push_back({{key, here}, {{&value, here}}});
        part.patterns.emplace_back(name_pattern(key, here), Schema{&value, here});
      }
    }
    if (const auto* value = object.if_contains("required")) {
      if (!value->is_array()) malformed(*at(schema.place, "required"), "an array of names", *value);
      spend(value->get_array().size());
      for (const json::value& name : value->get_array()) {
        if (!name.is_string()) malformed(*at(schema.place, "required"), "a name", name);
        required.push_back(name.get_string());
      }
    }
    if (const auto* value = object.if_contains("additionalProperties")) {
      part.additional = {value, at(schema.place, "additionalProperties")};
      shape.additional_said = true;
      append(shape.additional_schemas, part.additional);
    }
    if (const auto* value = object.if_contains("propertyNames"))
      append(shape.property_names, {value, at(schema.place, "propertyNames")});
    if (const auto* value = object.if_contains("unevaluatedProperties")) {
      // All that is evaluated is in this shape.
      const auto* flag = value->if_bool();
      if (!flag)
        unsupported(*schema.place, "unevaluatedProperties", "is supported only as true or false");
      else
        closed = closed || !*flag;
    }
    patterns += part.patterns.size();
    parts.push_back(std::move(part));
  }
  for (const std::string_view name : required) property(name).required = true;
  spend(shape.properties.size() * (parts.size() + patterns));
  bool impossible = false;
  std::erase_if(shape.properties, [&](SchemaShape::Property& p) {
    bool evaluated = false;
    for (const Part& part : parts) {
      const json::value* own = part.properties ? part.properties->if_contains(p.name) : nullptr;
      bool named = own != nullptr;
      if (own) append(p.schemas, {own, at(part.place, p.name)});
      for (const auto& [pattern, schema] : part.patterns)
        if (pattern.matches(p.name)) {
          named = true;
          append(p.schemas, schema);
        }
      if (!named && part.additional.value) append(p.schemas, part.additional);
      evaluated = evaluated || named;
    }
    if (!is_never(p.schemas) && (evaluated || !closed)) return false;
    impossible = impossible || p.required;
    shape.forbidden.push_back(p.name);
    return true;
  });
  if (impossible) shape.types &= ~static_cast<unsigned>(kObjectType);
  if (closed || is_never(shape.additional_schemas)) {
    shape.additional = false;
    shape.additional_said = true;
  } else if (!shape.additional_said) {
    shape.additional = style_.additional_properties;
  }
}

SchemaShape SchemaReader::merge(const std::vector<Schema>& objects) {
  SchemaShape shape;
  shape.place = objects.empty() ? &top_ : objects[0].place;
  unsigned implied = 0;
  bool typed = false;
  for (const Schema& schema : objects) {
    spend(1);
    merge_simple(shape, schema, implied, typed);
  }
  // Without a type other values would be valid, too; whoever writes `properties` means an object.
  if (!typed && !shape.values && implied != 0) shape.types = implied;
  merge_items(shape, objects);
  merge_properties(shape, objects);
  if (shape.values) {
    std::erase_if(*shape.values, [&](const json::value* v) { return !allows(shape, *v); });
    if (shape.values->empty()) shape.types = 0;
  }
  return shape;
}

}  // namespace octet::generate::grammar
