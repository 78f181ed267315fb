#include "serve/field_reader.h"

#include <cmath>

#include "serve/answer/json_fields.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

[[noreturn]] void wrong_type(const std::string& path, std::string_view expected,
                             const json::value& found) {
  bad_field(path, "{}: expected {}, found {}", path.empty() ? "the request's body" : path, expected,
            kind_name(found));
}

// The value as a 64-bit integer; nullopt if it is one that doesn't fit. Errors: if it is none.
std::optional<std::int64_t> as_integer(const json::value& value, const std::string& path) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64()) return std::nullopt;  // above the largest int64
  if (!value.is_double()) wrong_type(path, "an integer", value);
  const double d = value.get_double();
  if (!std::isfinite(d) || std::abs(d) >= 9.2e18) return std::nullopt;
  if (d != std::trunc(d)) bad_field(path, "{}: expected an integer, found {}", path, d);
  return static_cast<std::int64_t>(d);
}

// What was sent may be long; whole characters of it go into the message.
std::string beginning(std::string_view text) {
  if (text.size() <= 64) return std::string(text);
  std::size_t end = 64;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

std::string range_text(std::int64_t min, std::int64_t max) {
  constexpr auto kLow = std::numeric_limits<std::int64_t>::min();
  constexpr auto kHigh = std::numeric_limits<std::int64_t>::max();
  if (min == kLow && max == kHigh) return "a 64-bit integer";
  if (max == kHigh) return fmt::format("an integer of at least {}", min);
  if (min == kLow) return fmt::format("an integer of at most {}", max);
  return fmt::format("an integer from {} to {}", min, max);
}

std::int64_t integer_in(const json::value& value, const std::string& path, std::int64_t min,
                        std::int64_t max) {
  const auto i = as_integer(value, path);
  if (!i || *i < min || *i > max)
    bad_field(path, "{}: expected {}, found {}", path, range_text(min, max), to_json(value));
  return *i;
}

std::string string_up_to(const json::value& value, const std::string& path, std::size_t max_bytes) {
  if (!value.is_string()) wrong_type(path, "a string", value);
  const json::string& s = value.get_string();
  if (s.size() > max_bytes)
    bad_field(path, "{}: expected at most {} bytes, found {}", path, max_bytes, s.size());
  return std::string(s);
}

}  // namespace

FieldReader::FieldReader(const json::value& object, std::string path)
    : object_(object.if_object()), path_(std::move(path)) {
  if (!object_) wrong_type(path_, "an object", object);
}

bool FieldReader::has(std::string_view name) const {
  const json::value* v = object_->if_contains(name);
  return v && !v->is_null();
}

const json::value* FieldReader::find(std::string_view name) {
  seen_.emplace(name);
  const json::value* v = object_->if_contains(name);
  return v && !v->is_null() ? v : nullptr;
}

std::string FieldReader::path(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

std::optional<bool> FieldReader::boolean(std::string_view name) {
  const json::value* v = find(name);
  if (!v) return std::nullopt;
  if (!v->is_bool()) wrong_type(path(name), "a boolean", *v);
  return v->get_bool();
}

std::optional<std::int64_t> FieldReader::integer(std::string_view name, std::int64_t min,
                                                 std::int64_t max) {
  const json::value* v = find(name);
  if (!v) return std::nullopt;
  return integer_in(*v, path(name), min, max);
}

std::optional<double> FieldReader::number(std::string_view name, double min, double max) {
  const json::value* v = find(name);
  if (!v) return std::nullopt;
  if (!v->is_number()) wrong_type(path(name), "a number", *v);
  const double d = v->to_number<double>();
  // Written so that a NaN fails.
  if (!(std::isfinite(d) && d >= min && d <= max))
    bad_field(path(name), "{}: expected a number from {} to {}, found {}", path(name), min, max, d);
  return d;
}

std::optional<std::string> FieldReader::string(std::string_view name, std::size_t max_bytes) {
  const json::value* v = find(name);
  if (!v) return std::nullopt;
  return string_up_to(*v, path(name), max_bytes);
}

std::optional<std::string> FieldReader::one_of(std::string_view name,
                                               std::initializer_list<std::string_view> values) {
  const json::value* v = find(name);
  if (!v) return std::nullopt;
  if (!v->is_string()) wrong_type(path(name), "a string", *v);
  std::string known;
  for (const std::string_view value : values) {
    if (v->get_string() == value) return std::string(value);
    known += known.empty() ? "" : ", ";
    known += value;
  }
  bad_field(path(name), "{}: expected one of {}, found \"{}\"", path(name), known,
            beginning(v->get_string()));
}

const json::array* FieldReader::array(std::string_view name, std::size_t max_items) {
  const json::value* v = find(name);
  if (!v) return nullptr;
  if (!v->is_array()) wrong_type(path(name), "an array", *v);
  if (v->get_array().size() > max_items)
    bad_field(path(name), "{}: expected at most {} items, found {}", path(name), max_items,
              v->get_array().size());
  return &v->get_array();
}

const json::object* FieldReader::object(std::string_view name) {
  const json::value* v = find(name);
  if (!v) return nullptr;
  if (!v->is_object()) wrong_type(path(name), "an object", *v);
  return &v->get_object();
}

std::vector<std::string> FieldReader::strings(std::string_view name, std::size_t max_items) {
  const json::value* v = find(name);
  if (!v) return {};
  if (v->is_string()) return {std::string(v->get_string())};
  if (!v->is_array()) wrong_type(path(name), "a string or an array of strings", *v);
  const json::array& items = v->get_array();
  if (items.size() > max_items)
    bad_field(path(name), "{}: expected at most {} strings, found {}", path(name), max_items,
              items.size());
  std::vector<std::string> out;
  for (std::size_t i = 0; i < items.size(); ++i)
    out.push_back(string_up_to(items[i], fmt::format("{}[{}]", path(name), i), SIZE_MAX));
  return out;
}

std::vector<std::int32_t> FieldReader::token_ids(std::string_view name, std::size_t max_items,
                                                 std::int64_t vocab_size) {
  const json::array* items = array(name, max_items);
  return items ? read_token_ids(*items, path(name), vocab_size) : std::vector<std::int32_t>{};
}

std::vector<std::string> FieldReader::unknown() const {
  std::vector<std::string> out;
  for (const auto& [key, value] : *object_)
    if (!seen_.contains(std::string_view(key))) out.push_back(path(key));
  return out;
}

void FieldReader::ignore(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) seen_.emplace(name);
}

std::vector<std::int32_t> read_token_ids(const json::array& items, const std::string& path,
                                         std::int64_t vocab_size) {
  std::vector<std::int32_t> out;
  out.reserve(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const json::value& item = items[i];
    // A prompt may have a million: an item's path is made only where it is needed.
    if (item.is_int64() && item.get_int64() >= 0 && item.get_int64() < vocab_size)
      out.push_back(static_cast<std::int32_t>(item.get_int64()));
    else
      out.push_back(static_cast<std::int32_t>(
          integer_in(item, fmt::format("{}[{}]", path, i), 0, vocab_size - 1)));
  }
  return out;
}

}  // namespace octet::serve
