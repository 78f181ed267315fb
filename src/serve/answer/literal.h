#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octet::serve {

/// A value that a model wrote as JSON, or as Python prints it ({'a': True, 'b': None, 'c': (1,
/// 2)}). Read by a parser of its own, never evaluated. Numbers keep their digits. A tree over the
/// text, which must outlive it: 16 bytes a node.
class Literal {
 public:
  enum class Syntax { json, python };
  enum class Kind : std::uint8_t { null, boolean, integer, real, string, array, object };
  /// Deepest nesting that is read.
  static constexpr int kMaxDepth = 64;

  /// None if the text is not one such value, is deeper than max_depth, or holds a number that is
  /// not finite. JSON's strings may hold raw control characters. Linear time, no recursion.
  static std::optional<Literal> parse(std::string_view text, Syntax syntax,
                                      int max_depth = kMaxDepth);
  /// JSON if it is that, else Python's.
  static std::optional<Literal> parse_either(std::string_view text, int max_depth = kMaxDepth);

  using Node = std::uint32_t;
  Node root() const { return 0; }
  Kind kind(Node n) const { return entries_[n].kind; }
  /// As it stands in the text.
  std::string_view source(Node n) const;
  bool truth(Node n) const { return source(n)[0] == 't' || source(n)[0] == 'T'; }
  /// A string's characters. Escapes that are no character (lone surrogates) are U+FFFD.
  std::string string(Node n) const;
  /// Items of an array; of an object: a string and its value, alternating.
  std::vector<Node> items(Node n) const;

 private:
  friend class LiteralParser;
  struct Entry {
    std::uint32_t begin, end;
    Node next;  // behind this value and all it holds
    Kind kind;
  };
  std::string_view text_;
  Syntax syntax_ = Syntax::json;
  std::vector<Entry> entries_;
};

/// A finite number of decimal digits with point and exponent, as a double; none beyond its range.
std::optional<double> to_double(std::string_view digits);

/// A JSON string.
std::string json_string(std::string_view text);

inline bool is_blank(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}
inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
/// Without blanks at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace octet::serve
