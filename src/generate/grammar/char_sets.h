#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace octet::generate::grammar {

using CodePointRanges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// The complement. ranges: in any order.
CodePointRanges complement(CodePointRanges ranges);

/// What \d, \w, \s and their capitals stand for (ASCII, as RE2); null if `letter` is none of them.
const CodePointRanges* perl_class(char32_t letter);

/// [:name:] of POSIX; null for an unknown name.
const CodePointRanges* posix_class(std::string_view name);

/// Code points of a general category of Unicode, by its long or short name's letters: "L", "Lu",
/// "Nd". Null for an unknown one. The first call costs some ms. Threads may share the result.
const CodePointRanges* unicode_category(std::string_view name);

}  // namespace octet::generate::grammar
