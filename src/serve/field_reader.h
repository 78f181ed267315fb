#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"

namespace octet::serve {

/// Reads the fields of a request's object with their types and ranges; every error is an HttpError
/// 400 that names the field's path (`messages[2].content`). null counts as absent. Remembers what
/// was asked for, so that unknown fields can be listed.
class FieldReader {
 public:
  /// path: of the object itself, empty for the body. Errors: if the value is no object.
  FieldReader(const json::value& object, std::string path);

  bool has(std::string_view name) const;  ///< present and not null
  const json::value* find(std::string_view name);
  std::string path(std::string_view name) const;

  std::optional<bool> boolean(std::string_view name);
  /// 3.0 is an integer, 3.5 is not; numbers beyond 64 bits are out of range.
  std::optional<std::int64_t> integer(std::string_view name,
                                      std::int64_t min = std::numeric_limits<std::int64_t>::min(),
                                      std::int64_t max = std::numeric_limits<std::int64_t>::max());
  std::optional<double> number(std::string_view name, double min, double max);
  std::optional<std::string> string(std::string_view name, std::size_t max_bytes = SIZE_MAX);
  std::optional<std::string> one_of(std::string_view name,
                                    std::initializer_list<std::string_view> values);
  const json::array* array(std::string_view name, std::size_t max_items = SIZE_MAX);
  const json::object* object(std::string_view name);
  /// A string, or a list of strings.
  std::vector<std::string> strings(std::string_view name, std::size_t max_items);
  std::vector<std::int32_t> token_ids(std::string_view name, std::size_t max_items,
                                      std::int64_t vocab_size);
  /// Fields that nobody asked for.
  std::vector<std::string> unknown() const;
  /// Names that are known and without effect.
  void ignore(std::initializer_list<std::string_view> names);

 private:
  const json::object* object_;
  std::string path_;
  std::set<std::string, std::less<>> seen_;
};

/// Ids of tokens; path: of the list. Errors: HttpError 400 with the item's path.
std::vector<std::int32_t> read_token_ids(const json::array& items, const std::string& path,
                                         std::int64_t vocab_size);

}  // namespace octet::serve
