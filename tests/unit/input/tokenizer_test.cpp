#include "input/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/value_to.hpp>
#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "input/tokenizer/stream_decoder.h"
#include "input/tokenizer/unicode.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "support/support.h"

namespace octet::tokenizer {
namespace {

const Tokenizer& tiny() {
  static const Tokenizer tokenizer = Tokenizer::load(test::tiny_model());
  return tokenizer;
}

std::vector<std::int32_t> ids_of(const json::value& v) {
  return json::value_to<std::vector<std::int32_t>>(v);
}
std::string text_of(const json::value& v) {
  return json::value_to<std::string>(v);
}

TEST(Tokenizer, EqualsTheLibraryOnEveryLine) {
  int lines = 0;
  for (const json::value& line : test::read_json_lines(test::golden("tokenizer.jsonl"))) {
    const auto& o = line.as_object();
    const std::string text = text_of(o.at("text"));
    const auto ids = ids_of(o.at("ids"));
    ASSERT_EQ(tiny().encode(text), ids) << text_of(o.at("group")) << ": " << text;
    const std::string decoded = text_of(o.at("decoded"));
    EXPECT_EQ(tiny().decode(ids), decoded);
    const json::value* skip = o.if_contains("decoded_skip");
    EXPECT_EQ(tiny().decode(ids, true), skip ? text_of(*skip) : decoded);
    ++lines;
  }
  EXPECT_EQ(lines, 720);
}

TEST(Tokenizer, CutsTextAsTheLibrary) {
  int lines = 0;
  for (const json::value& line : test::read_json_lines(test::golden("tokenizer_split.jsonl"))) {
    const std::string text = text_of(line.at("text"));
    ASSERT_EQ(tiny().pre_tokenize(text),
              json::value_to<std::vector<std::string>>(line.at("pieces")))
        << text;
    ++lines;
  }
  EXPECT_EQ(lines, 593);
}

TEST(StreamDecoder, EqualsTheGoldenIncrements) {
  int lines = 0;
  for (const json::value& line : test::read_json_lines(test::golden("tokenizer_stream.jsonl"))) {
    StreamDecoder stream(tiny());
    const auto ids = ids_of(line.at("ids"));
    std::vector<std::string> increments;
    std::string joined;
    for (const std::int32_t id : ids) joined += increments.emplace_back(stream.push(id));
    EXPECT_EQ(increments, json::value_to<std::vector<std::string>>(line.at("increments")));
    const std::string flush = stream.flush();
    EXPECT_EQ(flush, text_of(line.at("flush")));
    EXPECT_EQ(joined + flush, tiny().decode(ids));
    ++lines;
  }
  EXPECT_EQ(lines, 90);
}

TEST(Unicode, NormalFormsAreTheLibrarysOwn) {
  const json::value data = read_json(test::golden("tokenizer_unicode.json"));
  const auto utf8 = [](const std::vector<std::uint32_t>& points) {
    std::string s;
    for (const std::uint32_t c : points) append_utf8(s, c);
    return s;
  };
  std::map<std::uint32_t, std::vector<std::uint32_t>> changes;
  for (const json::value& item : data.at("nfc_changes").as_array())
    changes[json::value_to<std::uint32_t>(item.at(0))] =
        json::value_to<std::vector<std::uint32_t>>(item.at(1));
  for (std::uint32_t c = 2; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    if (c >= 0xac00 && c <= 0xd7a3) continue;  // the golden file leaves Hangul out
    const auto it = changes.find(c);
    ASSERT_EQ(normalize_nfc(utf8({c})), it == changes.end() ? utf8({c}) : utf8(it->second)) << c;
  }
  for (const json::value& item : data.at("nfc_pairs").as_array()) {
    const auto p = json::value_to<std::vector<std::uint32_t>>(item);
    EXPECT_EQ(normalize_nfc(utf8({p[0], p[1]})), utf8({p[2]}));
  }
  // Newer marks are not sorted behind others; older ones are.
  EXPECT_EQ(normalize_nfc(utf8({'x', 0x07fd, 0x0323})), utf8({'x', 0x07fd, 0x0323}));
  EXPECT_EQ(normalize_nfc(utf8({'x', 0x0301, 0x0323})), utf8({'x', 0x0323, 0x0301}));
}

TEST(Tokenizer, UserTextDoesNotBecomeSpecial) {
  const std::vector<Segment> segments{
      {"<|im_start|>user\n", true}, {"<|im_end|> hi", false}, {"<|im_end|>", true}};
  const auto ids = tiny().encode(segments);
  EXPECT_EQ(ids.front(), *tiny().find("<|im_start|>"));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), *tiny().find("<|im_end|>")), 1);
  EXPECT_EQ(tiny().decode(ids), "<|im_start|>user\n<|im_end|> hi<|im_end|>");
  // Seams inside words change nothing.
  EXPECT_EQ(
      tiny().encode(std::vector<Segment>{{"<parameter=", true}, {"ci", false}, {"ty>", true}}),
      tiny().encode("<parameter=city>"));
  EXPECT_EQ(tiny().encode("a<|im_end|>", false),
            tiny().encode(std::vector<Segment>{{"a<|im_end|>", false}}));
}

