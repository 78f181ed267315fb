// tokenizer.json: what octet understands is read, everything else is refused by name, since a part
// that is silently left out would change ids.

#include <algorithm>
#include <charconv>

#include "input/tokenizer/tokenizer_parts.h"
#include "input/tokenizer/unicode.h"
#include "runtime/base/error.h"

namespace octet::tokenizer {

class TokenizerLoader {
 public:
  explicit TokenizerLoader(std::string where) : where_(std::move(where)) {}

  Tokenizer load(const json::value& file, const json::value& config) {
    const json::object& root = object(file, "the file");
    read_normalizer(member(root, "normalizer"));
    read_pre_tokenizer(member(root, "pre_tokenizer"));
    const json::value& decoder = member(root, "decoder");
    if (type_of(decoder, "decoder") != "ByteLevel") unsupported("decoder", decoder);
    read_model(object(member(root, "model"), "model"));
    if (const json::value* added = root.if_contains("added_tokens"))
      for (const json::value& token : array(*added, "added_tokens")) read_added(token, nullptr);
    if (config.is_object())
      if (const json::value* more = config.get_object().if_contains("added_tokens_decoder"))
        for (const auto& [key, token] : object(*more, "added_tokens_decoder")) {
          const std::string id(key);
          read_added(token, &id);
        }
    for (auto& bucket : parts_->added)
      std::ranges::stable_sort(bucket, [](const AddedToken& a, const AddedToken& b) {
        return a.content.size() > b.content.size();
      });
    result_.parts_ = parts_;
    return std::move(result_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::bad_data, "{}: {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void unsupported(const char* what, const json::value& v) const {
    std::string text = to_json(v);
    if (text.size() > 200) text = text.substr(0, 200) + "...";
    bad("{} is not one that octet knows (byte-level BPE with NFC): {}", what, text);
  }

  const json::object& object(const json::value& v, const char* what) const {
    if (!v.is_object()) bad("{}: expected an object", what);
    return v.get_object();
  }
  const json::array& array(const json::value& v, const char* what) const {
    if (!v.is_array()) bad("{}: expected a list", what);
    return v.get_array();
  }
  // A missing key reads as null.
  static const json::value& member(const json::object& o, const char* key) {
    static const json::value null;
    const json::value* v = o.if_contains(key);
    return v ? *v : null;
  }
  std::string type_of(const json::value& v, const char* what) const {
    const json::value& type = member(object(v, what), "type");
    if (!type.is_string()) bad("{}: no type", what);
    return std::string(type.get_string());
  }
  static bool is_true(const json::object& o, const char* key) {
    const json::value& v = member(o, key);
    return v.is_bool() && v.get_bool();
  }
  std::int32_t id(const json::value& v, const std::string& token) const {
    // Sparse ids cost memory: far beyond any vocabulary they are a damaged file.
    if (!v.is_int64() || v.get_int64() < 0 || v.get_int64() >= 1 << 24)
      bad("token `{}`: id {} is not a number from 0 to {}", token, to_json(v), (1 << 24) - 1);
    return static_cast<std::int32_t>(v.get_int64());
  }

  void read_normalizer(const json::value& v) {
    if (v.is_null()) return;
    if (type_of(v, "normalizer") != "NFC") unsupported("normalizer", v);
    parts_->nfc = true;
  }

  void read_pre_tokenizer(const json::value& v) {
    const std::string type = type_of(v, "pre_tokenizer");
    const json::object& o = v.get_object();
    if (type == "Sequence") {
      for (const json::value& item : array(member(o, "pretokenizers"), "pretokenizers"))
        read_pre_tokenizer(item);
    } else if (type == "Split") {
      const json::value& pattern = member(o, "pattern");
      const json::value& regex =
          pattern.is_object() ? member(pattern.get_object(), "Regex") : pattern;
      const json::value& behavior = member(o, "behavior");
      if (!regex.is_string() || !behavior.is_string() || behavior.get_string() != "Isolated" ||
          is_true(o, "invert"))
        unsupported("pre_tokenizer", v);
      try {
        parts_->splits.emplace_back(std::string(regex.get_string()));
      } catch (const Error& e) {
        bad("{}", e.what());
      }
    } else if (type == "ByteLevel") {
      if (is_true(o, "add_prefix_space") || is_true(o, "use_regex"))
        unsupported("pre_tokenizer", v);
    } else {
      unsupported("pre_tokenizer", v);
    }
  }

  // Takes the token's place in the tables. Errors if the id has another token.
  void add(std::int32_t id, std::string bytes, bool special) {
    if (id >= result_.size()) result_.tokens_.resize(static_cast<std::size_t>(id) + 1);
    auto& token = result_.tokens_[static_cast<std::size_t>(id)];
    if (token.exists && token.bytes != bytes)
      bad("id {} belongs to two tokens, `{}` and `{}`", id, token.bytes, bytes);
    token = {bytes, true, special};
    result_.by_bytes_.emplace(std::move(bytes), id);
  }

  void read_model(const json::object& model) {
    const json::value& type = member(model, "type");
    if (!type.is_string() || type.get_string() != "BPE") unsupported("model", type);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json::value& v = member(model, key);
      if (!v.is_null() && !(v.is_string() && v.get_string().empty())) unsupported(key, v);
    }
    for (const char* key : {"byte_fallback", "ignore_merges"})
      if (is_true(model, key)) unsupported(key, member(model, key));

    const json::object& vocab = object(member(model, "vocab"), "vocab");
    result_.by_bytes_.reserve(vocab.size() + 64);
    for (const auto& [key, value] : vocab) {
      const std::string name(key);
      const std::int32_t token = id(value, name);
      // A token with characters outside the byte map can't come out of merging; it keeps its place.
      add(token, bytes_of_token(name).value_or(name), false);
    }
    std::array<std::int32_t, 256> byte_ids{};
    for (std::size_t b = 0; b < 256; ++b) {
      const auto it = result_.by_bytes_.find(std::string(1, static_cast<char>(b)));
      if (it == result_.by_bytes_.end()) bad("vocab: no token for byte 0x{:02x}", b);
      byte_ids[b] = it->second;
    }
    parts_->bpe.emplace(byte_ids, read_merges(member(model, "merges")));
  }

