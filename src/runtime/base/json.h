#pragma once

#include <boost/json/value.hpp>
#include <filesystem>
#include <string>
#include <string_view>

namespace octet {

namespace json = boost::json;

/// Parses JSON. `where` names the source in the message. Errors: bad_data with the byte offset.
/// Nesting deeper than 128 is refused.
json::value parse_json(std::string_view text, std::string_view where);

/// read_file and parse_json.
json::value read_json(const std::filesystem::path& path);

/// Writes JSON as Python's json.dumps does (ensure_ascii off): `", "` and `": "`, numbers as
/// Python prints them (1.0, 1e-05, 1e+16), keys in order. indent < 0: one line.
std::string to_json(const json::value& value, int indent = -1);

/// A byte of a JSON string, escaped as to_json does it.
void append_json_escaped(std::string& out, char c);
/// A JSON string with its quotes, as to_json writes it.
void append_json_string(std::string& out, std::string_view text);

/// A double as Python's repr prints it (shortest that reads back): 1.0, 0.1, 1e+16, nan, inf.
std::string format_double(double value);

}  // namespace octet