TEST(Tokenizer, InvalidUtf8CountsAsReplacement) {
  EXPECT_EQ(tiny().encode("a\xff"
                          "b"),
            tiny().encode("a\xef\xbf\xbd"
                          "b"));
  EXPECT_EQ(to_valid_utf8("\xe2\x82"), "\xef\xbf\xbd");
  EXPECT_EQ(to_valid_utf8("\xe2\x82\x28"), "\xef\xbf\xbd(");
  EXPECT_EQ(to_valid_utf8("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_TRUE(tiny().encode("").empty());
  EXPECT_EQ(tiny().decode(std::vector<std::int32_t>{-1, 4095, 100000}), "");
}

TEST(Tokenizer, RandomTextComesBack) {
  std::mt19937 rng(1);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) {
      std::uint32_t c = rng() % (round % 2 ? 0x80 : 0x2fff);
      if (c >= 0x300) c = 0x4e00 + c % 2000;  // keep out what normalization changes
      if (c >= 0x80 && c < 0x300) c = 'a' + c % 26;
      append_utf8(text, c);
    }
    EXPECT_EQ(tiny().decode(tiny().encode(text)), text);
  }
}

TEST(Tokenizer, LongWordsTakeNoSquareTime) {
  // A quadratic merge would need minutes here; ctest's limit is the judge.
  for (const char* unit : {"a", " ", "\n", "ab", "1", "<", "\xc3\xa9"}) {
    std::string text;
    while (text.size() < 2'000'000) text += unit;
    EXPECT_EQ(tiny().decode(tiny().encode(text)), text);
  }
}

TEST(Tokenizer, ThreadsShareIt) {
  const std::string text = read_file(test::golden("tokenizer.jsonl")).substr(0, 50000);
  const auto expected = tiny().encode(text);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) EXPECT_EQ(tiny().encode(text), expected);
    });
  for (auto& t : threads) t.join();
}

// A vocabulary of the published size: 248,044 tokens, every one but the bytes made by a merge.
TEST(Tokenizer, PublishedSizeLoads) {
  json::value file = read_json(test::tiny_model() / "tokenizer.json");
  auto& model = file.as_object().at("model").as_object();
  auto& vocab = model.at("vocab").as_object();
  auto& merges = model.at("merges").as_array();
  file.as_object().at("added_tokens") = json::array();
  std::vector<std::string> tokens;
  for (const auto& item : vocab) tokens.emplace_back(item.key());
  std::int64_t next = static_cast<std::int64_t>(vocab.size());
  std::mt19937 rng(2);
  while (next < 248044) {
    const std::string a = tokens[rng() % tokens.size()], b = tokens[rng() % 2000];
    if (vocab.contains(a + b)) continue;
    vocab[a + b] = next++;
    merges.push_back(json::array{a, b});
    tokens.push_back(a + b);
  }
  const test::ScratchFolder folder;
  const std::string text = to_json(file);
  const auto start = std::chrono::steady_clock::now();
  const Tokenizer big = Tokenizer::parse(parse_json(text, "big"), {}, "big");
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%zu bytes of tokenizer.json with %lld tokens read in %.2f s\n", text.size(),
              static_cast<long long>(big.size()), seconds);
  EXPECT_EQ(big.size(), 248044);
  const std::string sample = "The quick brown fox jumps over the lazy dog.";
  EXPECT_EQ(big.decode(big.encode(sample)), sample);
}

