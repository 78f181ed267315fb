#include "serve/api/compact_json.h"

#include <fmt/format.h>

#include <cmath>

namespace octet::serve {

namespace {

void write_value(std::string& out, const json::value& value);

void write_object(std::string& out, const json::object& object) {
  char before = '{';
  if (object.empty()) out += '{';
  for (const auto& [key, item] : object) {
    out += before;
    before = ',';
    append_json_string(out, key);
    out += ':';
    write_value(out, item);
  }
  out += '}';
}

void write_value(std::string& out, const json::value& value) {
  switch (value.kind()) {
    case json::kind::array: {
      char before = '[';
      if (value.get_array().empty()) out += '[';
      for (const json::value& item : value.get_array()) {
        out += before;
        before = ',';
        write_value(out, item);
      }
      out += ']';
      return;
    }
    case json::kind::object:
      return write_object(out, value.get_object());
    case json::kind::string:
      return append_json_string(out, value.get_string());
    case json::kind::int64:
      fmt::format_to(std::back_inserter(out), "{}", value.get_int64());
      return;
    case json::kind::double_:
      out += std::isfinite(value.get_double()) ? format_double(value.get_double()) : "null";
      return;
    default:
      out += to_json(value);
  }
}

}  // namespace

std::string compact_json(const json::value& value) {
  std::string out;
  write_value(out, value);
  return out;
}

std::string compact_json(const json::object& object) {
  std::string out;
  write_object(out, object);
  return out;
}

}  // namespace octet::serve
