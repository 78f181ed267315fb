#include "checkpoint/config_reader.h"

#include <cmath>
#include <optional>

namespace octet::checkpoint {

namespace {
// A whole number, also where a tool wrote 4.0.
std::optional<std::int64_t> whole(const json::value& v) {
  if (v.is_int64()) return v.get_int64();
  if (v.is_double() && std::floor(v.get_double()) == v.get_double() &&
      std::fabs(v.get_double()) < 9e15)
    return static_cast<std::int64_t>(v.get_double());
  return std::nullopt;
}
}  // namespace

const json::value* ConfigReader::find(const char* key) const {
  if (asked_) asked_->insert(path_ + key);
  const json::value* v = object_.if_contains(key);
  return v && !v->is_null() ? v : nullptr;
}

const json::object* ConfigReader::object(const char* key) const {
  const json::value* v = find(key);
  if (!v) return nullptr;
  if (!v->is_object()) bad(key, "expected an object, found {}", to_json(*v));
  return &v->get_object();
}

std::optional<ConfigReader> ConfigReader::child(const char* key) const {
  const json::object* o = object(key);
  if (!o) return std::nullopt;
  return ConfigReader(*o, where_ + ": " + key, path_ + key + ".", asked_);
}

void ConfigReader::read(const char* key, std::int64_t& value, std::int64_t min,
                        std::int64_t max) const {
  const json::value* v = find(key);
  if (!v) return;
  const auto n = whole(*v);
  if (!n || *n < min || *n > max)
    bad(key, "expected a whole number from {} to {}, found {}", min, max, to_json(*v));
  value = *n;
}

void ConfigReader::read(const char* key, double& value, double min, double max) const {
  const json::value* v = find(key);
  if (!v) return;
  const double n = v->is_double()   ? v->get_double()
                   : v->is_int64()  ? static_cast<double>(v->get_int64())
                   : v->is_uint64() ? static_cast<double>(v->get_uint64())
                                    : std::nan("");
  if (!(n >= min && n <= max))
    bad(key, "expected a number from {} to {}, found {}", min, max, to_json(*v));
  value = n;
}

void ConfigReader::read(const char* key, bool& value) const {
  const json::value* v = find(key);
  if (!v) return;
  if (!v->is_bool()) bad(key, "expected true or false, found {}", to_json(*v));
  value = v->get_bool();
}

void ConfigReader::read(const char* key, std::string& value) const {
  const json::value* v = find(key);
  if (!v) return;
  if (!v->is_string()) bad(key, "expected a string, found {}", to_json(*v));
  value = std::string(v->get_string());
}

void ConfigReader::read_ids(const char* key, std::vector<std::int64_t>& value) const {
  const json::value* v = find(key);
  if (!v) return;
  value.clear();
  const auto add = [&](const json::value& item) {
    const auto n = whole(item);
    if (!n || *n < 0 || *n > INT32_MAX) bad(key, "expected token ids, found {}", to_json(*v));
    value.push_back(*n);
  };
  if (v->is_array())
    for (const json::value& item : v->get_array()) add(item);
  else
    add(*v);
}

}  // namespace octet::checkpoint
