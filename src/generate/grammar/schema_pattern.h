#pragma once

#include <memory>
#include <string_view>

#include "generate/grammar/matcher.h"

namespace octet::generate::grammar {

/// A pattern of JSON schema: unanchored but for ^ and $ at the ends of its alternatives.
/// Errors: invalid_argument; as regex.
NodePtr schema_pattern(Rules& rules, std::string_view pattern);
/// Has what no regular language has (looking around, references to groups): ECMAScript's, but not
/// ours.
bool beyond_regular(std::string_view pattern);

/// A pattern made ready to be asked about names.
class NamePattern {
 public:
  NamePattern() = default;  ///< matches nothing
  /// Errors: invalid_argument; as schema_pattern.
  explicit NamePattern(std::string_view pattern);
  bool matches(std::string_view name) const;

 private:
  std::shared_ptr<const CompiledGrammar> grammar_;
};

}  // namespace octet::generate::grammar
