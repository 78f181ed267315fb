#include "input/chat_template/text.h"

#include <utf8proc.h>

#include <algorithm>

namespace octet::chat_template {

Text Text::substr(std::size_t begin, std::size_t count) const {
  Text t;
  t.bytes_ = bytes_.substr(begin, count);
  t.user_ = user_.substr(begin, count);
  return t;
}

Text& Text::operator+=(const Text& other) {
  bytes_ += other.bytes_;
  user_ += other.user_;
  return *this;
}

std::vector<Text> Text::characters() const {
  std::vector<Text> all;
  for (std::size_t at = 0; at < size();) {
    const std::size_t begin = at;
    decode_utf8(bytes_, at);
    all.push_back(substr(begin, at - begin));
  }
  return all;
}

std::size_t Text::num_characters() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      bytes_, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::uint32_t decode_utf8(std::string_view s, std::size_t& at) {
  utf8proc_int32_t c = 0;
  const auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(s.data()) + at,
                                  static_cast<utf8proc_ssize_t>(s.size() - at), &c);
  at += n > 0 ? static_cast<std::size_t>(n) : 1;
  return n > 0 ? static_cast<std::uint32_t>(c) : 0xfffd;
}

bool is_space(std::uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_letter(std::uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

Text strip(const Text& text, const Text* chars, bool left, bool right) {
  std::vector<std::uint32_t> set;
  if (chars)
    for (std::size_t at = 0; at < chars->size();) set.push_back(decode_utf8(chars->view(), at));
  const auto goes = [&](std::uint32_t c) {
    return chars ? std::ranges::find(set, c) != set.end() : is_space(c);
  };
  std::size_t begin = 0, end = text.size();
  while (left && begin < end) {
    std::size_t next = begin;
    if (!goes(decode_utf8(text.view(), next))) break;
    begin = next;
  }
  while (right && end > begin) {
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text.str()[last]) & 0xc0) == 0x80) --last;
    std::size_t at = last;
    if (!goes(decode_utf8(text.view(), at))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

namespace {

enum class Case { upper, lower };

Text convert(const Text& character, Case to) {
  std::size_t at = 0;
  const std::uint32_t c = decode_utf8(character.view(), at);
  const bool user = character.from_user(0);
  // The two characters of everyday text whose other case is longer.
  if (to == Case::upper && c == 0xdf) return Text("SS", user);
  if (to == Case::lower && c == 0x130) return Text("i\xcc\x87", user);
  const auto code = static_cast<utf8proc_int32_t>(c);
  utf8proc_uint8_t buffer[4];
  const auto n = utf8proc_encode_char(
      to == Case::upper ? utf8proc_toupper(code) : utf8proc_tolower(code), buffer);
  return Text(std::string_view(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(n)),
              user);
}

// by_word: every word begins in upper case; else only the text.
Text cased(const Text& text, bool by_word) {
  Text out;
  bool inside = false;
  for (const Text& c : text.characters()) {
    std::size_t at = 0;
    out += convert(c, inside ? Case::lower : Case::upper);
    inside = by_word ? is_letter(decode_utf8(c.view(), at)) : true;
  }
  return out;
}

}  // namespace

Text upper(const Text& text) {
  Text out;
  for (const Text& c : text.characters()) out += convert(c, Case::upper);
  return out;
}

Text lower(const Text& text) {
  Text out;
  for (const Text& c : text.characters()) out += convert(c, Case::lower);
  return out;
}

Text title(const Text& text) {
  return cased(text, true);
}
Text capitalize(const Text& text) {
  return cased(text, false);
}

}  // namespace octet::chat_template
