#pragma once

#include <string>
#include <string_view>

#include "runtime/base/json.h"

namespace octet::serve {

/// "a string", "an array", ...: what a value is in the words of JSON, for messages.
std::string_view kind_name(const json::value& value);

/// The beginning of a text that a client sent, as JSON, for messages.
std::string excerpt(std::string_view text);

/// A member; null if it is absent or null.
const json::value* member(const json::object& object, std::string_view key);
/// The same of a type. Errors: HttpError 400 with `path`.`key` if it is another one.
const json::string* string_member(const json::object& object, std::string_view key,
                                  const std::string& path);
const json::array* array_member(const json::object& object, std::string_view key,
                                const std::string& path);
const json::object* object_member(const json::object& object, std::string_view key,
                                  const std::string& path);
/// The value as an object. Errors: HttpError 400 with the path.
const json::object& as_object(const json::value& value, const std::string& path);

}  // namespace octet::serve
