#include "generate/grammar/pattern_reader.h"

#include "input/tokenizer/unicode.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

int hex_digit(char32_t c) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A') + 10;
  return -1;
}

}  // namespace

PatternReader::PatternReader(std::string_view text, std::string what)
    : where([](std::size_t position) { return fmt::format("position {}", position); }),
      text_(text),
      what_(std::move(what)) {
  if (text.size() > kMaxPatternBytes)
    fail(ErrorCode::invalid_argument, "{} has {} bytes; at most {} are possible", what_,
         text.size(), kMaxPatternBytes);
  if (tokenizer::to_valid_utf8(text) != text)
    fail(ErrorCode::invalid_argument, "{} is not valid UTF-8", what_);
}

char32_t PatternReader::peek() const {
  if (at_end()) return kEndOfText;
  auto at = at_;
  return tokenizer::next_code_point(text_, at);
}

char32_t PatternReader::take() {
  return at_end() ? kEndOfText : tokenizer::next_code_point(text_, at_);
}

bool PatternReader::take_if(char32_t c) {
  if (at_end() || peek() != c) return false;
  take();
  return true;
}

bool PatternReader::take_if(std::string_view text) {
  if (!rest().starts_with(text)) return false;
  at_ += text.size();
  return true;
}

void PatternReader::fail_at(std::size_t position, const std::string& message) const {
  fail(ErrorCode::invalid_argument, "{}, {}: {}", what_, where(position), message);
}

char32_t PatternReader::hex(int digits, std::size_t begin) {
  char32_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const int digit = hex_digit(peek());
    if (digit < 0) fail_at(begin, fmt::format("this escape needs {} hexadecimal digits", digits));
    take();
    value = value * 16 + static_cast<char32_t>(digit);
  }
  if (value > 0x10FFFF) fail_at(begin, "there is no character of this number");
  return value;
}

char32_t PatternReader::hex_in_braces(std::size_t begin) {
  char32_t value = 0;
  int digits = 0;
  for (; hex_digit(peek()) >= 0 && value <= 0x10FFFF; ++digits)
    value = value * 16 + static_cast<char32_t>(hex_digit(take()));
  if (digits == 0 || !take_if(U'}')) fail_at(begin, "expected hexadecimal digits and \"}\"");
  if (value > 0x10FFFF) fail_at(begin, "there is no character of this number");
  return value;
}

std::optional<std::pair<std::int64_t, std::int64_t>> PatternReader::counts(bool open_start) {
  const auto begin = at_;
  const auto number = [&]() -> std::optional<std::int64_t> {
    if (peek() < '0' || peek() > '9') return std::nullopt;
    std::int64_t value = 0;
    while (peek() >= '0' && peek() <= '9')
      value = std::min(value * 10 + static_cast<std::int64_t>(take() - '0'), kMaxRepetitions + 1);
    return value;
  };
  if (!take_if(U'{')) return std::nullopt;
  const auto min = number();
  const bool comma = take_if(U',');
  const auto max = comma ? number() : min;
  if (!take_if(U'}') || (!min && !(open_start && comma && max))) {
    at_ = begin;
    return std::nullopt;
  }
  const std::pair counts{min.value_or(0), max.value_or(kUnbounded)};
  if (counts.first > kMaxRepetitions || (max && *max > kMaxRepetitions))
    fail_at(begin, fmt::format("counts go up to {}", kMaxRepetitions));
  if (counts.first > counts.second)
    fail_at(begin, fmt::format("at least {} times, but at most {}", counts.first, counts.second));
  return counts;
}

std::optional<char32_t> control_escape(char32_t letter) {
  switch (letter) {
    case 'n':
      return U'\n';
    case 't':
      return U'\t';
    case 'r':
      return U'\r';
    case 'f':
      return U'\f';
    case 'v':
      return U'\v';
    case 'a':
      return U'\a';
    case '0':
      return U'\0';
    default:
      return std::nullopt;
  }
}

NodePtr join(std::vector<NodePtr> parts) {
  std::vector<NodePtr> joined;
  std::string bytes;
  const auto flush = [&] {
    if (!bytes.empty()) joined.push_back(literal(std::move(bytes)));
    bytes.clear();
  };
  for (auto& part : parts) {
    if (part->kind == NodeKind::literal) {
      bytes += part->bytes;
      continue;
    }
    flush();
    joined.push_back(std::move(part));
  }
  flush();
  return joined.size() == 1 ? std::move(joined[0]) : sequence(std::move(joined));
}

NodePtr either(std::vector<NodePtr> alternatives) {
  return alternatives.size() == 1 ? std::move(alternatives[0]) : choice(std::move(alternatives));
}

NodePtr character(char32_t c) {
  std::string bytes;
  tokenizer::append_utf8(bytes, static_cast<std::uint32_t>(c));
  return literal(std::move(bytes));
}

}  // namespace octet::generate::grammar
