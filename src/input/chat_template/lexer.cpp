#include "input/chat_template/lexer.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "input/chat_template/text.h"
#include "runtime/base/error.h"

namespace octet::chat_template {

namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || (c >= '\n' && c <= '\r');
}
bool is_name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  Lexer(std::string source, const std::string& name) : s_(std::move(source)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < s_.size()) {
      const std::size_t tag = find_tag();
      const std::size_t begin = at_;
      if (tag == std::string::npos) {
        emit(TokenKind::data, s_.substr(begin));
        count_lines(begin, s_.size());
        at_ = s_.size();
        break;
      }
      const char kind = s_[tag + 1];
      const char sign = tag + 2 < s_.size() ? s_[tag + 2] : '\0';
      std::string text = s_.substr(begin, tag - begin);
      if (sign == '-') {
        while (!text.empty() && is_blank(text.back())) text.pop_back();
      } else if (sign != '+' && kind != '{') {
        strip_line(text);
      }
      emit(TokenKind::data, std::move(text));
      count_lines(begin, tag);
      at_ = tag + 2;
      if (sign == '-' || (sign == '+' && kind != '{')) ++at_;
      if (kind == '#')
        comment();
      else if (kind == '{')
        expression(TokenKind::variable_begin, TokenKind::variable_end, "}}");
      else if (!raw())
        expression(TokenKind::block_begin, TokenKind::block_end, "%}");
    }
    emit(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::bad_data, "{}, line {}: {}", name_, line_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  void emit(TokenKind kind, std::string text) {
    if (kind == TokenKind::data && text.empty()) return;
    tokens_.push_back({kind, std::move(text), line_});
  }

  void count_lines(std::size_t begin, std::size_t end) {
    line_ += static_cast<int>(std::count(s_.begin() + static_cast<std::ptrdiff_t>(begin),
                                         s_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
  }

  std::size_t find_tag() const {
    for (std::size_t i = at_; i + 1 < s_.size(); ++i)
      if (s_[i] == '{' && (s_[i + 1] == '{' || s_[i + 1] == '%' || s_[i + 1] == '#')) return i;
    return std::string::npos;
  }

  // lstrip_blocks: blanks between the line's begin and a block tag go, if there is nothing else.
  void strip_line(std::string& text) const {
    const std::size_t newline = text.rfind('\n');
    if (newline == std::string::npos && !line_starts_) return;
    const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
    if (std::all_of(text.begin() + static_cast<std::ptrdiff_t>(begin), text.end(), is_blank))
      text.resize(begin);
  }

  // Behind a tag: "-" takes all blanks, otherwise a block or comment takes one newline, unless "+".
  void after_tag(char sign, bool trim_newline) {
    const std::size_t begin = at_;
    if (sign == '-')
      while (at_ < s_.size() && is_blank(s_[at_])) ++at_;
    else if (trim_newline && sign != '+' && at_ < s_.size() && s_[at_] == '\n')
      ++at_;
    count_lines(begin, at_);
    line_starts_ = at_ > begin && s_[at_ - 1] == '\n';
  }

  void comment() {
    const std::size_t end = s_.find("#}", at_);
    if (end == std::string::npos) bad("a comment is not closed by #}}");
    const char sign = end > at_ ? s_[end - 1] : '\0';
    count_lines(at_, end);
    at_ = end + 2;
    after_tag(sign, true);
  }

  // The closing marker with its sign at the cursor?
  bool closes(std::string_view marker, char& sign) {
    const std::string_view rest = std::string_view(s_).substr(at_);
    sign = '\0';
    if (rest.starts_with(marker)) return at_ += 2, true;
    const bool plus_allowed = marker == "%}";
    if (!rest.empty() && (rest[0] == '-' || (plus_allowed && rest[0] == '+')) &&
        rest.substr(1).starts_with(marker)) {
      sign = rest[0];
      return at_ += 3, true;
    }
    return false;
  }

  // {% raw %} ... {% endraw %}: everything inside is text.
  bool raw() {
    std::size_t at = at_;
    while (at < s_.size() && is_blank(s_[at])) ++at;
    if (s_.compare(at, 3, "raw") != 0) return false;
    at += 3;
    while (at < s_.size() && is_blank(s_[at])) ++at;
    const std::size_t saved = at_;
    at_ = at;
    char sign = '\0';
    if (!closes("%}", sign)) return at_ = saved, false;
    after_tag(sign, true);
    const std::size_t begin = at_;
    for (std::size_t tag = s_.find("{%", begin); tag != std::string::npos;
         tag = s_.find("{%", tag + 2)) {
      at_ = tag + 2;
      const char open_sign =
          at_ < s_.size() && (s_[at_] == '-' || s_[at_] == '+') ? s_[at_++] : '\0';
      while (at_ < s_.size() && is_blank(s_[at_])) ++at_;
      if (s_.compare(at_, 6, "endraw") != 0) continue;
      at_ += 6;
      while (at_ < s_.size() && is_blank(s_[at_])) ++at_;
      if (!closes("%}", sign)) continue;
      std::string text = s_.substr(begin, tag - begin);
      if (open_sign == '-')
        while (!text.empty() && is_blank(text.back())) text.pop_back();
      else if (open_sign != '+')
        strip_line(text);
      emit(TokenKind::data, std::move(text));
      count_lines(begin, at_);
      after_tag(sign, true);
      return true;
    }
    bad("a raw block is not closed by endraw");
  }

  void expression(TokenKind begin, TokenKind end, std::string_view marker) {
    emit(begin, "");
    std::string brackets;
    for (;;) {
      while (at_ < s_.size() && is_blank(s_[at_])) {
        if (s_[at_] == '\n') ++line_;
        ++at_;
      }
      if (at_ >= s_.size()) bad("unexpected end of template, a tag is not closed by {}", marker);
      char sign = '\0';
      if (brackets.empty() && closes(marker, sign)) {
        emit(end, "");
        after_tag(sign, marker == "%}");
        return;
      }
      token(brackets);
    }
  }

  void token(std::string& brackets) {
    const char c = s_[at_];
    if (is_name_start(c)) {
      const std::size_t begin = at_;
      while (at_ < s_.size() && (is_name_start(s_[at_]) || is_digit(s_[at_]))) ++at_;
      return emit(TokenKind::name, s_.substr(begin, at_ - begin));
    }
    if (is_digit(c)) return number();
    if (c == '\'' || c == '"') return string(c);
    static constexpr std::array<std::string_view, 27> kOperators{
        "==", "!=", "<=", ">=", "//", "**", "<", ">", "=", "+", "-", "*", "/", "%",
        "~",  "|",  ".",  ",",  ":",  "(",  ")", "[", "]", "{", "}", ";", "!"};
    for (const std::string_view op : kOperators) {
      if (std::string_view(s_).substr(at_, op.size()) != op) continue;
      if (op == "(" || op == "[" || op == "{") brackets += op[0];
      if (op == ")" || op == "]" || op == "}") {
        const char open = op == ")" ? '(' : op == "]" ? '[' : '{';
        if (brackets.empty() || brackets.back() != open) bad("unexpected `{}`", op);
        brackets.pop_back();
      }
      at_ += op.size();
      return emit(TokenKind::op, std::string(op));
    }
    bad("unexpected character `{}`", c);
  }

  void number() {
    const std::size_t begin = at_;
    const auto digits = [&] {
      while (at_ < s_.size() && (is_digit(s_[at_]) ||
                                 (s_[at_] == '_' && at_ + 1 < s_.size() && is_digit(s_[at_ + 1]))))
        ++at_;
    };
    digits();
    bool floating = false;
    // After a dot ("x.0.1") digits are two subscripts, not a fraction.
    const bool subscript =
        !tokens_.empty() && tokens_.back().text == "." && tokens_.back().kind == TokenKind::op;
    if (!subscript && at_ + 1 < s_.size() && s_[at_] == '.' && is_digit(s_[at_ + 1])) {
      floating = true;
      ++at_;
      digits();
    }
    if (at_ < s_.size() && (s_[at_] == 'e' || s_[at_] == 'E')) {
      std::size_t next = at_ + 1;
      if (next < s_.size() && (s_[next] == '+' || s_[next] == '-')) ++next;
      if (next < s_.size() && is_digit(s_[next])) {
        floating = true;
        at_ = next;
        digits();
      }
    }
    std::string text = s_.substr(begin, at_ - begin);
    std::erase(text, '_');
    emit(floating ? TokenKind::floating : TokenKind::integer, std::move(text));
  }

  std::uint32_t hex(int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i, ++at_) {
      if (at_ >= s_.size() || !std::isxdigit(static_cast<unsigned char>(s_[at_])))
        bad("a string escape needs {} hexadecimal digits", count);
      const char c = s_[at_];
      value = value * 16 + static_cast<std::uint32_t>(is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
  }

  static void append_utf8(std::string& out, std::uint32_t c) {
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = 0xfffd;
    if (c < 0x80) {
      out += static_cast<char>(c);
      return;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    constexpr std::uint32_t kLead[] = {0, 0xc0, 0xe0, 0xf0};
    out += static_cast<char>(kLead[more] | c >> (6 * more));
    for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | (c >> (6 * i) & 0x3f));
  }

  void string(char quote) {
    std::string out;
    for (++at_; at_ < s_.size() && s_[at_] != quote;) {
      if (s_[at_] == '\n') ++line_;
      if (s_[at_] != '\\') {
        out += s_[at_++];
        continue;
      }
      if (++at_ >= s_.size()) break;
      const char c = s_[at_++];
      switch (c) {
        case 'n':
          out += '\n';
          break;
        case 't':
          out += '\t';
          break;
        case 'r':
          out += '\r';
          break;
        case 'b':
          out += '\b';
          break;
        case 'f':
          out += '\f';
          break;
        case 'v':
          out += '\v';
          break;
        case 'a':
          out += '\a';
          break;
        case '0':
          out += '\0';
          break;
        case '\n':
          ++line_;
          break;
        case '\\':
        case '\'':
        case '"':
          out += c;
          break;
        case 'x':
          append_utf8(out, hex(2));
          break;
        case 'u':
          append_utf8(out, hex(4));
          break;
        case 'U':
          append_utf8(out, hex(8));
          break;
        default:
          out += '\\';
          out += c;  // Python keeps what it doesn't know
      }
    }
    if (at_ >= s_.size()) bad("a string is not closed by {}", quote);
    ++at_;
    emit(TokenKind::string, std::move(out));
  }

  std::string s_;
  const std::string& name_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // nothing but a newline right before the cursor
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& template_name) {
  // Line ends are LF; one at the end of the template doesn't count.
  std::string s;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      s += source[i];
      continue;
    }
    s += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!s.empty() && s.back() == '\n') s.pop_back();
  return Lexer(std::move(s), template_name).run();
}

}  // namespace octet::chat_template
