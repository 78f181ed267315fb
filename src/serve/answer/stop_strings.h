#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octet::serve {

/// Finds the earliest of some strings in a text that comes in pieces, and holds back what could
/// begin one. serving.md §4.5. Linear in the text. Threads: one at a time.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops, bool include_in_output = false);
  /// The text that is certainly before a stop. After a match: what preceded it (with it, if it is
  /// to be included); later pushes return nothing.
  std::string push(std::string_view text);
  /// What was held back, at the answer's end.
  std::string flush();
  /// The string that was found.
  const std::optional<std::string>& matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  bool include_;
  std::string held_;
  std::size_t longest_ = 0;
  std::optional<std::string> matched_;
};

}  // namespace octet::serve
