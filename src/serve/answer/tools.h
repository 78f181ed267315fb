#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "serve/answer/answer_parser.h"

namespace octet::serve {

inline constexpr std::size_t kMaxTools = 1024;
inline constexpr std::size_t kMaxToolSchemaBytes = 1 << 20;
inline constexpr int kMaxToolSchemaDepth = 64;

/// Whether a function may have that name: [A-Za-z0-9_.:-]{1,128}.
bool is_tool_name(std::string_view name);

/// Checks the `tools` of a request in OpenAI's form (serving.md §13.2). Several tools may have one
/// name; the last of them is the one whose schema counts. path: of the list ("tools"). Errors:
/// HttpError 400 with the path of what is wrong (`tools[1].function.parameters.properties.a.type`).
std::vector<Tool> read_tools(const json::array& tools, const std::string& path);

/// Checks the form of a JSON schema as far as reading arguments and making grammars rely on it:
/// objects or booleans, `type` one name or several, `pattern` a string, depth and size. Errors:
/// HttpError 400 with the path.
void check_tool_schema(const json::value& schema, const std::string& path);

}  // namespace octet::serve
