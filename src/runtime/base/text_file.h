#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"

namespace octet {

/// A text file whole; gzip and zstd ones unpacked (known by their first bytes, not their name).
/// Errors: not_found; bad_data if it is damaged or cut, or larger than max_bytes unpacked.
std::string read_text_file(const std::filesystem::path& path,
                           std::size_t max_bytes = std::size_t{8} << 30);

/// The same for bytes that are in memory; `where` names them in messages.
std::string unpack_text(std::string bytes, std::size_t max_bytes, const std::string& where);

/// A line of a .jsonl text that isn't blank: where it begins and ends, its number from 1.
struct TextLine {
  std::size_t begin = 0, end = 0, number = 0;
};
std::vector<TextLine> text_lines(std::string_view text);

/// Parses such a line, which must be an object. Errors: bad_data with path and line number.
json::object parse_line(std::string_view text, const TextLine& line,
                        const std::filesystem::path& path);

}  // namespace octet
