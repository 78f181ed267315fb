// Which rows come out of which files.

#include "quantize/calibration.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <fstream>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/output_file.h"
#include "runtime/base/text_file.h"
#include "support/support.h"

namespace octet::quantize {
namespace {

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

class Calibration : public testing::Test {
 protected:
  std::filesystem::path put(const std::string& name, const std::string& bytes) {
    std::ofstream(folder.path() / name, std::ios::binary) << bytes;
    return folder.path() / name;
  }
  // Rows of given lengths, told apart by their first token.
  std::string rows_of(const std::vector<std::int64_t>& lengths) {
    std::string text;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      json::array ids{static_cast<std::int64_t>(i % 4000)};
      for (std::int64_t k = 1; k < lengths[i]; ++k) ids.push_back(7);
      text += to_json(json::object{{"input_ids", std::move(ids)}}) + "\n";
    }
    return text;
  }
  CalibrationSet load(CalibrationOptions o) {
    if (!o.render)
      o.render = [](const json::value&) {
        return std::string("a user asks what a model answers with twelve words or more of text");
      };
    return load_calibration(o, tokenizer, 4096);
  }
  std::string message(CalibrationOptions o, ErrorCode code) {
    try {
      load(std::move(o));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return e.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }
  test::ScratchFolder folder;
  tokenizer::Tokenizer tokenizer = tokenizer::Tokenizer::load(test::tiny_model());
};

TEST_F(Calibration, ASmallSourceIsTakenWhole) {
  const auto file = put("a.jsonl", rows_of({10, 11, 300, 3000}));
  const auto set = load({.sources = {{file}}, .samples = 4});
  ASSERT_EQ(set.rows.size(), 3u);  // ten tokens are too few
  EXPECT_EQ(set.rows[0].size(), 11u);
  EXPECT_EQ(set.rows[1].size(), 300u);
  EXPECT_EQ(set.rows[2].size(), 2048u);
  EXPECT_FALSE(set.parts[0].drawn);
  EXPECT_EQ(set.num_tokens, 11 + 300 + 2048);
}

TEST_F(Calibration, LengthsFillBinsEvenly) {
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < 3000; ++i) lengths.push_back(100 + i * 37 % 2500);
  const auto file = put("a.jsonl", rows_of(lengths));
  const CalibrationOptions options{.sources = {{file}}, .samples = 70};
  const auto set = load(options);
  ASSERT_EQ(set.rows.size(), 70u);
  EXPECT_TRUE(set.parts[0].drawn);
  std::vector<int> bins(7);
  std::set<std::int32_t> first;
  for (const auto& row : set.rows) {
    ASSERT_GE(row.size(), 256u);
    ASSERT_LE(row.size(), 2048u);
    first.insert(row[0]);
    ++bins[std::min<std::size_t>(6, (row.size() - 256) / 256)];
  }
  EXPECT_EQ(first.size(), 70u);  // no text twice
  // A length at an edge belongs to two bins.
  for (const int n : bins) EXPECT_NEAR(n, 10, 1);
  EXPECT_EQ(load(options).sha256, set.sha256);
  CalibrationOptions other = options;
  other.seed = 1;
  EXPECT_NE(load(other).sha256, set.sha256);
  // The token ids that a result keeps give the same set again.
  write_calibration(set, folder.path() / "ids.jsonl");
  EXPECT_EQ(load({.sources = {{folder.path() / "ids.jsonl"}}, .samples = 70}).sha256, set.sha256);
}

TEST_F(Calibration, ShortTextsAreJoined) {
  const auto file = put("a.jsonl", rows_of(std::vector<std::int64_t>(600, 50)));
  const auto set = load({.sources = {{file}}, .samples = 14, .separator = 4040});
  EXPECT_GT(set.rows.size(), 7u);
  for (const auto& row : set.rows) {
    ASSERT_GE(row.size(), 256u);
    EXPECT_EQ(row[50], 4040);
    EXPECT_NE(row[51], 7);  // the next text begins
  }
}

TEST_F(Calibration, WeightsShareTheRows) {
  const auto a = put("a.jsonl", rows_of(std::vector<std::int64_t>(500, 2500)));
  const auto b = put("b:2.jsonl", rows_of(std::vector<std::int64_t>(500, 2500)));
  const auto set =
      load({.sources = {parse_source(a.string() + ":3"), parse_source(b.string())}, .samples = 40});
  ASSERT_EQ(set.parts.size(), 2u);
  EXPECT_EQ(set.parts[0].rows, 30);
  EXPECT_EQ(set.parts[1].rows, 10);
  EXPECT_EQ(set.parts[1].name, "b:2.jsonl");
  for (const char* bad : {"x.jsonl:", "x.jsonl:-1", "x.jsonl:0", "x.jsonl:nan", "x.jsonl:two"})
    EXPECT_THROW(parse_source(bad), Error) << bad;
}

TEST_F(Calibration, EveryFormatAndPacking) {
  const std::string lines =
      "{\"text\": \"Once upon a time there was a small model that counted words.\"}\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\r\n"
      "{\"instruction\": \"Add.\", \"output\": \"1 + 1 = 2\"}\n"
      "{\"input_ids\": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}";
  const auto plain = load({.sources = {{put("a.jsonl", lines)}}});
  EXPECT_GE(plain.rows.size(), 3u);
  for (const auto& [name, bytes] :
       {std::pair<std::string, std::string>{"a.jsonl.gz", gzip(lines)},
        {"b.json.gz", gzip(lines.substr(0, 100)) + gzip(lines.substr(100))},
        {"a.jsonl.zst", zstd(lines)}})
    EXPECT_EQ(load({.sources = {{put(name, bytes)}}}).sha256, plain.sha256) << name;
  std::string prose;
  for (int i = 0; i < 400; ++i) prose += "Sentence number " + std::to_string(i) + " says little. ";
  const auto text = load({.sources = {{put("a.txt", prose)}}, .max_tokens = 300});
  const auto packed = load({.sources = {{put("a.txt.gz", gzip(prose))}}, .max_tokens = 300});
  EXPECT_GT(text.rows.size(), 5u);
  EXPECT_EQ(text.sha256, packed.sha256);
}

TEST_F(Calibration, BadFilesSayWhere) {
  const auto of = [&](const std::string& name, const std::string& bytes) {
    return CalibrationOptions{.sources = {{put(name, bytes)}}};
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), text.npos) << text;
  };
  has(message(of("a.jsonl", "{\"text\": \"x\"}\n{oops\n"), ErrorCode::bad_data), "a.jsonl, line 2");
  has(message(of("a.jsonl", "\n[1]\n"), ErrorCode::bad_data), "line 2: expected a JSON object");
  has(message(of("a.jsonl", "{\"txt\": 1}"), ErrorCode::bad_data), "no `text`");
  has(message(of("a.jsonl", "{\"text\": 1}"), ErrorCode::bad_data), "expected a string");
  has(message(of("a.jsonl", "{\"input_ids\": [1, 4096]}"), ErrorCode::bad_data),
      "4096 is no token");
  has(message(of("a.jsonl", "{\"input_ids\": 3}"), ErrorCode::bad_data), "expected a list");
  has(message(of("empty.txt", ""), ErrorCode::invalid_argument), "empty.txt");
  has(message(of("few.txt", "Hi."), ErrorCode::invalid_argument), "no row");
  has(message({.sources = {{folder.path() / "absent.txt"}}}, ErrorCode::not_found), "absent.txt");
  CalibrationOptions wrong = of("a.txt", "word");
  wrong.min_tokens = 500, wrong.max_tokens = 100;
  has(message(wrong, ErrorCode::invalid_argument), "--min-tokens 500");
  // Packed files that are cut at any byte, or changed.
  const std::string text(5000, 'a');
  for (const auto& whole : {gzip("head " + text + " tail"), zstd("head " + text + " tail")})
    for (std::size_t n = 4; n < whole.size(); ++n)
      EXPECT_THROW(unpack_text(whole.substr(0, n), 1 << 20, "cut"), Error) << n;
  // A small file that unpacks to more than is allowed.
  EXPECT_THROW(unpack_text(zstd(std::string(3 << 20, 'a')), 1 << 20, "bomb"), Error);
  EXPECT_THROW(unpack_text(gzip(std::string(3 << 20, 'a')), 1 << 20, "bomb"), Error);
}

}  // namespace
}  // namespace octet::quantize
