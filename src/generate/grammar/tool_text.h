#pragma once

#include <string>

#include "generate/grammar/json_text.h"

namespace octet::generate::grammar {

/// The parameters of a call as the model writes them, one after the other:
/// "<parameter=KEY>\nVALUE\n</parameter>\n". In the schema's order; optional ones may be missing.
/// others: parameters that the schema doesn't speak of may follow, unless it forbids them. Errors:
/// invalid_argument, as json_schema, beginning with `where`.
NodePtr strict_parameters(JsonText& text, const json::value& schema, const std::string& where,
                          bool others = false);
/// Any parameters in any order with any text; only the names of the schema's properties if it
/// allows no others.
NodePtr free_parameters(JsonText& text, const json::value& schema, const std::string& where);

/// Any text without the strings, none of which may be empty. Errors: invalid_argument where several
/// strings overlap in a way that can't be told apart (a beginning of one inside another).
NodePtr text_without_any(const std::vector<std::string>& strings);

}  // namespace octet::generate::grammar
