#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "generate/grammar/sources.h"

namespace octet::generate::grammar {

/// JSON's own parts as nodes, in one style. Rules are added when first asked for. One thread.
class JsonText {
 public:
  JsonText(Rules& rules, const JsonStyle& style) : rules_(rules), style_(style) {}
  Rules& rules() { return rules_; }
  const JsonStyle& style() const { return style_; }

  NodePtr space();  ///< beside brackets
  NodePtr comma();
  NodePtr colon();
  NodePtr character();  ///< of a string: a code point or any escape of one
  NodePtr string();
  NodePtr integer();
  NodePtr number();
  NodePtr boolean();
  NodePtr value();
  NodePtr object();
  NodePtr array();
  /// Just this value; strings and numbers as to_json writes them (and 1.0 also as 1). Nesting: at
  /// most kMaxSchemaDepth.
  NodePtr constant(const json::value& value);

 private:
  struct Lazy {
    std::int32_t rule = -1;
  };
  template <typename Make>
  NodePtr once(Lazy& lazy, const char* name, const Make& make);
  Rules& rules_;
  JsonStyle style_;
  Lazy space_, comma_, colon_, character_, string_, integer_, number_, value_, object_, array_;
};

/// A node over the text of a string, as it is written in JSON: quotes, backslashes and control
/// characters escaped, everything else as it is. Takes rules over from `from`.
NodePtr escaped(Rules& into, const Rules& from, const NodePtr& node);
/// The node's rules taken over from `from`, otherwise as it is.
NodePtr imported(Rules& into, const Rules& from, const NodePtr& node);

/// Code points of a text that is valid UTF-8; invalid bytes count as U+FFFD.
std::vector<std::uint32_t> code_points(std::string_view text);
std::string to_utf8(std::uint32_t code_point);

/// Texts of code points of `alphabet` (a char_class) other than `names`, as JSON writes them or
/// (json = false) as they are. may_be_empty: the empty text is one of them. Size: linear in the
/// names.
NodePtr text_other_than(Rules& rules, std::span<const std::string> names, const NodePtr& alphabet,
                        bool json, bool may_be_empty);
/// Any Unicode character.
NodePtr any_character();

}  // namespace octet::generate::grammar
