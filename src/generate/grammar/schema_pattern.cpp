#include <algorithm>
#include <vector>

#include "generate/grammar/json_text.h"
#include "generate/grammar/schema_rules.h"

namespace octet::generate::grammar {
namespace {

/// The alternatives that `|` separates outside groups and classes. Groups: whether the whole text
/// is one group, and where its inside begins.
struct Split {
  std::vector<std::string_view> alternatives;
  std::size_t inside = 0;  ///< > 0: all of it is one group; its text begins here and ends before
                           ///< the last character
};

Split split(std::string_view pattern) {
  Split out;
  std::size_t begin = 0, closed_at = std::string_view::npos;
  int depth = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      ++i;
    } else if (c == '[') {
      // A class: up to the first ] that isn't its first character.
      ++i;
      if (i < pattern.size() && pattern[i] == '^') ++i;
      if (i < pattern.size() && pattern[i] == ']') ++i;
      for (; i < pattern.size() && pattern[i] != ']'; ++i) {
        if (pattern[i] == '\\') ++i;
        else if (pattern.substr(i).starts_with("[:")) i = std::min(pattern.find(":]", i), pattern.size() - 1);
      }
    } else if (c == '(') {
      ++depth;
    } else if (c == ')') {
      if (--depth == 0 && closed_at == std::string_view::npos) closed_at = i;
    } else if (c == '|' && depth == 0) {
      out.alternatives.push_back(pattern.substr(begin, i - begin));
      begin = i + 1;
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

}  // namespace

NodePtr schema_pattern(Rules& rules, std::string_view pattern) {
  const Split parts = split(pattern);
  // Anchors inside a group around everything: the group's alternatives have them. Groups within
  // groups within groups... take one turn each.
  if (parts.inside > 0) {
    std::string_view inner = pattern;
    Split inner_parts = parts;
    for (int turn = 0; inner_parts.inside > 0 && turn < 16; ++turn) {
      inner = inner.substr(inner_parts.inside, inner.size() - inner_parts.inside - 1);
      inner_parts = split(inner);
    }
    if (inner_parts.inside == 0) return schema_pattern(rules, inner);
  }
  const NodePtr any = repeat(any_character(), 0, kUnbounded);
  std::vector<NodePtr> choices;
  for (std::string_view text : parts.alternatives) {
    const bool from_start = text.starts_with('^');
    if (from_start) text.remove_prefix(1);
    const bool to_end = ends_with_anchor(text);
    if (to_end) text.remove_suffix(1);
    std::vector<NodePtr> sequence_parts;
    if (!from_start) sequence_parts.push_back(any);
    sequence_parts.push_back(regex(rules, text));
    if (!to_end) sequence_parts.push_back(any);
    choices.push_back(sequence_parts.size() == 1 ? sequence_parts[0]
                                                 : sequence(std::move(sequence_parts)));
  }
  return choices.size() == 1 ? choices[0] : choice(std::move(choices));
}

}  // namespace octet::generate::grammar
