#pragma once

#include <functional>
#include <map>
#include <string>

#include "input/chat_template/evaluator.h"

namespace octet::chat_template {

using Filter = std::function<Value(Evaluator&, const Value&, const Arguments&)>;

/// Adds the filters that take and make lists.
void add_list_filters(std::map<std::string, Filter>& table);

/// Integer argument number i or named; fallback if absent.
Integer integer_option(Evaluator& e, const Arguments& a, std::size_t i, const char* name,
                       Integer fallback);
bool flag_option(const Arguments& a, std::size_t i, const char* name, bool fallback);
/// String argument; fallback if absent. Errors if it is no string.
Text text_option(Evaluator& e, const Arguments& a, std::size_t i, const char* name,
                 const Text& fallback);

}  // namespace octet::chat_template
