#include "quantize/calibration.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "runtime/base/error.h"
#include "runtime/base/output_file.h"
#include "runtime/base/text_file.h"

namespace octet::quantize {

namespace {

using Row = std::vector<std::int32_t>;
constexpr std::size_t kShortest = 11;
constexpr std::int64_t kBinWidth = 256;

// One file: where its texts are, and their tokens when they are asked for.
class Source {
 public:
  Source(const CalibrationSource& source, const CalibrationOptions& options,
         const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size)
      : path_(source.file), options_(options), tokenizer_(tokenizer), vocab_size_(vocab_size) {
    text_ = read_text_file(path_);
    auto name = path_.filename().string();
    for (const char* packed : {".gz", ".zst"})
      if (name.ends_with(packed)) name.resize(name.size() - std::string(packed).size());
    objects_ = name.ends_with(".jsonl") || name.ends_with(".json");
    if (objects_) {
      lines_ = text_lines(text_);
    } else {
      const auto ids = tokenizer_.encode(text_, false);
      const auto step = static_cast<std::size_t>(options.max_tokens);
      for (std::size_t at = 0; at < ids.size(); at += step)
        pieces_.emplace_back(
            ids.begin() + static_cast<std::ptrdiff_t>(at),
            ids.begin() + static_cast<std::ptrdiff_t>(std::min(at + step, ids.size())));
    }
  }

  std::size_t size() const { return objects_ ? lines_.size() : pieces_.size(); }

  Row tokens(std::size_t i) const {
    if (!objects_) return pieces_[i];
    const json::object o = parse_line(text_, lines_[i], path_);
    const std::string where = fmt::format("{}, line {}", path_.string(), lines_[i].number);
    if (const json::value* ids = o.if_contains("input_ids")) return ids_of(*ids, where);
    if (const json::value* text = o.if_contains("text"))
      return tokenizer_.encode(string_of(*text, "text", where));
    if (const json::value* messages = o.if_contains("messages"))
      return tokenizer_.encode(render(*messages, where));
    if (o.contains("instruction") && o.contains("output"))
      return tokenizer_.encode(render(
          json::array{
              json::object{{"role", "user"},
                           {"content", string_of(o.at("instruction"), "instruction", where)}},
              json::object{{"role", "assistant"},
                           {"content", string_of(o.at("output"), "output", where)}}},
          where));
    fail(ErrorCode::bad_data,
         "{}: no `text`, `messages`, `instruction` and `output`, or `input_ids`", where);
  }

 private:
  static std::string string_of(const json::value& v, const char* key, const std::string& where) {
    if (!v.is_string()) fail(ErrorCode::bad_data, "{}: {}: expected a string", where, key);
    return std::string(v.get_string());
  }

  std::string render(const json::value& messages, const std::string& where) const {
    if (!options_.render)
      fail(ErrorCode::bad_data, "{}: messages, but the model has no chat template", where);
    try {
      return options_.render(messages);
    } catch (const Error& e) {
      throw Error(e.code(), fmt::format("{}: {}", where, e.what()));
    }
  }

  Row ids_of(const json::value& v, const std::string& where) const {
    if (!v.is_array()) fail(ErrorCode::bad_data, "{}: input_ids: expected a list", where);
    Row ids;
    for (const json::value& id : v.get_array()) {
      if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= vocab_size_)
        fail(ErrorCode::bad_data, "{}: input_ids: {} is no token of this model", where,
             to_json(id));
      ids.push_back(static_cast<std::int32_t>(id.get_int64()));
    }
    return ids;
  }

  std::filesystem::path path_;
  const CalibrationOptions& options_;
  const tokenizer::Tokenizer& tokenizer_;
  std::int64_t vocab_size_;
  std::string text_;
  bool objects_ = false;
  std::vector<TextLine> lines_;
  std::vector<Row> pieces_;
};

// Numbers that are the same with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_() % n); }
  std::vector<std::size_t> permutation(std::size_t n) {
    std::vector<std::size_t> p(n);
    std::iota(p.begin(), p.end(), std::size_t{0});
    for (std::size_t i = 0; i + 1 < n; ++i) std::swap(p[i], p[i + below(n - i)]);
    return p;
  }

 private:
  std::mt19937_64 engine_;
};

// Draws rows whose lengths fill bins evenly.
class Bins {
 public:
  Bins(std::int64_t quota, const CalibrationOptions& options, Random& random)
      : low_(options.min_tokens), high_(options.max_tokens), random_(random) {
    const std::int64_t count =
        std::max<std::int64_t>(1, (high_ - low_ + kBinWidth - 1) / kBinWidth);
    for (std::int64_t b = 0; b < count; ++b) room_.push_back(quota / count + (b < quota % count));
  }

  bool full() const {
    return std::ranges::all_of(room_, [](std::int64_t n) { return n == 0; });
  }

