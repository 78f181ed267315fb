#pragma once

#include <string_view>

namespace octet::serve {

/// The markers that structure an answer: one bit each. None begins another, and `<` stands in each
/// only at its beginning.
enum Tag : unsigned {
  kThink = 1,           ///< <think>
  kEndThink = 2,        ///< </think>
  kToolCall = 4,        ///< <tool_call>
  kEndToolCall = 8,     ///< </tool_call>
  kFunction = 16,       ///< <function=
  kEndFunction = 32,    ///< </function>
  kParameter = 64,      ///< <parameter=
  kEndParameter = 128,  ///< </parameter>
};

std::string_view spelling(Tag tag);
/// Whether a text is, or begins, one of a set of tags.
enum class TagMatch { no, begins, complete };
struct TagResult {
  TagMatch match = TagMatch::no;
  Tag tag = kThink;
};
TagResult match_tag(std::string_view text, unsigned set);

}  // namespace octet::serve
