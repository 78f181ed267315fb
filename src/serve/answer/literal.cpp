#include "serve/answer/literal.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace octet::serve {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

namespace {

// The decimal exponent of the first digit that counts: below zero for 0.1.
std::int64_t magnitude(std::string_view digits) {
  const std::size_t e = digits.find_first_of("eE");
  const std::string_view mantissa = digits.substr(0, e);
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::size_t first = mantissa.find_first_of("123456789");
  std::int64_t exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view power = digits.substr(e + 1);
    if (power.starts_with('+')) power.remove_prefix(1);
    if (std::from_chars(power.data(), power.data() + power.size(), exponent).ec != std::errc())
      exponent = power.starts_with('-') ? -(std::int64_t{1} << 60) : std::int64_t{1} << 60;
  }
  return exponent + static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first);
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

std::optional<std::uint32_t> read_hex(std::string_view text, std::size_t at, std::size_t count) {
  std::uint32_t value = 0;
  if (at + count > text.size()) return {};
  const char* end = text.data() + at + count;
  if (std::from_chars(text.data() + at, end, value, 16).ptr != end) return {};
  return value;
}

// The escape after the backslash at `at`; moves behind it. False if there is none such.
bool read_escape(std::string_view s, std::size_t& at, bool python, std::string& out) {
  const std::size_t backslash = at++;
  if (at >= s.size()) return false;
  const char c = s[at++];
  static constexpr std::string_view kNames = "\"\\bfnrt", kValues = "\"\\\b\f\n\r\t";
  if (const auto i = kNames.find(c); i != std::string_view::npos) {
    out += kValues[i];
    return true;
  }
  if (c == 'u' || (python && (c == 'x' || c == 'U'))) {
    const std::size_t count = c == 'u' ? 4 : c == 'x' ? 2 : 8;
    auto code = read_hex(s, at, count);
    if (!code) return false;
    at += count;
    if (*code >= 0xD800 && *code < 0xDC00 && s.substr(at, 2) == "\\u") {
      if (const auto low = read_hex(s, at + 2, 4); low && *low >= 0xDC00 && *low < 0xE000) {
        code = 0x10000 + ((*code - 0xD800) << 10) + (*low - 0xDC00);
        at += 6;
      }
    }
    append_utf8(out, *code);
    return true;
  }
  if (!python) {
    out += '/';
    return c == '/';
  }
  if (c == 'N') return false;  // by name: nobody's table of names is worth that
  if (c == '\n') return true;
  if (c == '\'' || c == 'a' || c == 'v') {
    out += c == 'a' ? '\a' : c == 'v' ? '\v' : c;
    return true;
  }
  if (c >= '0' && c < '8') {
    std::uint32_t code = static_cast<std::uint32_t>(c - '0');
    for (int i = 0; i < 2 && at < s.size() && s[at] >= '0' && s[at] < '8'; ++i)
      code = code * 8 + static_cast<std::uint32_t>(s[at++] - '0');
    append_utf8(out, code);
    return true;
  }
  out += s.substr(backslash, 2);  // Python keeps what it does not know
  return true;
}

// The string whose quote is at `at`; moves behind it.
bool read_string(std::string_view s, std::size_t& at, bool python, std::string& out) {
  const char quote = s[at++];
  while (at < s.size()) {
    if (s[at] == quote) return ++at, true;
    if (s[at] == '\\') {
      if (!read_escape(s, at, python, out)) return false;
    } else {
      out += s[at++];
    }
  }
  return false;
}

}  // namespace

std::optional<double> to_double(std::string_view digits) {
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double value = 0;
  const auto r = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (r.ec == std::errc::result_out_of_range) {
    const bool minus = digits.starts_with('-');
    if (magnitude(digits.substr(minus ? 1 : 0)) > 0) return {};
    return minus ? -0.0 : 0.0;
  }
  if (r.ec != std::errc() || r.ptr != digits.data() + digits.size()) return {};
  if (!(value >= std::numeric_limits<double>::lowest() &&
        value <= std::numeric_limits<double>::max()))
    return {};
  return value;
}

class LiteralParser {
 public:
  LiteralParser(Literal& out, int max_depth)
      : out_(out),
        text_(out.text_),
        python_(out.syntax_ == Literal::Syntax::python),
        max_depth_(static_cast<std::size_t>(std::max(0, max_depth))) {}

  bool run() {
    if (text_.size() >= std::numeric_limits<std::uint32_t>::max()) return false;
    for (bool comma = false;;) {
      skip_blanks();
      if (at_ >= text_.size()) return false;
      if (closes() && (open_.back().count == 0 || (comma && python_))) {
        if (!close(comma)) return false;
      } else if (!open_.empty() && open_.back().closer == '}' && !key()) {
        return false;
      } else if (opens()) {
        if (open_.size() >= max_depth_) return false;
        open();
        comma = false;
        continue;
      } else if (!scalar()) {
        return false;
      }
      // Behind a value: what it lies in goes on, or ends too.
      for (comma = false; !comma;) {
        if (open_.empty()) return skip_blanks(), at_ == text_.size();
        skip_blanks();
        if (at_ >= text_.size()) return false;
        if (text_[at_] == ',') {
          ++at_;
          ++open_.back().count;
          comma = true;
        } else if (closes()) {
          ++open_.back().count;
          if (!close(false)) return false;
        } else {
          return false;
        }
      }
    }
  }

