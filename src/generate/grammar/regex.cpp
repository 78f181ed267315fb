#include <unordered_map>

#include "generate/grammar/char_sets.h"
#include "generate/grammar/pattern_reader.h"
#include "generate/grammar/sources.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

constexpr std::size_t kMaxRanges = 1 << 20;
constexpr std::size_t kNone = static_cast<std::size_t>(-1);

bool is_surrogate(char32_t c) {
  return c >= 0xD800 && c <= 0xDFFF;
}

// Recursive descent; groups nest at most kMaxNesting deep.
class RegexParser {
 public:
  explicit RegexParser(std::string_view pattern) : in_(pattern, "the regular expression") {}

  NodePtr parse() {
    auto result = alternatives(0, true);
    if (!in_.at_end()) in_.fail_at(in_.position(), "\")\" without \"(\"");
    return result.node;
  }

 private:
  // A part and where in it anchors are, if any: they must end up at the ends of the whole.
  struct Part {
    NodePtr node;
    std::size_t begins_at = kNone, ends_at = kNone;  // positions of a ^ and of a $ in it
  };

  // may_begin: nothing comes before, so "^" says nothing new.
  Part alternatives(int depth, bool may_begin) {
    Part result;
    std::vector<NodePtr> nodes;
    do {
      Part part = concatenation(depth, may_begin);
      nodes.push_back(std::move(part.node));
      if (part.begins_at != kNone) result.begins_at = part.begins_at;
      if (part.ends_at != kNone) result.ends_at = part.ends_at;
    } while (in_.take_if(U'|'));
    result.node = either(std::move(nodes));
    return result;
  }

  Part concatenation(int depth, bool may_begin) {
    Part result;
    std::vector<NodePtr> parts;
    while (!in_.at_end() && in_.peek() != '|' && in_.peek() != ')') {
      const auto begin = in_.position();
      if (in_.take_if(U'^') || in_.take_if("\\A")) {
        if (!may_begin || !parts.empty())
          in_.fail_at(begin, "an anchor that isn't at the beginning can't match");
        result.begins_at = begin;
        refuse_quantifier();
        continue;
      }
      if (in_.take_if(U'$') || in_.take_if("\\z")) {
        result.ends_at = begin;
        refuse_quantifier();
        continue;
      }
      if (result.ends_at != kNone)
        in_.fail_at(result.ends_at, "an anchor that isn't at the end can't match");
      Part part = atom(depth, may_begin && parts.empty());
      if (part.begins_at != kNone) result.begins_at = part.begins_at;
      if (part.ends_at != kNone) result.ends_at = part.ends_at;
      const auto quantifier = in_.position();
      if (const auto counts = repetitions()) {
        const auto anchor = part.begins_at != kNone ? part.begins_at : part.ends_at;
        if (anchor != kNone) in_.fail_at(anchor, "an anchor inside a repetition isn't supported");
        part.node = grammar::repeat(part.node, counts->first, counts->second);
        if (in_.peek() == '+')
          in_.fail_at(in_.position(), "possessive quantifiers aren't supported");
        in_.take_if(U'?');  // lazy: the same texts
        if (repetitions()) in_.fail_at(quantifier, "two quantifiers in a row; use a group");
      }
      parts.push_back(std::move(part.node));
    }
    result.node = join(std::move(parts));
    return result;
  }

  std::optional<std::pair<std::int64_t, std::int64_t>> repetitions() {
    if (in_.take_if(U'*')) return std::pair{std::int64_t{0}, kUnbounded};
    if (in_.take_if(U'+')) return std::pair{std::int64_t{1}, kUnbounded};
    if (in_.take_if(U'?')) return std::pair{std::int64_t{0}, std::int64_t{1}};
    return in_.counts(false);
  }

  void refuse_quantifier() {
    const auto begin = in_.position();
    if (repetitions()) in_.fail_at(begin, "there is nothing to repeat");
  }

  Part atom(int depth, bool may_begin) {
    const auto begin = in_.position();
    switch (const char32_t c = in_.take()) {
      case '(':
        return group(depth, may_begin, begin);
      case '[':
        return {class_of(begin, bracket(begin))};
      case '.':
        return {char_class({{'\n', '\n'}}, true)};
      case '*':
      case '+':
      case '?':
        in_.fail_at(begin, "there is nothing to repeat");
      case '\\':
        if (CodePointRanges ranges; class_escape(begin, ranges))
          return {class_of(begin, std::move(ranges))};
        return {character(escape(begin))};
      default:
        return {character(c)};
    }
  }

  Part group(int depth, bool may_begin, std::size_t begin) {
    if (depth >= kMaxNesting)
      in_.fail_at(begin, fmt::format("groups nest more than {} deep", kMaxNesting));
    if (in_.take_if(U'?')) {
      if (in_.rest().starts_with("=") || in_.rest().starts_with("!") ||
          in_.rest().starts_with("<=") || in_.rest().starts_with("<!"))
        in_.fail_at(begin, "look-ahead and look-behind aren't supported");
      if (in_.take_if("P<") || in_.take_if(U'<')) {
        const auto name = in_.position();
        while (!in_.at_end() && in_.peek() != '>') in_.take();
        if (in_.position() == name || !in_.take_if(U'>'))
          in_.fail_at(begin, "the group's name doesn't end");
      } else if (!in_.take_if(U':')) {
        in_.fail_at(begin, "flags and special groups aren't supported; (?:...) is");
      }
    }
    Part result = alternatives(depth + 1, may_begin);
    if (!in_.take_if(U')')) in_.fail_at(begin, "\"(\" without \")\"");
    return result;
  }

