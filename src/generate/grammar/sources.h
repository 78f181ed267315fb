#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "generate/grammar/rules.h"
#include "runtime/base/json.h"

namespace octet::generate::grammar {

/// How JSON is written where a schema leaves it open.
struct JsonStyle {
  bool any_whitespace = true;  ///< between tokens, bounded; false: `", "` and `": "` only
  bool strict = false;         ///< unsupported keywords are errors; otherwise listed in `ignored`
  bool additional_properties = true;  ///< where a schema doesn't say
};

inline constexpr std::size_t kMaxSchemaBytes = 1 << 20;
inline constexpr int kMaxSchemaDepth = 64;

/// Appends rules for a JSON schema; returns the node of a value of it. Properties come in the
/// schema's order. Errors: invalid_argument with the JSON pointer of what is wrong or unsupported.
NodePtr json_schema(Rules& rules, const json::value& schema, const JsonStyle& style,
                    std::vector<std::string>* ignored = nullptr);
/// Any JSON object (or any value).
NodePtr json_object(Rules& rules, const JsonStyle& style);
NodePtr json_value(Rules& rules, const JsonStyle& style);

/// A regular expression, RE2's subset, anchored at both ends. Errors: invalid_argument with the
/// position.
NodePtr regex(Rules& rules, std::string_view pattern);

/// GBNF, or the EBNF of xgrammar (same family): `root` is the start. Errors: invalid_argument with
/// line and column; undefined rules.
Rules parse_ebnf(std::string_view text);

}  // namespace octet::generate::grammar
