#pragma once

#include <string>
#include <string_view>

#include "runtime/base/json.h"

namespace octet::serve {

inline constexpr std::size_t kMaxTools = 1024;
inline constexpr std::size_t kMaxToolSchemaBytes = 1 << 20;
inline constexpr int kMaxToolSchemaDepth = 64;

/// Whether a function may have that name: [A-Za-z0-9_.:-]{1,128}.
bool is_tool_name(std::string_view name);

/// Checks the form of a JSON schema as far as reading arguments and making grammars rely on it:
/// objects or booleans, `type` one name or several, `pattern` a string, depth and size. Errors:
/// HttpError 400 with the path (`tools[1].function.parameters.properties.a.type`).
void check_tool_schema(const json::value& schema, const std::string& path);

}  // namespace octet::serve
