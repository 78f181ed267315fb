#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "generate/grammar/rules.h"

namespace octet::generate::grammar {

inline constexpr char32_t kEndOfText = 0xFFFFFFFF;
/// Of parentheses inside each other, in regular expressions and in EBNF.
inline constexpr int kMaxNesting = 200;
/// Of {min,max}.
inline constexpr std::int64_t kMaxRepetitions = 10'000;
inline constexpr std::size_t kMaxPatternBytes = 1 << 20;

/// A source text, read code point by code point.
class PatternReader {
 public:
  /// Errors: invalid_argument for text that is too long or isn't UTF-8. what: "the regular
  /// expression", for messages.
  PatternReader(std::string_view text, std::string what);

  char32_t peek() const;  ///< kEndOfText at the end
  char32_t take();
  bool take_if(char32_t c);
  bool take_if(std::string_view text);
  bool at_end() const { return at_ == text_.size(); }
  std::size_t position() const { return at_; }
  void go_to(std::size_t position) { at_ = position; }
  std::string_view rest() const { return text_.substr(at_); }
  std::string_view since(std::size_t begin) const { return text_.substr(begin, at_ - begin); }

  /// Throws invalid_argument: what, `where(position)`, message.
  [[noreturn]] void fail_at(std::size_t position, const std::string& message) const;
  /// How a position is written in messages; as "position 12" unless set.
  std::function<std::string(std::size_t)> where;

  /// So many hexadecimal digits, as a code point (surrogates too). begin: of the escape.
  char32_t hex(int digits, std::size_t begin);
  /// After "\x{" or the like: digits up to "}".
  char32_t hex_in_braces(std::size_t begin);
  /// "{m}", "{m,}", "{m,n}" and, if open_start, "{,n}": what stands at the position, if it is one
  /// of them. Errors: counts above kMaxRepetitions or in the wrong order.
  std::optional<std::pair<std::int64_t, std::int64_t>> counts(bool open_start);

 private:
  std::string_view text_;
  std::string what_;
  std::size_t at_ = 0;
};

/// What \n, \t, \r, \f, \v, \a and \0 stand for, by their letter.
std::optional<char32_t> control_escape(char32_t letter);

/// Children in order, with neighbouring literals joined.
NodePtr join(std::vector<NodePtr> parts);
/// A choice, or its only child.
NodePtr either(std::vector<NodePtr> alternatives);
/// A character as a literal; surrogates are a caller's error.
NodePtr character(char32_t c);

}  // namespace octet::generate::grammar
