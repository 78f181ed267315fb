#pragma once

#include <string>

#include "input/tokenizer/tokenizer.h"

namespace octet::tokenizer {

/// Tokens to text as they come: never half a character. Bytes that end inside a character that
/// could still become valid are held back; what can't become valid is U+FFFD. All increments and
/// the flush joined are Tokenizer::decode of all ids. Outlived by the tokenizer.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  /// The text that the token completes; may be empty.
  std::string push(std::int32_t id);
  /// What is left at the end.
  std::string flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace octet::tokenizer
