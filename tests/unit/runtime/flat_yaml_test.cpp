#include "runtime/base/flat_yaml.h"

#include <gtest/gtest.h>

#include <random>

#include "runtime/base/error.h"

namespace octet {
namespace {

using Words = std::vector<std::string>;

std::string refusal(const std::string& text) {
  try {
    parse_flat_yaml(text, "f");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_data);
    return e.what();
  }
  return "";
}

Words values(const std::string& text) {
  const auto entries = parse_flat_yaml(text, "f");
  EXPECT_EQ(entries.size(), 1u) << text;
  return entries.at(0).values;
}

TEST(FlatYaml, Scalars) {
  EXPECT_EQ(values("k: v"), Words{"v"});
  EXPECT_EQ(values("---\n\n# c\nk:   a b\tc  # comment\r\n"), Words{"a b\tc"});
  EXPECT_EQ(values("k: a#b"), Words{"a#b"});
  EXPECT_EQ(values("k: http://h:1/x"), Words{"http://h:1/x"});
  EXPECT_EQ(values("k: 'it''s # one: two'  # c"), Words{"it's # one: two"});
  EXPECT_EQ(values(R"(k: "a\n\"b\u00e9")"), Words{"a\n\"b\xc3\xa9"});
  EXPECT_EQ(values("k: ''"), Words{""});
  EXPECT_EQ(values("k: 'null'"), Words{"null"});
  EXPECT_EQ(values("k: {\"a\": [1, 2]}"), Words{"{\"a\": [1, 2]}"});
  EXPECT_TRUE(parse_flat_yaml("k: null\nj: ~\n", "f").empty());
}

TEST(FlatYaml, Lists) {
  EXPECT_EQ(values("k: [a, 'b, ]', \"c\", d e]  # c"), (Words{"a", "b, ]", "c", "d e"}));
  EXPECT_EQ(values("k: []"), Words{});
  EXPECT_EQ(values("k: [a,]"), Words{"a"});
  EXPECT_EQ(values("k:\n- a\n  - 'b'\n\n  # c\n  - c # d\n"), (Words{"a", "b", "c"}));
  const auto two = parse_flat_yaml("k:\n  - a\nj: 1", "f");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_TRUE(two[0].is_list);
  EXPECT_FALSE(two[1].is_list);
  EXPECT_EQ(two[1].line, 3u);
}

TEST(FlatYaml, RefusesWhatItDoesNotKnow) {
  for (const char* text :
       {"k", "k:v", ": v", "k k: v", " k: v", "\tk: v", "k:", "k:\nj: 1", "- a", "k: 1\n- a",
        "k:\n  j: 1", "k: |\n  text", "k: >", "k: &a b", "k: *a", "k: !!str a", "k: %a", "k: @a",
        "k: `a", "k: 'a", "k: \"a", "k: \"a\\", "k: \"\\x\"", "k: 'a' b", "k: [a", "k: [a]]",
        "k: [a] b", "k: [[a]]", "k: [,]", "k: [{a}]", "k: a: b", "k: a:", "k: 1\nk: 2",
        "k:\n- \n", "k:\n- [a]", "k: 1\n---\nj: 2"})
    EXPECT_NE(refusal(text), "") << text;
  EXPECT_NE(refusal("a: 1\n\nb: 'x").find("f, line 3"), std::string::npos);
}

TEST(FlatYaml, AnyTextReadsBackAsAScalar) {
  std::mt19937_64 random(1);
  const std::string alphabet = "ab1 .-_'\"\\#:,[]{}&*!|>%@`~\n\t\r=/\x01";
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (std::uint64_t n = random() % 8; n > 0; --n) text += alphabet[random() % alphabet.size()];
    if (round % 50 == 0) text = "null";
    ASSERT_EQ(values("k: " + flat_yaml_scalar(text) + "  # c"), Words{text});
  }
}

TEST(FlatYaml, AnyBytesAreReadOrRefused) {
  std::mt19937_64 random(2);
  const std::string whole =
      "a: 1\nb: [x, 'y', \"z\"]\nc:\n  - 1\n  - '2'\nd: {\"a\": 1}\ne: \"\\u0041\"\n# f\ng: null\n";
  for (int round = 0; round < 20000; ++round) {
    std::string text = whole;
    for (std::uint64_t n = 1 + random() % 4; n > 0; --n)
      text[random() % text.size()] = round % 2 ? static_cast<char>(random())
                                               : whole[random() % whole.size()];
    text.resize(random() % 3 ? text.size() : random() % text.size());
    refusal(text);
  }
  // Long inputs take the time of their length.
  refusal("k: [" + std::string(1 << 20, ','));
  refusal("k: " + std::string(1 << 20, '\''));
  refusal(std::string(1 << 20, '\n') + "x");
}

}  // namespace
}  // namespace octet
