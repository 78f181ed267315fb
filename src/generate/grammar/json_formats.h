#pragma once

#include <cstdint>
#include <string_view>

#include "generate/grammar/rules.h"

namespace octet::generate::grammar {

/// Texts of a format of JSON schema: date, time, date-time, uuid, email, ipv4, ipv6, uri, hostname.
/// All are subsets of what their RFCs allow, as their usual readers take them (dates exist, no leap
/// seconds, upper-case T and Z). Null if the format isn't known.
NodePtr format_text(std::string_view name);
/// Formats of OpenAPI that say nothing about the text: int32, double, password, ...
bool is_note_format(std::string_view name);

/// Those texts of a node that have so many code points. Null if that can't be said with nodes of
/// its size (several parts of open length).
NodePtr limit_length(const NodePtr& node, std::int64_t min, std::int64_t max);

}  // namespace octet::generate::grammar
