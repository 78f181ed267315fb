#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octet::chat_template {

/// A string that remembers which of its bytes came from the data (what a user wrote) and which from
/// the template: only the latter may become special tokens. Valid UTF-8.
class Text {
 public:
  Text() = default;
  Text(std::string_view s, bool from_user = false)  // NOLINT: literals are texts
      : bytes_(s), user_(s.size(), from_user ? '\1' : '\0') {}
  Text(const char* s) : Text(std::string_view(s)) {}  // NOLINT

  const std::string& str() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool from_user(std::size_t i) const { return user_[i] != 0; }

  Text substr(std::size_t begin, std::size_t count = std::string::npos) const;
  Text& operator+=(const Text& other);
  friend Text operator+(Text a, const Text& b) { return a += b; }
  bool operator==(const Text& other) const { return bytes_ == other.bytes_; }

  /// One text for each code point.
  std::vector<Text> characters() const;
  std::size_t num_characters() const;

 private:
  std::string bytes_, user_;
};

/// Python's idea of white space: str.isspace of one code point.
bool is_space(std::uint32_t code_point);
/// The code point at a byte of valid UTF-8; advances.
std::uint32_t decode_utf8(std::string_view s, std::size_t& at);

/// str.strip: characters of `chars` (null: white space) at the ends asked for.
Text strip(const Text& text, const Text* chars, bool left, bool right);
Text upper(const Text& text);
Text lower(const Text& text);
/// First character of each word (title) or of the text (capitalize) upper, the rest lower.
Text title(const Text& text);
Text capitalize(const Text& text);
bool is_letter(std::uint32_t code_point);

}  // namespace octet::chat_template
