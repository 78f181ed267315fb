#include <optional>
#include <unordered_map>

#include "export/gguf_metadata.h"
#include "runtime/base/error.h"
#include "runtime/base/json.h"
#include "runtime/base/mapped_file.h"

namespace octet::exporter {

namespace {

namespace fs = std::filesystem;
using checkpoint::GgufMetadata;

// Kinds of tokens by llama.cpp's numbers.
enum TokenType : std::int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

const json::value* member(const json::value& v, const char* key) {
  return v.is_object() ? v.get_object().if_contains(key) : nullptr;
}

std::string text_of(const json::value* v) {
  if (v && v->is_object()) v = member(*v, "content");
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

class Vocabulary {
 public:
  explicit Vocabulary(const checkpoint::Checkpoint& checkpoint)
      : folder_(checkpoint.folder()),
        file_(folder_ / "tokenizer.json"),
        size_(checkpoint.config().text.vocab_size),
        model_config_(checkpoint.config().raw),
        root_(read_json(file_)) {
    if (fs::exists(folder_ / "tokenizer_config.json"))
      config_ = read_json(folder_ / "tokenizer_config.json");
  }

  GgufMetadata metadata() {
    read_tokens();
    GgufMetadata m;
    m.emplace_back("tokenizer.ggml.model", std::string("gpt2"));
    m.emplace_back("tokenizer.ggml.pre", pre_tokenizer());
    m.emplace_back("tokenizer.ggml.tokens", std::move(tokens_));
    m.emplace_back("tokenizer.ggml.token_type", std::move(types_));
    m.emplace_back("tokenizer.ggml.merges", merges());
    for (const char* kind : {"bos", "eos", "unk", "pad"})
      if (const auto id = special_id(kind))
        m.emplace_back(fmt::format("tokenizer.ggml.{}_token_id",
                                   kind == std::string_view("pad") ? "padding" : kind),
                       *id);
    if (const json::value* add = member(config_, "add_bos_token"); add && add->is_bool())
      m.emplace_back("tokenizer.ggml.add_bos_token", add->get_bool());
    if (const std::string chat = chat_template(); !chat.empty())
      m.emplace_back("tokenizer.chat_template", chat);
    return m;
  }

 private:
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::bad_data, "{}: {}", file_.string(),
         fmt::format(format, std::forward<Args>(args)...));
  }

  void put(std::string token, const json::value& id, TokenType type) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= size_)
      bad("token `{}`: id {}, expected one below vocab_size = {}", token, to_json(id), size_);
    const auto i = static_cast<std::size_t>(id.get_int64());
    if (type != kNormal) ids_[token] = id.get_int64();
    tokens_[i] = std::move(token);
    types_[i] = type;
  }

  void put_added(const json::value& token, const json::value& id) {
    const std::string content = text_of(&token);
    const json::value* special = member(token, "special");
    // What looks like <|this|> controls the model, whatever the file calls it.
    const bool control = (special && special->is_bool() && special->get_bool()) ||
                         (content.starts_with("<|") && content.ends_with("|>"));
    put(content, id, control ? kControl : kUserDefined);
  }

  void read_tokens() {
    tokens_.resize(static_cast<std::size_t>(size_));
    types_.assign(static_cast<std::size_t>(size_), kUnused);
    for (std::size_t i = 0; i < tokens_.size(); ++i) tokens_[i] = fmt::format("[PAD{}]", i);
    const json::value* model = member(root_, "model");
    const json::value* vocab = model ? member(*model, "vocab") : nullptr;
    if (!vocab || !vocab->is_object()) bad("no model.vocab");
    for (const auto& [token, id] : vocab->get_object()) put(std::string(token), id, kNormal);
    if (const json::value* added = member(root_, "added_tokens"); added && added->is_array())
      for (const json::value& token : added->get_array())
        if (const json::value* id = member(token, "id")) put_added(token, *id);
    if (const json::value* more = member(config_, "added_tokens_decoder");
        more && more->is_object())
      for (const auto& [key, token] : more->get_object())
        put_added(token, parse_json(std::string_view(key), file_.string()));
  }

  // llama.cpp knows regular expressions by names.
  std::string pre_tokenizer() const {
    const json::value* pre = member(root_, "pre_tokenizer");
    const std::string text = pre ? to_json(*pre) : "";
    const bool marks = text.find("[\\\\p{L}\\\\p{M}]+") != std::string::npos;
    const bool letters = text.find("?\\\\p{L}+") != std::string::npos;
    const bool digits = text.find("|\\\\p{N}|") != std::string::npos;
    if (digits && marks) return "qwen35";
    if (digits && letters) return "qwen2";
    fail(ErrorCode::invalid_argument,
         "{}: the pre-tokenizer is neither that of Qwen3.5 nor that of Qwen2, the ones of this "
         "family that llama.cpp knows",
         file_.string());
  }

  // Named by tokenizer_config.json, or numbered by config.json.
  std::optional<std::uint32_t> special_id(const std::string& kind) const {
    const auto named = ids_.find(text_of(member(config_, (kind + "_token").c_str())));
    if (named != ids_.end()) return static_cast<std::uint32_t>(named->second);
    const std::string key = kind + "_token_id";
    const json::value* id = model_config_.if_contains(key);
    const json::value* text = model_config_.if_contains("text_config");
    if (!id && text) id = member(*text, key.c_str());
    if (!id || !id->is_int64() || id->get_int64() < 0 || id->get_int64() >= size_) return {};
    return static_cast<std::uint32_t>(id->get_int64());
  }

  std::vector<std::string> merges() const {
    const json::value* model = member(root_, "model");
    const json::value* list = model ? member(*model, "merges") : nullptr;
    if (!list || !list->is_array()) bad("no model.merges");
    std::vector<std::string> merges;
    for (const json::value& merge : list->get_array()) {
      if (merge.is_string()) {
        merges.emplace_back(merge.get_string());
        continue;
      }
      if (!merge.is_array() || merge.get_array().size() != 2)
        bad("a merge is {}, expected two tokens", to_json(merge));
      // Byte-level tokens hold no space: it may part the two.
      merges.push_back(text_of(&merge.get_array()[0]) + " " + text_of(&merge.get_array()[1]));
    }
    return merges;
  }

  std::string chat_template() const {
    const std::string inside = text_of(member(config_, "chat_template"));
    const fs::path file = folder_ / "chat_template.jinja";
    return inside.empty() && fs::exists(file) ? read_file(file) : inside;
  }

  fs::path folder_, file_;
  std::int64_t size_;
  const json::object& model_config_;
  json::value root_, config_;
  std::vector<std::string> tokens_;
  std::vector<std::int32_t> types_;
  std::unordered_map<std::string, std::int64_t> ids_;  // of added tokens
};

}  // namespace

GgufMetadata vocabulary_metadata(const checkpoint::Checkpoint& checkpoint) {
  return Vocabulary(checkpoint).metadata();
}

}  // namespace octet::exporter