  std::vector<Bpe::Merge> read_merges(const json::value& v) {
    std::vector<Bpe::Merge> merges;
    const json::array& list = array(v, "merges");
    merges.reserve(list.size());
    const auto find = [&](const std::string& bytes, std::size_t rank) {
      const auto it = result_.by_bytes_.find(bytes);
      if (it == result_.by_bytes_.end())
        bad("merges: entry {} needs a token `{}` that the vocabulary lacks", rank, bytes);
      return it->second;
    };
    for (const json::value& item : list) {
      // ["a", "b"], or "a b" in older files.
      std::string left, right;
      if (item.is_array() && item.get_array().size() == 2 && item.get_array()[0].is_string() &&
          item.get_array()[1].is_string()) {
        left = std::string(item.get_array()[0].get_string());
        right = std::string(item.get_array()[1].get_string());
      } else if (item.is_string()) {
        const std::string text(item.get_string());
        const auto space = text.find(' ');
        if (space == std::string::npos) bad("merges: entry {} is `{}`", merges.size(), text);
        left = text.substr(0, space);
        right = text.substr(space + 1);
      } else {
        bad("merges: entry {} is neither a pair nor a string", merges.size());
      }
      const auto a = bytes_of_token(left), b = bytes_of_token(right);
      if (!a || !b) bad("merges: entry {} has characters that stand for no byte", merges.size());
      const std::size_t rank = merges.size();
      merges.push_back({find(*a, rank), find(*b, rank), find(*a + *b, rank)});
    }
    return merges;
  }

  // key: the id where the file keeps it outside (tokenizer_config.json).
  void read_added(const json::value& v, const std::string* key) {
    const json::object& o = object(v, "added token");
    const json::value& content = member(o, "content");
    if (!content.is_string() || content.get_string().empty()) bad("an added token without content");
    const std::string text(content.get_string());
    std::int32_t number = 0;
    if (key) {
      const auto [end, error] = std::from_chars(key->data(), key->data() + key->size(), number);
      if (error != std::errc{} || end != key->data() + key->size() || number < 0 ||
          number >= 1 << 24)
        bad("added_tokens_decoder: `{}` is no token id", *key);
    } else {
      number = id(member(o, "id"), text);
    }
    for (const char* flag : {"lstrip", "rstrip", "single_word", "normalized"})
      if (is_true(o, flag)) unsupported(flag, v);
    auto& bucket = parts_->added[static_cast<unsigned char>(text[0])];
    const auto same = std::ranges::find(bucket, text, &AddedToken::content);
    if (same != bucket.end()) {
      if (same->id != number) bad("added token `{}` has ids {} and {}", text, same->id, number);
      return;
    }
    add(number, bytes_of_token(text).value_or(text), is_true(o, "special"));
    bucket.push_back({text, number});
  }

  std::string where_;
  Tokenizer result_;
  std::shared_ptr<Tokenizer::Parts> parts_ = std::make_shared<Tokenizer::Parts>();
};

Tokenizer Tokenizer::parse(const json::value& tokenizer, const json::value& config,
                           const std::string& where) {
  return TokenizerLoader(where).load(tokenizer, config);
}

Tokenizer Tokenizer::load(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer.json", config = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(path))
    fail(ErrorCode::not_found, "{} has no tokenizer.json", folder.string());
  return parse(read_json(path), std::filesystem::exists(config) ? read_json(config) : json::value(),
               path.string());
}

}  // namespace octet::tokenizer