// Changes a valid file in one place and expects one clear refusal.
TEST(Tokenizer, DamagedFilesAreRefused) {
  const json::value good = read_json(test::tiny_model() / "tokenizer.json");
  const auto refuse = [&](const char* what, const auto& change) {
    json::value file = good;
    change(file.as_object());
    try {
      Tokenizer::parse(file, {}, "tokenizer.json");
      ADD_FAILURE() << what << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::bad_data) << what;
      EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos) << e.what();
    }
  };
  using O = json::object;
  refuse("no model", [](O& o) { o.erase("model"); });
  refuse("unigram", [](O& o) { o["model"].as_object()["type"] = "Unigram"; });
  refuse("other normalizer", [](O& o) { o["normalizer"].as_object()["type"] = "NFKC"; });
  refuse("no pre-tokenizer", [](O& o) { o.erase("pre_tokenizer"); });
  refuse("other pre-tokenizer", [](O& o) { o["pre_tokenizer"].as_object()["type"] = "Metaspace"; });
  refuse("bad expression", [](O& o) {
    o["pre_tokenizer"].at("pretokenizers").as_array()[0].as_object()["pattern"] = O{{"Regex", "("}};
  });
  refuse("other decoder", [](O& o) { o["decoder"].as_object()["type"] = "WordPiece"; });
  refuse("vocab is a list", [](O& o) { o["model"].as_object()["vocab"] = json::array(); });
  refuse("negative id", [](O& o) { o["model"].at("vocab").as_object()["zz9"] = -1; });
  refuse("huge id", [](O& o) { o["model"].at("vocab").as_object()["zz9"] = 1 << 30; });
  refuse("id twice", [](O& o) { o["model"].at("vocab").as_object()["zz9"] = 5; });
  refuse("byte missing", [](O& o) { o["model"].at("vocab").as_object().erase("!"); });
  refuse("merge of nothing",
         [](O& o) { o["model"].at("merges").as_array().push_back(json::array{"zq", "qz"}); });
  refuse("merge of one", [](O& o) { o["model"].at("merges").as_array().push_back("zq"); });
  refuse("merge of numbers", [](O& o) { o["model"].at("merges").as_array().push_back(3); });
  refuse("added token without id",
         [](O& o) { o["added_tokens"].as_array().push_back(O{{"content", "<x>"}}); });
  refuse("added token that strips",
         [](O& o) { o["added_tokens"].as_array()[0].as_object()["lstrip"] = true; });
  EXPECT_THROW(Tokenizer::load("/nonexistent"), Error);
}

TEST(Tokenizer, MergesAsStringsAndTokensOfTheConfig) {
  json::value file = read_json(test::tiny_model() / "tokenizer.json");
  for (json::value& m : file.as_object().at("model").as_object().at("merges").as_array())
    m = json::string(text_of(m.at(0)) + " " + text_of(m.at(1)));
  json::value last = file.as_object().at("added_tokens").as_array().back();
  file.as_object().at("added_tokens").as_array().pop_back();
  last.as_object().erase("id");
  const json::value config{{"added_tokens_decoder", {{"4072", last}}}};
  const Tokenizer t = Tokenizer::parse(file, config, "changed");
  const std::string text = "Hello <|audio_pad|> world";
  EXPECT_EQ(t.encode(text), tiny().encode(text));
  EXPECT_EQ(t.size(), tiny().size());
}

}  // namespace
}  // namespace octet::tokenizer
