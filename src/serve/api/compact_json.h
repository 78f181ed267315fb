#pragma once

#include <string>

#include "runtime/base/json.h"

namespace octet::serve {

/// JSON without blanks, numbers as Python prints them: what goes over the wire. Values are ours or
/// came through parse_json, so that their depth is bounded. NaN and infinities become null.
std::string compact_json(const json::value& value);
std::string compact_json(const json::object& object);  ///< without a copy of it

}  // namespace octet::serve
