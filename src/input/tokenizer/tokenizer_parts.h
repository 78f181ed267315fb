// Inside of the tokenizer: what tokenizer.cpp and load_tokenizer.cpp share.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "input/tokenizer/bpe.h"
#include "input/tokenizer/pre_tokenizer.h"
#include "input/tokenizer/tokenizer.h"

namespace octet::tokenizer {

/// A token that is cut out of the raw text before anything else.
struct AddedToken {
  std::string content;
  std::int32_t id;
};

struct Tokenizer::Parts {
  bool nfc = false;
  std::vector<PreTokenizer> splits;  ///< applied one after the other
  std::optional<Bpe> bpe;
  /// By first byte, longest first.
  std::array<std::vector<AddedToken>, 256> added;
};

/// The character that stands for each byte in the files (GPT-2's map), as a code point.
const std::array<std::uint32_t, 256>& byte_characters();
/// The bytes of a token as the files write it; nullopt if a character stands for no byte.
std::optional<std::string> bytes_of_token(std::string_view token);

}  // namespace octet::tokenizer
