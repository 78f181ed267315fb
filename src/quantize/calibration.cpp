#include "quantize/calibration.h"

#include <openssl/evp.h>

#include <algorithm>
#include <random>
#include <ranges>

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"

namespace octet::quantize {

namespace {

constexpr std::size_t kShortest = 11;

class Reader {
 public:
  Reader(const CalibrationOptions& options, const tokenizer::Tokenizer& tokenizer,
         std::int64_t vocab_size)
      : options_(options), tokenizer_(tokenizer), vocab_size_(vocab_size) {}

  void read(const std::filesystem::path& path) {
    const std::string text = read_file(path, std::size_t{8} << 30);
    if (path.extension() == ".jsonl" || path.extension() == ".json")
      read_lines(path, text);
    else
      read_plain(text);
  }

  std::vector<std::vector<std::int32_t>> rows;

 private:
  void read_plain(const std::string& text) {
    const auto ids = tokenizer_.encode(text, false);
    const auto step = static_cast<std::size_t>(options_.max_tokens);
    for (std::size_t at = 0; at < ids.size(); at += step)
      rows.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(at),
                        ids.begin() + static_cast<std::ptrdiff_t>(std::min(at + step, ids.size())));
  }

  void read_lines(const std::filesystem::path& path, const std::string& text) {
    std::size_t line = 0;
    for (std::size_t begin = 0; begin < text.size();) {
      auto end = text.find('\n', begin);
      if (end == std::string::npos) end = text.size();
      ++line;
      const std::string_view row(text.data() + begin, end - begin);
      begin = end + 1;
      if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      where_ = fmt::format("{}, line {}", path.string(), line);
      read_row(parse_json(row, where_));
    }
  }

  void read_row(const json::value& value) {
    if (!value.is_object()) fail(ErrorCode::bad_data, "{}: expected a JSON object", where_);
    const json::object& o = value.get_object();
    if (const json::value* ids = o.if_contains("input_ids")) {
      rows.push_back(ids_of(*ids));
    } else if (const json::value* text = o.if_contains("text")) {
      rows.push_back(tokenizer_.encode(string_of(*text, "text")));
    } else if (const json::value* messages = o.if_contains("messages")) {
      rows.push_back(tokenizer_.encode(render(*messages)));
    } else if (o.contains("instruction") && o.contains("output")) {
      rows.push_back(tokenizer_.encode(render(json::array{
          json::object{{"role", "user"},
                       {"content", string_of(o.at("instruction"), "instruction")}},
          json::object{{"role", "assistant"}, {"content", string_of(o.at("output"), "output")}}})));
    } else {
      fail(ErrorCode::bad_data,
           "{}: no `text`, `messages`, `instruction` and `output`, or `input_ids`", where_);
    }
  }

  std::string string_of(const json::value& v, const char* key) const {
    if (!v.is_string()) fail(ErrorCode::bad_data, "{}: {}: expected a string", where_, key);
    return std::string(v.get_string());
  }

  std::string render(const json::value& messages) const {
    if (!options_.render)
      fail(ErrorCode::bad_data, "{}: messages, but the model has no chat template", where_);
    return options_.render(messages);
  }

  std::vector<std::int32_t> ids_of(const json::value& v) const {
    std::vector<std::int32_t> ids;
    if (v.is_array())
      for (const json::value& id : v.get_array()) {
        if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= vocab_size_)
          fail(ErrorCode::bad_data, "{}: input_ids: {} is no token of this model", where_,
               to_json(id));
        ids.push_back(static_cast<std::int32_t>(id.get_int64()));
      }
    return ids;
  }

  const CalibrationOptions& options_;
  const tokenizer::Tokenizer& tokenizer_;
  std::int64_t vocab_size_;
  std::string where_;
};

std::string sha256(const std::vector<std::vector<std::int32_t>>& rows) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
  for (const auto& row : rows) {
    const auto length = static_cast<std::uint64_t>(row.size());
    EVP_DigestUpdate(context, &length, sizeof length);
    EVP_DigestUpdate(context, row.data(), row.size() * sizeof(std::int32_t));
  }
  unsigned char digest[32];
  EVP_DigestFinal_ex(context, digest, nullptr);
  EVP_MD_CTX_free(context);
  std::string hex;
  for (const unsigned char b : digest) hex += fmt::format("{:02x}", b);
  return hex;
}

}  // namespace

CalibrationSet load_calibration(const CalibrationOptions& options,
                                const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size) {
  Reader reader(options, tokenizer, vocab_size);
  for (const auto& file : options.files) reader.read(file);
  auto& rows = reader.rows;
  for (auto& row : rows)
    if (row.size() > static_cast<std::size_t>(options.max_tokens))
      row.resize(static_cast<std::size_t>(options.max_tokens));
  std::erase_if(rows, [](const auto& row) { return row.size() < kShortest; });
  if (rows.size() > static_cast<std::size_t>(options.samples)) {
    // A choice that depends on the seed and the rows alone (std::shuffle differs by library).
    std::mt19937_64 rng(options.seed);
    for (std::size_t i = 0; i < static_cast<std::size_t>(options.samples); ++i)
      std::swap(rows[i], rows[i + static_cast<std::size_t>(rng() % (rows.size() - i))]);
    rows.resize(static_cast<std::size_t>(options.samples));
  }
  CalibrationSet set;
  set.rows = std::move(rows);
  for (const auto& row : set.rows) set.num_tokens += static_cast<std::int64_t>(row.size());
  if (set.rows.empty())
    fail(
        ErrorCode::invalid_argument,
        "the calibration text ({}) gives no row of more than {} tokens; name a file with more text "
        "by --calibration",
        fmt::join(options.files | std::views::transform([](const auto& f) { return f.string(); }),
                  ", "),
        kShortest - 1);
  set.sha256 = sha256(set.rows);
  return set;
}

}  // namespace octet::quantize
