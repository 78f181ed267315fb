#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace octet::tokenizer {

/// Cuts text into pieces by a regular expression: each match is a piece, and so is what lies
/// between matches ("isolated" in tokenizer.json). Threads may share it.
class PreTokenizer {
 public:
  /// Errors: bad_data if the expression doesn't compile.
  explicit PreTokenizer(const std::string& pattern);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;

  /// text: valid UTF-8. Calls piece() for each piece in order.
  /// Errors: internal if the engine gives up on a text.
  void split(std::string_view text, const std::function<void(std::string_view)>& piece) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace octet::tokenizer
