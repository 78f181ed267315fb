#include "generate/grammar/schema_pattern.h"

#include <algorithm>
#include <vector>

#include "generate/grammar/json_text.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

constexpr int kMaxGroups = 16;

/// Where a regular expression's parts are, as far as anchors need it.
struct Outline {
  std::vector<std::string_view> alternatives;  ///< outside groups
  std::size_t inside = 0;  ///< > 0: all of it is one group; its text begins here and ends before
                           ///< the last character
  bool begins = false, ends = false;  ///< has a ^, a $ anywhere
};

Outline outline(std::string_view pattern) {
  Outline out;
  std::size_t begin = 0, closed_at = std::string_view::npos;
  int depth = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    switch (pattern[i]) {
      case '\\':
        ++i;
        break;
      case '[':
        // A class: up to the first ] that isn't its first character.
        ++i;
        if (i < pattern.size() && pattern[i] == '^') ++i;
        if (i < pattern.size() && pattern[i] == ']') ++i;
        for (; i < pattern.size() && pattern[i] != ']'; ++i) {
          if (pattern[i] == '\\')
            ++i;
          else if (pattern.substr(i).starts_with("[:"))
            i = std::min(pattern.find(":]", i), pattern.size() - 1);
        }
        break;
      case '(':
        ++depth;
        break;
      case ')':
        if (--depth == 0 && closed_at == std::string_view::npos) closed_at = i;
        break;
      case '^':
        out.begins = true;
        break;
      case '$':
        out.ends = true;
        break;
      case '|':
        if (depth != 0) break;
        out.alternatives.push_back(pattern.substr(begin, i - begin));
        begin = i + 1;
        break;
      default:
        break;
    }
  }
  out.alternatives.push_back(pattern.substr(begin));
  if (out.alternatives.size() == 1 && pattern.starts_with('(') && closed_at == pattern.size() - 1) {
    if (pattern.starts_with("(?:"))
      out.inside = 3;
    else if (!pattern.starts_with("(?"))
      out.inside = 1;
  }
  return out;
}

bool ends_with_anchor(std::string_view text) {
  if (!text.ends_with('$')) return false;
  std::size_t backslashes = 0;
  for (std::size_t i = text.size() - 1; i-- > 0 && text[i] == '\\';) ++backslashes;
  return backslashes % 2 == 0;
}

/// from_start, to_end: an anchor around says so.
void add_alternatives(Rules& rules, std::string_view pattern, bool from_start, bool to_end,
                      int groups, std::vector<NodePtr>& choices) {
  for (std::string_view text : outline(pattern).alternatives) {
    bool starts = from_start, ends = to_end;
    if (text.starts_with('^')) {
      text.remove_prefix(1);
      starts = true;
    }
    if (ends_with_anchor(text)) {
      text.remove_suffix(1);
      ends = true;
    }
    const Outline inner = outline(text);
    if (inner.inside > 0 && groups < kMaxGroups && (inner.begins || inner.ends)) {
      add_alternatives(rules, text.substr(inner.inside, text.size() - inner.inside - 1), starts,
                       ends, groups + 1, choices);
      continue;
    }
    if ((inner.begins && !starts) || (inner.ends && !ends))
      fail(ErrorCode::invalid_argument,
           "in the pattern `{}` an anchor is inside: `^` and `$` may stand at the ends of the "
           "pattern's alternatives",
           pattern.substr(0, 200));
    const NodePtr any = repeat(any_character(), 0, kUnbounded);
    std::vector<NodePtr> parts;
    if (!starts) parts.push_back(any);
    parts.push_back(regex(rules, text));
    if (!ends) parts.push_back(any);
    choices.push_back(parts.size() == 1 ? parts[0] : sequence(std::move(parts)));
  }
}

}  // namespace

NodePtr schema_pattern(Rules& rules, std::string_view pattern) {
  std::vector<NodePtr> choices;
  add_alternatives(rules, pattern, false, false, 0, choices);
  return choices.size() == 1 ? choices[0] : choice(std::move(choices));
}

bool beyond_regular(std::string_view pattern) {
  for (std::size_t i = 0; i + 1 < pattern.size(); ++i) {
    const std::string_view rest = pattern.substr(i);
    if (rest[0] == '\\') {
      if (rest[1] >= '1' && rest[1] <= '9') return true;
      ++i;
      continue;
    }
    for (const std::string_view look : {"(?=", "(?!", "(?<=", "(?<!", "(?>"})
      if (rest.starts_with(look)) return true;
  }
  return false;
}

NamePattern::NamePattern(std::string_view pattern) {
  static const auto kNoTokens =
      std::make_shared<const Vocabulary>(std::vector<std::string>{}, std::vector<std::int32_t>{});
  Rules rules;
  rules.root = rules.add("pattern");
  NodePtr body = schema_pattern(rules, pattern);
  rules.rules[static_cast<std::size_t>(rules.root)].body = std::move(body);
  grammar_ = CompiledGrammar::compile(std::move(rules), kNoTokens);
}

bool NamePattern::matches(std::string_view name) const {
  if (!grammar_) return false;
  GrammarMatcher matcher(grammar_);
  return matcher.accept_bytes(name) && matcher.may_end();
}

}  // namespace octet::generate::grammar
