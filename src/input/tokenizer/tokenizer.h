// input/tokenizer: text to token ids and back, exactly as the checkpoint's tokenizer.json says.
// Knows no chat format and no model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/json.h"

namespace octet::tokenizer {

/// A stretch of text that may or may not contain special tokens: what a user wrote must not turn
/// into <|im_end|>.
struct Segment {
  std::string text;
  bool parse_special = true;
};

/// A byte-level BPE tokenizer. Constant after construction; threads may share it.
class Tokenizer {
 public:
  /// Reads tokenizer.json, and from tokenizer_config.json the added tokens that it alone has.
  /// Errors: not_found; bad_data for damaged files and for parts that octet doesn't know.
  static Tokenizer load(const std::filesystem::path& folder);
  /// From parsed files; config may be null. `where` goes into messages.
  static Tokenizer parse(const json::value& tokenizer, const json::value& config,
                         const std::string& where);

  /// Bytes that are not UTF-8 count as U+FFFD. No token is added at the ends.
  /// parse_special: added tokens in the text become themselves, otherwise their letters do.
  std::vector<std::int32_t> encode(std::string_view text, bool parse_special = true) const;
  std::vector<std::int32_t> encode(std::span<const Segment> segments) const;

  /// Ids without a token add nothing. skip_special: leaves out tokens marked special.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;
  /// The bytes a token stands for; empty for an id without one. May be part of a character.
  std::string_view bytes(std::int32_t id) const;
  std::optional<std::int32_t> find(std::string_view token) const;
  bool is_special(std::int32_t id) const;
  /// One more than the highest id of a token.
  std::int64_t size() const { return static_cast<std::int64_t>(tokens_.size()); }

  /// The pieces that the regular expression makes of normalized text: for tests.
  std::vector<std::string> pre_tokenize(std::string_view text) const;

 private:
  friend class TokenizerLoader;
  struct Token {
    std::string bytes;
    bool exists = false, special = false;
  };
  struct Parts;
  void encode_plain(std::string_view text, std::vector<std::int32_t>& ids) const;

  std::vector<Token> tokens_;  // by id
  std::unordered_map<std::string, std::int32_t> by_bytes_;
  std::shared_ptr<const Parts> parts_;
};

}  // namespace octet::tokenizer
