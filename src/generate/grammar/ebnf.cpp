#include <algorithm>
#include <map>

#include "generate/grammar/char_sets.h"
#include "generate/grammar/pattern_reader.h"
#include "generate/grammar/sources.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

bool is_name(char32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.';
}

// Recursive descent; parentheses and suffixes nest at most kMaxNesting deep. Line ends are spaces:
// a rule ends where the next name with "::=" begins. So it reads both dialects.
class EbnfParser {
 public:
  explicit EbnfParser(std::string_view text) : in_(text, "the grammar"), text_(text) {
    in_.where = [this](std::size_t position) { return line_and_column(position); };
  }

  Rules parse() {
    for (skip(); !in_.at_end(); skip()) definition();
    for (std::size_t i = 0; i < rules_.rules.size(); ++i)
      if (!rules_.rules[i].body)
        in_.fail_at(first_use_[i],
                    fmt::format("rule \"{}\" is used but not defined", rules_.rules[i].name));
    const auto root = numbers_.find("root");
    if (root == numbers_.end())
      in_.fail_at(text_.size(), "there is no rule \"root\", where a text begins");
    rules_.root = root->second;
    return std::move(rules_);
  }

 private:
  std::string line_and_column(std::size_t position) const {
    const auto before = text_.substr(0, position);
    const auto line = std::ranges::count(before, '\n') + 1;
    const auto start = before.rfind('\n') + 1;  // npos + 1 is 0
    const auto column =
        1 + std::ranges::count_if(before.substr(start), [](char c) { return (c & 0xC0) != 0x80; });
    return fmt::format("line {}, column {}", line, column);
  }

  void skip() {
    while (!in_.at_end()) {
      const char32_t c = in_.peek();
      if (c == '#') {
        while (!in_.at_end() && in_.peek() != '\n') in_.take();
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        in_.take();
      } else {
        return;
      }
    }
  }

  std::string_view name() {
    const auto begin = in_.position();
    while (is_name(in_.peek())) in_.take();
    return in_.since(begin);
  }

  std::int32_t rule(std::string_view name, std::size_t position) {
    const auto [it, fresh] = numbers_.try_emplace(std::string(name), 0);
    if (fresh) {
      it->second = rules_.add(std::string(name));
      first_use_.push_back(position);
    }
    return it->second;
  }

  void definition() {
    const auto begin = in_.position();
    const auto own = name();
    if (own.empty()) in_.fail_at(begin, "expected a rule: name ::= ...");
    skip();
    if (!in_.take_if("::=")) in_.fail_at(in_.position(), "expected \"::=\" after the rule's name");
    const auto number = static_cast<std::size_t>(rule(own, begin));
    if (rules_.rules[number].body)
      in_.fail_at(begin, fmt::format("rule \"{}\" is defined twice", own));
    auto body = alternatives(0);
    if (in_.peek() == ')') in_.fail_at(in_.position(), "\")\" without \"(\"");
    rules_.rules[number].body = std::move(body);
  }

  NodePtr alternatives(int depth) {
    std::vector<NodePtr> nodes;
    do {
      nodes.push_back(concatenation(depth));
    } while (in_.take_if(U'|'));
    return either(std::move(nodes));
  }

  // The next rule's beginning, or the end.
  bool at_definition() {
    const auto begin = in_.position();
    const bool named = !name().empty();
    if (named) skip();
    const bool result = named && in_.rest().starts_with("::=");
    in_.go_to(begin);
    return result;
  }

  NodePtr concatenation(int depth) {
    std::vector<NodePtr> parts;
    for (skip(); !in_.at_end() && in_.peek() != '|' && in_.peek() != ')'; skip()) {
      if (is_name(in_.peek()) && at_definition()) {
        if (depth > 0) in_.fail_at(in_.position(), "a rule begins before \")\"");
        break;
      }
      parts.push_back(suffixed(depth));
    }
    return join(std::move(parts));
  }

