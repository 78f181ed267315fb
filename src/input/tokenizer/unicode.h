#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace octet::tokenizer {

/// UTF-8 with every maximal invalid part replaced by U+FFFD, as Rust's and Python's lossy decoders
/// do. Valid text comes back as it is.
std::string to_valid_utf8(std::string_view bytes);

/// True if the bytes end inside a UTF-8 sequence that more bytes could still make valid.
bool ends_inside_character(std::string_view bytes);

/// Appends a code point as UTF-8.
void append_utf8(std::string& text, std::uint32_t code_point);

/// The next code point of valid UTF-8; advances `at`.
std::uint32_t next_code_point(std::string_view text, std::size_t& at);

/// Normal form C as the `tokenizers` library has it: Unicode 9 data, so newer marks stay in place.
/// text: valid UTF-8. ASCII costs one pass.
std::string normalize_nfc(std::string_view text);

/// A regular expression with \p{L}, \p{M}, \p{N}, \s and \S written out as ranges of Unicode 16,
/// which is what the library's engine knows; the expression engine's own tables are older.
std::string with_explicit_classes(std::string_view pattern);

}  // namespace octet::tokenizer