 private:
  using Kind = Literal::Kind;
  struct Open {
    Literal::Node node;
    char closer;
    std::uint32_t count;
  };

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  void add(Kind kind, std::size_t begin) {
    const auto n = static_cast<Literal::Node>(out_.entries_.size());
    out_.entries_.push_back(
        {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(at_), n + 1, kind});
  }
  bool opens() const {
    return text_[at_] == '{' || text_[at_] == '[' || (python_ && text_[at_] == '(');
  }
  bool closes() const { return !open_.empty() && text_[at_] == open_.back().closer; }
  void open() {
    const char c = text_[at_++];
    open_.push_back({static_cast<Literal::Node>(out_.entries_.size()),
                     c == '{'   ? '}'
                     : c == '[' ? ']'
                                : ')',
                     0});
    add(c == '{' ? Kind::object : Kind::array, at_ - 1);
  }
  bool close(bool comma) {
    const Open& o = open_.back();
    if (o.closer == ')' && o.count == 1 && !comma) return false;  // (1) is no tuple
    ++at_;
    out_.entries_[o.node].end = static_cast<std::uint32_t>(at_);
    out_.entries_[o.node].next = static_cast<Literal::Node>(out_.entries_.size());
    open_.pop_back();
    return true;
  }
  bool key() {
    if (!quote() || !string()) return false;
    skip_blanks();
    if (at_ >= text_.size() || text_[at_++] != ':') return false;
    skip_blanks();
    return at_ < text_.size();
  }
  bool quote() const { return text_[at_] == '"' || (python_ && text_[at_] == '\''); }
  bool string() {
    const std::size_t begin = at_;
    scratch_.clear();
    if (!read_string(text_, at_, python_, scratch_)) return false;
    add(Kind::string, begin);
    return true;
  }
  bool scalar() {
    if (quote()) return string();
    const std::size_t begin = at_;
    static constexpr std::pair<std::string_view, Kind> kWords[] = {
        {"null", Kind::null}, {"true", Kind::boolean}, {"false", Kind::boolean},
        {"None", Kind::null}, {"True", Kind::boolean}, {"False", Kind::boolean},
    };
    for (std::size_t i = 0; i < (python_ ? 6 : 3); ++i) {
      if (!text_.substr(at_).starts_with(kWords[i].first)) continue;
      at_ += kWords[i].first.size();
      add(kWords[i].second, begin);
      return true;
    }
    return number();
  }
  std::size_t digits() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ - begin;
  }
  bool number() {
    const std::size_t begin = at_;
    if (text_[at_] == '-' || (python_ && text_[at_] == '+')) ++at_;
    const std::size_t first = at_, whole = digits();
    const bool zeros = whole > 1 && text_[first] == '0';
    std::size_t fraction = 0;
    bool real = false;
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      real = true;
      fraction = digits();
    }
    if (whole + fraction == 0) return false;
    if (!python_ && (zeros || whole == 0 || (real && fraction == 0))) return false;
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      real = true;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      if (digits() == 0) return false;
    }
    if (!real && zeros) return false;
    if (real && !to_double(text_.substr(begin, at_ - begin))) return false;
    add(real ? Kind::real : Kind::integer, begin);
    return true;
  }

  Literal& out_;
  std::string_view text_;
  bool python_;
  std::size_t max_depth_, at_ = 0;
  std::vector<Open> open_;
  std::string scratch_;
};

std::optional<Literal> Literal::parse(std::string_view text, Syntax syntax, int max_depth) {
  Literal l;
  l.text_ = text;
  l.syntax_ = syntax;
  if (!LiteralParser(l, max_depth).run()) return {};
  return l;
}

std::optional<Literal> Literal::parse_either(std::string_view text, int max_depth) {
  auto l = parse(text, Syntax::json, max_depth);
  return l ? l : parse(text, Syntax::python, max_depth);
}

std::string_view Literal::source(Node n) const {
  return text_.substr(entries_[n].begin, entries_[n].end - entries_[n].begin);
}

std::string Literal::string(Node n) const {
  std::string out;
  std::size_t at = entries_[n].begin;
  read_string(text_, at, syntax_ == Syntax::python, out);
  return out;
}

std::vector<Literal::Node> Literal::items(Node n) const {
  std::vector<Node> out;
  for (Node i = n + 1; i < entries_[n].next; i = entries_[i].next) out.push_back(i);
  return out;
}

}  // namespace octet::serve
