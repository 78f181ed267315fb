#include "serve/answer/tools.h"

#include <algorithm>

#include "serve/answer/json_fields.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

// Where schemas lie within a schema.
constexpr std::string_view kSchemas[] = {"additionalProperties",
                                         "contains",
                                         "else",
                                         "if",
                                         "not",
                                         "propertyNames",
                                         "then",
                                         "unevaluatedItems",
                                         "unevaluatedProperties"};
constexpr std::string_view kLists[] = {"allOf", "anyOf", "oneOf", "prefixItems"};
constexpr std::string_view kMaps[] = {"$defs", "definitions", "dependentSchemas",
                                      "patternProperties", "properties"};

// Where a schema lies: written out only for errors, because keys may be as long as the schema.
struct Place {
  const Place* outer;
  std::string_view key;
  std::ptrdiff_t index = -1;

  std::string text(std::string_view last = {}) const {
    std::string out = outer ? outer->text() + "." : std::string();
    out += key;
    if (index >= 0) out += fmt::format("[{}]", index);
    if (!last.empty()) out += fmt::format(".{}", last);
    return out;
  }
};

[[noreturn]] void bad_schema(const std::string& path, std::string_view expected,
                             const json::value& found) {
  bad_field(path, "{}: expected {}, found {}", excerpt(path), expected, kind_name(found));
}

void check_type(const json::value& type, const Place& place) {
  static constexpr std::string_view kExpected = "a type's name or an array of such";
  if (type.is_string()) return;
  if (!type.is_array()) bad_schema(place.text("type"), kExpected, type);
  if (type.get_array().empty())
    bad_field(place.text("type"), "{}: expected {}, found an empty list",
              excerpt(place.text("type")), kExpected);
  for (const json::value& v : type.get_array())
    if (!v.is_string()) bad_schema(place.text("type"), "names of types", v);
}

void check_schema(const json::value& schema, const Place& place, int depth) {
  if (depth > kMaxToolSchemaDepth)
    bad_field(place.text(), "{}: the schema is more than {} deep", excerpt(place.text()),
              kMaxToolSchemaDepth);
  if (schema.is_bool()) return;
  if (!schema.is_object()) bad_schema(place.text(), "a schema: an object or a boolean", schema);
  const json::object& o = schema.get_object();
  if (const json::value* type = o.if_contains("type")) check_type(*type, place);
  for (const char* key : {"pattern", "$ref", "format"})
    if (const json::value* v = o.if_contains(key); v && !v->is_string())
      bad_schema(place.text(key), "a string", *v);
  for (const char* key : {"enum", "required"})
    if (const json::value* v = o.if_contains(key); v && !v->is_array())
      bad_schema(place.text(key), "an array", *v);
  const auto check_list = [&](std::string_view key, const json::value& list) {
    if (!list.is_array()) bad_schema(place.text(key), "an array of schemas", list);
    std::ptrdiff_t i = 0;
    for (const json::value& v : list.get_array())
      check_schema(v, Place{&place, key, i++}, depth + 1);
  };
  for (const std::string_view key : kSchemas)
    if (const json::value* v = o.if_contains(key)) check_schema(*v, Place{&place, key}, depth + 1);
  if (const json::value* v = o.if_contains("items")) {
    if (v->is_array())  // as drafts before 2020-12 had it
      check_list("items", *v);
    else
      check_schema(*v, Place{&place, "items"}, depth + 1);
  }
  for (const std::string_view key : kLists)
    if (const json::value* list = o.if_contains(key)) check_list(key, *list);
  for (const std::string_view key : kMaps) {
    const json::value* map = o.if_contains(key);
    if (!map) continue;
    if (!map->is_object()) bad_schema(place.text(key), "an object of schemas", *map);
    const Place inside{&place, key};
    for (const auto& m : map->get_object())
      check_schema(m.value(), Place{&inside, m.key()}, depth + 1);
  }
}

}  // namespace

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == ':' || c == '-';
  });
}

void check_tool_schema(const json::value& schema, const std::string& path) {
  if (const std::size_t bytes = to_json(schema).size(); bytes > kMaxToolSchemaBytes)
    bad_field(path, "{}: the schema has {} bytes; at most {} are taken", path, bytes,
              kMaxToolSchemaBytes);
  check_schema(schema, Place{nullptr, path}, 0);
}

}  // namespace octet::serve