  // The same source text gives the same node: a class may be large, and a pattern full of it.
  NodePtr class_of(std::size_t begin, CodePointRanges ranges) {
    auto& node = classes_[std::string(in_.since(begin))];
    if (!node) {
      num_ranges_ += ranges.size();
      if (num_ranges_ > kMaxRanges) in_.fail_at(begin, "the pattern's classes are too large");
      node = char_class(std::move(ranges));
    }
    return node;
  }

  // After "\": a class of characters, if it is one.
  bool class_escape(std::size_t begin, CodePointRanges& ranges) {
    const char32_t c = in_.peek();
    if (const auto* perl = perl_class(c)) {
      in_.take();
      ranges.insert(ranges.end(), perl->begin(), perl->end());
      return true;
    }
    if (c != 'p' && c != 'P') return false;
    in_.take();
    bool negated = c == 'P';
    std::string_view name;
    if (in_.take_if(U'{')) {
      if (in_.take_if(U'^')) negated = !negated;
      const auto start = in_.position();
      while (!in_.at_end() && in_.peek() != '}') in_.take();
      name = in_.since(start);
      if (!in_.take_if(U'}')) in_.fail_at(begin, "\"{\" without \"}\"");
    } else {
      const auto start = in_.position();
      in_.take();
      name = in_.since(start);
    }
    const auto* category = unicode_category(name);
    if (!category)
      in_.fail_at(begin, fmt::format("\"{}\" is no general category of Unicode (L, Lu, Nd, ...); "
                                     "scripts aren't supported",
                                     name));
    if (negated) {
      const auto rest = complement(*category);
      ranges.insert(ranges.end(), rest.begin(), rest.end());
    } else {
      ranges.insert(ranges.end(), category->begin(), category->end());
    }
    return true;
  }

  // After "\": one character.
  char32_t escape(std::size_t begin) {
    char32_t c = in_.take();
    if (const auto control = control_escape(c)) return *control;
    switch (c) {
      case kEndOfText:
        in_.fail_at(begin, "\"\\\" at the end");
      case 'x':
        c = in_.take_if(U'{') ? in_.hex_in_braces(begin) : in_.hex(2, begin);
        break;
      case 'u':
        c = in_.take_if(U'{') ? in_.hex_in_braces(begin) : in_.hex(4, begin);
        // A pair of surrogates, as JSON and JavaScript write what lies beyond U+FFFF.
        if (c >= 0xD800 && c <= 0xDBFF && in_.take_if("\\u")) {
          const char32_t low = in_.hex(4, begin);
          if (low >= 0xDC00 && low <= 0xDFFF) c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        }
        break;
      case 'b':
      case 'B':
        in_.fail_at(begin, "word boundaries aren't supported");
      default:
        if (c >= '1' && c <= '9') in_.fail_at(begin, "back references aren't supported");
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80)
          in_.fail_at(begin, "unknown escape");
        return c;
    }
    if (is_surrogate(c)) in_.fail_at(begin, "half a pair of surrogates is no character");
    return c;
  }

  // After "[".
  CodePointRanges bracket(std::size_t begin) {
    CodePointRanges ranges;
    const bool negated = in_.take_if(U'^');
    for (bool first = true; first || in_.peek() != ']'; first = false) {
      const auto at = in_.position();
      if (in_.at_end()) in_.fail_at(begin, "\"[\" without \"]\"");
      if (in_.rest().starts_with("[:") && posix(at, ranges)) continue;
      char32_t low = in_.take();
      if (low == '\\') {
        if (class_escape(at, ranges)) continue;
        low = escape(at);
      }
      char32_t high = low;
      // A "-" before "]" is itself.
      if (in_.rest().size() >= 2 && in_.peek() == '-' && in_.rest()[1] != ']') {
        in_.take();
        const auto upper = in_.position();
        high = in_.take();
        if (high == '\\') {
          CodePointRanges none;
          if (class_escape(upper, none)) in_.fail_at(at, "a range needs a character at its end");
          high = escape(upper);
        }
        if (high < low) in_.fail_at(at, "the range's end lies before its beginning");
      }
      ranges.emplace_back(static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(high));
    }
    in_.take();
    return negated ? complement(std::move(ranges)) : ranges;
  }

  bool posix(std::size_t at, CodePointRanges& ranges) {
    // Letters up to ":]", otherwise "[" is itself. Names are short, which bounds the search.
    const auto end = in_.rest().substr(0, 16).find(":]");
    if (end == std::string_view::npos || end < 2) return false;
    auto name = in_.rest().substr(2, end - 2);
    const bool negated = name.starts_with("^");
    if (negated) name.remove_prefix(1);
    const auto* named = posix_class(name);
    if (!named) in_.fail_at(at, fmt::format("unknown class [:{}:]", name));
    const auto own = negated ? complement(*named) : *named;
    ranges.insert(ranges.end(), own.begin(), own.end());
    in_.go_to(in_.position() + end + 2);
    return true;
  }

  PatternReader in_;
  std::unordered_map<std::string, NodePtr> classes_;  // by their source text
  std::size_t num_ranges_ = 0;
};

}  // namespace

NodePtr regex(Rules&, std::string_view pattern) {
  return RegexParser(pattern).parse();
}

}  // namespace octet::generate::grammar
