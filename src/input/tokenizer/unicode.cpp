#include "input/tokenizer/unicode.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <span>

#include "runtime/base/error.h"

namespace octet::tokenizer {

namespace {

struct CodeRange {
  std::uint32_t first, last;
};
#include "input/tokenizer/unicode_tables.inl"

bool contains(std::span<const CodeRange> ranges, std::uint32_t c) {
  const auto it = std::ranges::upper_bound(ranges, c, {}, &CodeRange::first);
  return it != ranges.begin() && c <= std::prev(it)->last;
}

// Length and state of the sequence at `at`: how many bytes belong to it, and whether they are a
// character, invalid, or the beginning of one that the text's end cuts off.
enum class Sequence { valid, invalid, cut };
struct Scan {
  std::size_t length;
  Sequence state;
};

Scan scan_sequence(std::string_view s, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return {1, Sequence::valid};
  std::size_t need = 0;
  // The second byte's range keeps out overlong forms, surrogates and what lies above U+10FFFF.
  unsigned char low = 0x80, high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf)
    need = 2;
  else if (lead >= 0xe0 && lead <= 0xef)
    need = 3;
  else if (lead >= 0xf0 && lead <= 0xf4)
    need = 4;
  else
    return {1, Sequence::invalid};
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  for (std::size_t i = 1; i < need; ++i) {
    if (at + i == s.size()) return {i, Sequence::cut};
    const unsigned char c = byte(at + i);
    if (c < (i == 1 ? low : 0x80) || c > (i == 1 ? high : 0xbf)) return {i, Sequence::invalid};
  }
  return {need, Sequence::valid};
}

std::string ranges_text(std::span<const CodeRange> ranges) {
  std::string text;
  for (const CodeRange& r : ranges) text += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", r.first, r.last);
  return text;
}

std::string utf8proc_nfc(std::string_view text) {
  utf8proc_uint8_t* result = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, std::free);
  OCTET_CHECK(length >= 0, "normalization: {}", utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(result), static_cast<std::size_t>(length)};
}

}  // namespace

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  std::size_t copied = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const Scan scan = scan_sequence(bytes, at);
    if (scan.state != Sequence::valid) {
      out.append(bytes, copied, at - copied);
      out += "\xef\xbf\xbd";
      copied = at + scan.length;
    }
    at += scan.length;
  }
  out.append(bytes, copied);
  return out;
}

bool ends_inside_character(std::string_view bytes) {
  // A character has at most four bytes: its lead, if cut, is among the last three.
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const std::size_t at = bytes.size() - back;
    if ((static_cast<unsigned char>(bytes[at]) & 0xc0) == 0x80) continue;
    return scan_sequence(bytes, at).state == Sequence::cut;
  }
  return false;
}

void append_utf8(std::string& text, std::uint32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xc0 | c >> 6);
    text += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xe0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    text += static_cast<char>(0xf0 | c >> 18);
    text += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    text += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    text += static_cast<char>(0x80 | (c & 0x3f));
  }
}

std::uint32_t next_code_point(std::string_view s, std::size_t& at) {
  const auto byte = [&](std::size_t i) -> std::uint32_t {
    return static_cast<unsigned char>(s[i]);
  };
  const std::uint32_t lead = byte(at);
  if (lead < 0x80) return ++at, lead;
  if (lead < 0xe0) return at += 2, (lead & 0x1f) << 6 | (byte(at - 1) & 0x3f);
  if (lead < 0xf0)
    return at += 3, (lead & 0xf) << 12 | (byte(at - 2) & 0x3f) << 6 | (byte(at - 1) & 0x3f);
  return at += 4, (lead & 7) << 18 | (byte(at - 3) & 0x3f) << 12 | (byte(at - 2) & 0x3f) << 6 |
                      (byte(at - 1) & 0x3f);
}

std::string normalize_nfc(std::string_view text) {
  if (std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return std::string(text);
  // Inert characters stand where they stand, and nothing moves or joins across them: what lies
  // between two of them is normalized by itself.
  std::string out;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const std::uint32_t c = next_code_point(text, at);
    if (c < 0x300 || !contains(kUnnormalized, c)) continue;
    out += utf8proc_nfc(text.substr(begin, start - begin));
    out += text.substr(start, at - start);
    begin = at;
  }
  out += utf8proc_nfc(text.substr(begin));
  return out;
}

std::string with_explicit_classes(std::string_view pattern) {
  static const std::string letters = ranges_text(kLetters), marks = ranges_text(kMarks),
                           numbers = ranges_text(kNumbers), spaces = ranges_text(kSpaces);
  std::string out;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view rest = pattern.substr(i);
    const std::string* ranges = rest.starts_with("\\p{L}")   ? &letters
                                : rest.starts_with("\\p{M}") ? &marks
                                : rest.starts_with("\\p{N}") ? &numbers
                                : rest.starts_with("\\s")    ? &spaces
                                                             : nullptr;
    if (ranges) {
      out += in_class ? *ranges : "[" + *ranges + "]";
      i += rest[1] == 's' ? 1 : 4;
    } else if (rest.starts_with("\\S") && !in_class) {
      out += "[^" + spaces + "]";
      ++i;
    } else if (rest[0] == '\\' && rest.size() > 1) {
      out += rest.substr(0, 2);
      ++i;
    } else {
      if (rest[0] == '[') in_class = true;
      if (rest[0] == ']') in_class = false;
      out += rest[0];
    }
  }
  return out;
}

}  // namespace octet::tokenizer
