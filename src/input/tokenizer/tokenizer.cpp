#include "input/tokenizer/tokenizer.h"

#include <algorithm>

#include "input/tokenizer/tokenizer_parts.h"
#include "input/tokenizer/unicode.h"

namespace octet::tokenizer {

const std::array<std::uint32_t, 256>& byte_characters() {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    std::uint32_t next = 256;
    // Printable bytes stand for themselves, the others for characters from U+0100 on.
    for (std::uint32_t b = 0; b < 256; ++b)
      t[b] = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae ? b : next++;
    return t;
  }();
  return table;
}

std::optional<std::string> bytes_of_token(std::string_view token) {
  static const auto reverse = [] {
    std::array<std::int16_t, 512> t;
    t.fill(-1);
    for (std::size_t b = 0; b < 256; ++b) t[byte_characters()[b]] = static_cast<std::int16_t>(b);
    return t;
  }();
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const std::uint32_t c = next_code_point(token, at);
    if (c >= reverse.size() || reverse[c] < 0) return std::nullopt;
    bytes += static_cast<char>(reverse[c]);
  }
  return bytes;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  const Segment segment{std::string(text), parse_special};
  return encode(std::span(&segment, 1));
}

std::vector<std::int32_t> Tokenizer::encode(std::span<const Segment> segments) const {
  // One text, since words may cross the seams; a special token must lie in readable parts.
  std::string text;
  std::vector<bool> readable;
  for (const Segment& segment : segments) {
    text += to_valid_utf8(segment.text);
    readable.resize(text.size(), segment.parse_special);
  }
  const auto stands_at = [&](const AddedToken& token, std::size_t at) {
    if (text.compare(at, token.content.size(), token.content) != 0) return false;
    for (std::size_t i = 0; i < token.content.size(); ++i)
      if (!readable[at + i]) return false;
    return true;
  };
  std::vector<std::int32_t> ids;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto& candidates = parts_->added[static_cast<unsigned char>(text[at])];
    const auto token = std::ranges::find_if(
        candidates, [&](const AddedToken& candidate) { return stands_at(candidate, at); });
    if (token == candidates.end()) {
      ++at;
      continue;
    }
    encode_plain(std::string_view(text).substr(begin, at - begin), ids);
    ids.push_back(token->id);
    begin = at += token->content.size();
  }
  encode_plain(std::string_view(text).substr(begin), ids);
  return ids;
}

std::vector<std::string> Tokenizer::pre_tokenize(std::string_view text) const {
  std::vector<std::string> pieces{parts_->nfc ? normalize_nfc(text) : std::string(text)};
  if (pieces[0].empty()) pieces.clear();
  for (const PreTokenizer& split : parts_->splits) {
    std::vector<std::string> finer;
    for (const std::string& piece : pieces)
      split.split(piece, [&](std::string_view p) { finer.emplace_back(p); });
    pieces = std::move(finer);
  }
  return pieces;
}

void Tokenizer::encode_plain(std::string_view text, std::vector<std::int32_t>& ids) const {
  if (text.empty()) return;
  const std::string normalized = parts_->nfc ? normalize_nfc(text) : std::string(text);
  if (parts_->splits.size() == 1) {
    parts_->splits[0].split(normalized,
                            [&](std::string_view piece) { parts_->bpe->encode(piece, ids); });
    return;
  }
  for (const std::string& piece : pre_tokenize(text)) parts_->bpe->encode(piece, ids);
}

std::string_view Tokenizer::bytes(std::int32_t id) const {
  return id >= 0 && id < size() ? std::string_view(tokens_[static_cast<std::size_t>(id)].bytes)
                                : std::string_view();
}

bool Tokenizer::is_special(std::int32_t id) const {
  return id >= 0 && id < size() && tokens_[static_cast<std::size_t>(id)].special;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string text;
  for (const std::int32_t id : ids)
    if (!skip_special || !is_special(id)) text += bytes(id);
  return to_valid_utf8(text);
}

std::optional<std::int32_t> Tokenizer::find(std::string_view token) const {
  const auto it = by_bytes_.find(std::string(token));
  return it == by_bytes_.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace octet::tokenizer
