#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "serve/answer/answer_parser.h"
#include "serve/answer/coerce.h"

namespace octet::serve {

/// A name as models write it: blanks and quotes around it don't count.
std::string_view clean_name(std::string_view written);

/// The tools that an answer may call, by the names that models give them. Of tools with the same
/// name the last counts. Threads: one at a time.
class ToolSet {
 public:
  explicit ToolSet(std::vector<Tool> tools);

  /// By the exact name; else the only tool whose name differs by case, or by - and _.
  std::optional<std::size_t> find(std::string_view name) const;
  const std::string& name(std::size_t tool) const { return tools_[tool].name; }
  /// What gives its arguments their types; of an unknown tool, one for which all is text.
  Coercer& coercer(std::optional<std::size_t> tool);
  /// Bytes of the longest name of a property; 0 if it has none or isn't known.
  std::size_t longest_property(std::optional<std::size_t> tool) const {
    return tool ? longest_properties_[*tool] : 0;
  }

 private:
  std::vector<Tool> tools_;
  std::vector<Coercer> coercers_;
  std::vector<std::size_t> longest_properties_;
  Coercer unknown_;
  std::unordered_map<std::string, std::size_t> exact_;
  std::unordered_map<std::string, std::optional<std::size_t>> loose_;  // none: several
};

}  // namespace octet::serve
