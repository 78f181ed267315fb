#include "serve/answer/json_fields.h"

#include "serve/answer/literal.h"
#include "serve/http/error_body.h"

namespace octet::serve {

std::string_view kind_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      break;
  }
  return "an object";
}

std::string excerpt(std::string_view text) {
  constexpr std::size_t kMost = 80;
  if (text.size() <= kMost) return json_string(text);
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return json_string(std::string(text.substr(0, end)) + "...");
}

const json::value* member(const json::object& object, std::string_view key) {
  const json::value* v = object.if_contains(key);
  return v && v->is_null() ? nullptr : v;
}

namespace {

const json::value* typed_member(const json::object& object, std::string_view key,
                                const std::string& path, json::kind kind, std::string_view name) {
  const json::value* v = member(object, key);
  if (v && v->kind() != kind) {
    const std::string at = path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
    bad_field(at, "{}: expected {}, found {}", at, name, kind_name(*v));
  }
  return v;
}

}  // namespace

const json::string* string_member(const json::object& object, std::string_view key,
                                  const std::string& path) {
  const json::value* v = typed_member(object, key, path, json::kind::string, "a string");
  return v ? &v->get_string() : nullptr;
}

const json::array* array_member(const json::object& object, std::string_view key,
                                const std::string& path) {
  const json::value* v = typed_member(object, key, path, json::kind::array, "an array");
  return v ? &v->get_array() : nullptr;
}

const json::object* object_member(const json::object& object, std::string_view key,
                                  const std::string& path) {
  const json::value* v = typed_member(object, key, path, json::kind::object, "an object");
  return v ? &v->get_object() : nullptr;
}

const json::object& as_object(const json::value& value, const std::string& path) {
  if (!value.is_object())
    bad_field(path, "{}: expected an object, found {}", path, kind_name(value));
  return value.get_object();
}

}  // namespace octet::serve