  // Takes a part of the text as a row if a bin at or below its length has room.
  bool take(const Row& text, std::vector<Row>& rows) {
    const auto length = static_cast<std::int64_t>(text.size());
    if (length < low_) return false;
    // The longest unfilled bin that the text reaches.
    std::int64_t bin = static_cast<std::int64_t>(room_.size()) - 1;
    while (bin >= 0 && (lower(bin) > length || room_[static_cast<std::size_t>(bin)] == 0)) --bin;
    if (bin < 0) return false;
    --room_[static_cast<std::size_t>(bin)];
    const std::int64_t end = std::min(length, upper(bin));
    const auto target =
        lower(bin) +
        static_cast<std::int64_t>(random_.below(static_cast<std::size_t>(end - lower(bin) + 1)));
    rows.emplace_back(text.begin(), text.begin() + target);
    return true;
  }

 private:
  std::int64_t lower(std::int64_t bin) const { return low_ + bin * kBinWidth; }
  std::int64_t upper(std::int64_t bin) const { return std::min(high_, lower(bin + 1)); }
  std::int64_t low_, high_;
  std::vector<std::int64_t> room_;
  Random& random_;
};

// Rows of one source. `whole` tells that it was small enough to be taken as it is.
std::vector<Row> select(const Source& source, std::int64_t quota, const CalibrationOptions& options,
                        Random& random, bool& whole) {
  const auto cut = static_cast<std::size_t>(options.max_tokens);
  std::vector<Row> rows;
  whole = static_cast<std::int64_t>(source.size()) <= quota;
  if (whole) {
    for (std::size_t i = 0; i < source.size(); ++i) {
      Row text = source.tokens(i);
      if (text.size() < kShortest) continue;
      if (text.size() > cut) text.resize(cut);
      rows.push_back(std::move(text));
    }
    return rows;
  }
  Bins bins(quota, options, random);
  std::vector<Row> unused;
  for (const std::size_t i : random.permutation(source.size())) {
    if (bins.full()) break;
    Row text = source.tokens(i);
    if (!bins.take(text, rows)) unused.push_back(std::move(text));
  }
  // What was too short, joined, for the bins that are left.
  Row joined;
  for (const Row& text : unused) {
    if (bins.full()) break;
    if (text.size() < kShortest) continue;
    if (!joined.empty() && options.separator >= 0) joined.push_back(options.separator);
    joined.insert(joined.end(), text.begin(), text.end());
    if (joined.size() >= cut) {
      bins.take(joined, rows);
      joined.clear();
    }
  }
  if (!joined.empty()) bins.take(joined, rows);
  return rows;
}

std::string sha256(const std::vector<Row>& rows) {
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

CalibrationSource parse_source(const std::string& text) {
  const auto colon = text.rfind(':');
  // A file may have a colon in its name.
  if (colon == text.npos || std::filesystem::exists(text)) return {text, 1};
  char* end = nullptr;
  const std::string number = text.substr(colon + 1);
  const double weight = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || !(weight > 0) || !std::isfinite(weight))
    fail(ErrorCode::invalid_argument, "--calibration {}: `{}` is no weight; expected FILE:NUMBER",
         text, number);
  return {text.substr(0, colon), weight};
}

CalibrationSet load_calibration(const CalibrationOptions& options,
                                const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size) {
  if (options.samples < 1 || options.min_tokens < 1 || options.max_tokens < options.min_tokens)
    fail(
        ErrorCode::invalid_argument,
        "--samples {}, --min-tokens {}, --max-tokens {}: expected numbers above 0, min at most max",
        options.samples, options.min_tokens, options.max_tokens);
  CalibrationSet set{.seed = options.seed};
  Random random(options.seed);
  const double weights =
      std::accumulate(options.sources.begin(), options.sources.end(), 0.0,
                      [](double sum, const CalibrationSource& s) { return sum + s.weight; });
  std::string names;
  const auto add = [&](CalibrationSet::Part part, std::vector<Row> rows) {
    part.rows = static_cast<std::int64_t>(rows.size());
    for (const Row& row : rows) part.tokens += static_cast<std::int64_t>(row.size());
    set.num_tokens += part.tokens;
    set.parts.push_back(std::move(part));
    std::ranges::move(rows, std::back_inserter(set.rows));
  };
  for (const CalibrationSource& s : options.sources) {
    const Source source(s, options, tokenizer, vocab_size);
    const auto quota = std::max<std::int64_t>(
        1, std::llround(static_cast<double>(options.samples) * s.weight / weights));
    bool whole = false;
    auto rows = select(source, quota, options, random, whole);
    add({.name = s.file.filename().string(), .weight = s.weight, .drawn = !whole}, std::move(rows));
    names += (names.empty() ? "" : ", ") + s.file.string();
  }
  if (!options.more_rows.empty()) add({.name = "self"}, options.more_rows);
  if (set.rows.empty())
    fail(
        ErrorCode::invalid_argument,
        "the calibration text ({}) gives no row of more than {} tokens; name a file with more text "
        "by --calibration",
        names, kShortest - 1);
  set.sha256 = sha256(set.rows);
  return set;
}

void write_calibration(const CalibrationSet& set, const std::filesystem::path& path) {
  OutputFile file(path);
  for (const Row& row : set.rows)
    file.write(to_json(json::object{{"input_ids", json::array(row.begin(), row.end())}}) + "\n");
  file.commit();
}

}  // namespace octet::quantize
