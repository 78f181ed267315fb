#pragma once

#include <functional>
#include <string>
#include <vector>

#include "generate/grammar/sources.h"

namespace octet::generate::grammar {

/// A function that an answer may call.
struct ToolSchema {
  std::string name;
  json::value parameters;  ///< JSON schema of the arguments; null: no arguments
  bool strict = false;     ///< arguments must follow the schema
};

enum class ToolMode {
  optional,  ///< free text or `content`; where a call begins, its name is a tool's (and strict
             ///< ones' arguments hold)
  required,  ///< one call or more and nothing else; arguments as their schemas have them, as far as
             ///< those can be obeyed
  single,    ///< exactly one such call
};

/// The calls in the model's own form: <tool_call>, <function=NAME>, <parameter=KEY>. serving.md
/// §13. content: what may stand instead of calls in `optional` mode; null: any text, with calls in
/// it. parallel: more than one call. Errors: invalid_argument, as json_schema.
Rules tool_call_rules(const std::vector<ToolSchema>& tools, ToolMode mode, bool parallel,
                      const std::function<NodePtr(Rules&)>& content, const JsonStyle& style);

/// A structural tag (xgrammar's and vLLM's form, serving.md §14): triggers, begin, schema, end.
Rules structural_tag_rules(const json::value& tag, const JsonStyle& style);

}  // namespace octet::generate::grammar
