#include "generate/grammar/char_sets.h"

#include <utf8proc.h>

#include <algorithm>
#include <map>
#include <string>

namespace octet::generate::grammar {
namespace {

constexpr std::uint32_t kLastCodePoint = 0x10FFFF;

std::map<std::string, CodePointRanges, std::less<>> scan_categories() {
  std::map<std::string, CodePointRanges, std::less<>> categories;
  const auto add = [&](std::string_view name, std::uint32_t c) {
    auto it = categories.find(name);
    if (it == categories.end()) it = categories.emplace(name, CodePointRanges{}).first;
    auto& ranges = it->second;
    if (!ranges.empty() && ranges.back().second + 1 == c)
      ranges.back().second = c;
    else
      ranges.emplace_back(c, c);
  };
  for (std::uint32_t c = 0; c <= kLastCodePoint; ++c) {
    const std::string_view name = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
    add(name, c);
    add(name.substr(0, 1), c);
  }
  return categories;
}

}  // namespace

CodePointRanges complement(CodePointRanges ranges) {
  std::ranges::sort(ranges);
  CodePointRanges rest;
  std::uint32_t next = 0;
  for (const auto& [first, last] : ranges) {
    if (first > next) rest.emplace_back(next, first - 1);
    next = std::max(next, last + 1);
  }
  if (next <= kLastCodePoint) rest.emplace_back(next, kLastCodePoint);
  return rest;
}

const CodePointRanges* perl_class(char32_t letter) {
  static const CodePointRanges digit{{'0', '9'}}, space{{'\t', '\r'}, {' ', ' '}},
      word{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  static const CodePointRanges not_digit = complement(digit), not_space = complement(space),
                               not_word = complement(word);
  switch (letter) {
    case 'd':
      return &digit;
    case 'D':
      return &not_digit;
    case 's':
      return &space;
    case 'S':
      return &not_space;
    case 'w':
      return &word;
    case 'W':
      return &not_word;
    default:
      return nullptr;
  }
}

const CodePointRanges* posix_class(std::string_view name) {
  static const std::map<std::string_view, CodePointRanges> classes{
      {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
      {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
      {"ascii", {{0, 0x7F}}},
      {"blank", {{'\t', '\t'}, {' ', ' '}}},
      {"cntrl", {{0, 0x1F}, {0x7F, 0x7F}}},
      {"digit", {{'0', '9'}}},
      {"graph", {{'!', '~'}}},
      {"lower", {{'a', 'z'}}},
      {"print", {{' ', '~'}}},
      {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
      {"space", {{'\t', '\r'}, {' ', ' '}}},
      {"upper", {{'A', 'Z'}}},
      {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
      {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}},
  };
  const auto it = classes.find(name);
  return it == classes.end() ? nullptr : &it->second;
}

const CodePointRanges* unicode_category(std::string_view name) {
  static const auto categories = scan_categories();
  const auto it = categories.find(name);
  return it == categories.end() ? nullptr : &it->second;
}

}  // namespace octet::generate::grammar