  NodePtr suffixed(int depth) {
    auto node = element(depth);
    for (int suffixes = 0;; ++suffixes) {
      skip();
      const auto begin = in_.position();
      std::pair<std::int64_t, std::int64_t> counts;
      if (in_.take_if(U'*')) {
        counts = {0, kUnbounded};
      } else if (in_.take_if(U'+')) {
        counts = {1, kUnbounded};
      } else if (in_.take_if(U'?')) {
        counts = {0, 1};
      } else if (in_.peek() == '{') {
        const auto read = in_.counts(true);
        if (!read) in_.fail_at(begin, "expected {m}, {m,}, {m,n} or {,n}");
        counts = *read;
      } else {
        return node;
      }
      if (suffixes + depth >= kMaxNesting) in_.fail_at(begin, "too many suffixes");
      node = grammar::repeat(std::move(node), counts.first, counts.second);
    }
  }

  NodePtr element(int depth) {
    const auto begin = in_.position();
    if (is_name(in_.peek()) && in_.peek() != '.' && in_.peek() != '-') {
      const auto used = name();
      return rule_ref(rule(used, begin));
    }
    switch (in_.take()) {
      case '"':
        return quoted(begin);
      case '[':
        return bracket(begin);
      case '.':
        return char_class({{0, 0x10FFFF}});
      case '(': {
        if (depth >= kMaxNesting)
          in_.fail_at(begin, fmt::format("parentheses nest more than {} deep", kMaxNesting));
        if (in_.peek() == '=') in_.fail_at(begin, "look-ahead (= ...) isn't supported");
        auto node = alternatives(depth + 1);
        if (!in_.take_if(U')')) in_.fail_at(begin, "\"(\" without \")\"");
        return node;
      }
      case '<':
      case '!':
        in_.fail_at(begin, "tokens in a grammar aren't supported; write their text in quotes");
      default:
        in_.fail_at(begin, "expected a rule's name, \"text\", [characters], \".\" or \"(\"");
    }
  }

  // After "\": one character.
  char32_t escape(std::size_t begin) {
    char32_t c = in_.take();
    if (const auto control = control_escape(c)) return *control;
    switch (c) {
      case 'b':
        return '\b';
      case 'x':
        c = in_.hex(2, begin);
        break;
      case 'u':
        c = in_.hex(4, begin);
        break;
      case 'U':
        c = in_.hex(8, begin);
        break;
      default:
        if (c == kEndOfText || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            (c >= '1' && c <= '9') || c >= 0x80)
          in_.fail_at(begin, "unknown escape");
        return c;
    }
    if (c >= 0xD800 && c <= 0xDFFF)
      in_.fail_at(begin, "half a pair of surrogates is no character; use \\U with 8 digits");
    return c;
  }

  NodePtr quoted(std::size_t begin) {
    std::vector<NodePtr> parts;
    while (in_.peek() != '"') {
      const auto at = in_.position();
      if (in_.at_end() || in_.peek() == '\n')
        in_.fail_at(begin, "the text's closing \" is missing");
      char32_t c = in_.take();
      if (c == '\\') c = escape(at);
      parts.push_back(character(c));
    }
    in_.take();
    return parts.empty() ? literal("") : join(std::move(parts));
  }

  NodePtr bracket(std::size_t begin) {
    CodePointRanges ranges;
    const bool negated = in_.take_if(U'^');
    while (in_.peek() != ']') {
      const auto at = in_.position();
      if (in_.at_end() || in_.peek() == '\n') in_.fail_at(begin, "\"[\" without \"]\"");
      char32_t low = in_.take();
      if (low == '\\') {
        if (const auto* perl = perl_class(in_.peek())) {
          in_.take();
          ranges.insert(ranges.end(), perl->begin(), perl->end());
          continue;
        }
        low = escape(at);
      }
      char32_t high = low;
      if (in_.rest().size() >= 2 && in_.peek() == '-' && in_.rest()[1] != ']') {
        in_.take();
        const auto upper = in_.position();
        high = in_.take();
        if (high == '\\') high = escape(upper);
        if (high < low) in_.fail_at(at, "the range's end lies before its beginning");
      }
      ranges.emplace_back(static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(high));
    }
    in_.take();
    if (ranges.empty() && !negated) in_.fail_at(begin, "no character is in []");
    return char_class(std::move(ranges), negated);
  }

  PatternReader in_;
  std::string_view text_;
  Rules rules_;
  std::map<std::string, std::int32_t, std::less<>> numbers_;
  std::vector<std::size_t> first_use_;  // by rule
};

}  // namespace

Rules parse_ebnf(std::string_view text) {
  return EbnfParser(text).parse();
}

}  // namespace octet::generate::grammar
