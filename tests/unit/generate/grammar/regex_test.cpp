#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <regex>

#include "generate/grammar/matcher.h"
#include "generate/grammar/sources.h"
#include "input/tokenizer/unicode.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

GrammarMatcher matcher(std::string_view pattern) {
  static const auto vocabulary =
      std::make_shared<Vocabulary>(std::vector<std::string>{"a"}, std::vector<std::int32_t>{});
  Rules rules;
  rules.add("root");
  rules.rules[0].body = regex(rules, pattern);
  return GrammarMatcher(CompiledGrammar::compile(std::move(rules), vocabulary));
}

bool matches(std::string_view pattern, std::string_view text) {
  auto m = matcher(pattern);
  return m.accept_bytes(text) && m.may_end();
}

std::string error_of(std::string_view pattern) {
  Rules rules;
  try {
    regex(rules, pattern);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    return e.what();
  }
  return "no error";
}

TEST(Regex, IsAnchoredAtBothEnds) {
  EXPECT_TRUE(matches("abc", "abc"));
  EXPECT_FALSE(matches("abc", "abcd"));
  EXPECT_FALSE(matches("b", "ab"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_TRUE(matches("a|", ""));
  EXPECT_TRUE(matches("()", ""));
  for (const auto* pattern :
       {"^ab$", "^a(b$)", "(^a)b", "^(?:ab|^ab)$", "\\Aab\\z", "^ab$|^c$", "((^|)a)b", "^^ab$$"})
    EXPECT_TRUE(matches(pattern, "ab")) << pattern;
}

TEST(Regex, Classes) {
  EXPECT_TRUE(matches("[a-c]+", "abccba"));
  EXPECT_FALSE(matches("[^a-c]", "b"));
  EXPECT_TRUE(matches("[^a-c]", "\xe2\x82\xac"));
  EXPECT_TRUE(matches("[]a]+", "a]"));
  EXPECT_TRUE(matches("[^]a]", "b"));
  EXPECT_TRUE(matches("[a-]+", "a-"));
  EXPECT_TRUE(matches("[-a]+", "a-"));
  EXPECT_TRUE(matches("[\\]\\\\\\-x]+", "]\\-x"));
  EXPECT_TRUE(matches("[[:alpha:][:digit:]_]+", "aZ9_"));
  EXPECT_FALSE(matches("[[:^alpha:]]", "a"));
  EXPECT_TRUE(matches("[[:]+", "[:"));
  EXPECT_TRUE(matches("\\d\\D\\w\\W\\s\\S", "1ab- x"));
  EXPECT_FALSE(matches("\\d", "\xd9\xa3"));  // RE2: ASCII alone
  EXPECT_TRUE(matches("[\\d\\s]+", "1 2"));
  EXPECT_TRUE(matches("[^\\d\\s]+", "ab"));
  EXPECT_FALSE(matches("[^\\d\\s]+", "a1"));
  EXPECT_TRUE(matches("[\\W\\d]+", "1-"));
  EXPECT_TRUE(matches(".", "\xc3\xa9"));
  EXPECT_FALSE(matches(".", "\n"));
  EXPECT_FALSE(matches(".", "\xc3"));
  EXPECT_TRUE(matches("[\xc3\xa0-\xc3\xbf]", "\xc3\xa9"));
}

TEST(Regex, UnicodeCategories) {
  EXPECT_TRUE(matches("\\p{L}+", "aZ\xc3\xa9\xe4\xb8\xad"));
  EXPECT_FALSE(matches("\\p{L}", "1"));
  EXPECT_TRUE(matches("\\pN\\p{Nd}", "1\xd9\xa3"));
  EXPECT_TRUE(matches("\\P{L}", "1"));
  EXPECT_TRUE(matches("\\p{^L}", "1"));
  EXPECT_TRUE(matches("\\P{^L}", "a"));
  EXPECT_TRUE(matches("[\\p{Lu}\\d]+", "A1"));
  EXPECT_FALSE(matches("[\\p{Lu}\\d]+", "a"));
  EXPECT_TRUE(matches("[^\\p{L}]", " "));
  EXPECT_NE(error_of("\\p{Greek}").find("Greek"), std::string::npos);
  EXPECT_NE(error_of("\\p{L").find("position 0"), std::string::npos);
  EXPECT_NE(error_of("\\p").find("general category"), std::string::npos);
}

TEST(Regex, Escapes) {
  EXPECT_TRUE(matches("\\n\\t\\r\\f\\v\\a\\0", std::string("\n\t\r\f\v\a\0", 7)));
  EXPECT_TRUE(matches("\\x41\\x{42}\\u0043\\u{44}", "ABCD"));
  EXPECT_TRUE(matches("\\u00e9\\xe9", "\xc3\xa9\xc3\xa9"));
  EXPECT_TRUE(matches("\\ud83d\\ude00", "\xf0\x9f\x98\x80"));
  EXPECT_TRUE(matches("[\\ud83d\\ude00-\\ud83d\\ude02]", "\xf0\x9f\x98\x81"));
  EXPECT_TRUE(matches("\\.\\*\\/\\\\\\(\\)\\[\\]\\{\\}\\^\\$\\|\\?\\+\\-", ".*/\\()[]{}^$|?+-"));
  EXPECT_TRUE(matches("a{,3}", "a{,3}"));  // no quantifier, as in RE2
  EXPECT_TRUE(matches("{}", "{}"));
}

TEST(Regex, Quantifiers) {
  EXPECT_TRUE(matches("a{3}", "aaa"));
  EXPECT_FALSE(matches("a{3}", "aa"));
  EXPECT_TRUE(matches("a{2,}b", "aaaaab"));
  EXPECT_TRUE(matches("(?:ab){0,2}", ""));
  EXPECT_FALSE(matches("(?:ab){0,2}", "ababab"));
  EXPECT_TRUE(matches("a*?b+?c??d{1,2}?", "abbdd"));
  EXPECT_TRUE(matches("(?P<year>\\d{4})-(?<month>\\d\\d)", "2024-05"));
  EXPECT_TRUE(matches("(a{10000}){10000}", "") == false);
}

TEST(Regex, WhatIsNotSupportedIsRefusedWithItsPosition) {
  const std::pair<const char*, const char*> cases[] = {
      {"ab(?=c)", "position 2"},
      {"(?!x)", "look-ahead"},
      {"a(?<=x)", "position 1"},
      {"(?<!x)", "look-ahead"},
      {"(a)\\1", "position 3"},
      {"a\\bc", "position 1"},
      {"\\B", "word boundaries"},
      {"(?i)a", "flags"},
      {"a++", "possessive"},
      {"a**", "two quantifiers"},
      {"a{2}{3}", "two"},
      {"*a", "nothing to repeat"},
      {"(|+)", "position 2"},
      {"^*", "nothing to repeat"},
      {"(a", "position 0"},
      {"a)", "position 1"},
      {"[a", "position 0"},
      {"[z-a]", "position 1"},
      {"[a-\\d]", "position 1"},
      {"a^b", "position 1"},
      {"a$b", "position 1"},
      {"(a$)b", "position 2"},
      {"(^a)*", "position 1"},
      {"a{5,2}", "position 1"},
      {"a{10001}", "10000"},
      {"a{1,99999999999999999999}", "10000"},
      {"\\ud800", "surrogates"},
      {"\\x{110000}", "position 0"},
      {"\\xg0", "hexadecimal"},
      {"\\q", "unknown escape"},
      {"a\\", "at the end"},
      {"[[:foo:]]", "foo"},
      {"(?<n", "name"},
      {"(?P<>a)", "name"},
      {"\xff", "UTF-8"},
      {"[\\", "at the end"},
      {"\xc3\xa9(", "position 2"},
  };
  for (const auto& [pattern, part] : cases)
    EXPECT_NE(error_of(pattern).find(part), std::string::npos)
        << pattern << ": " << error_of(pattern);
}

// llama.cpp#22606: depth of a pattern must not become depth of the stack.
TEST(Regex, DeepAndLongPatternsAreErrorsNotCrashes) {
  EXPECT_NE(error_of(std::string(100000, '(') + std::string(100000, ')')).find("deep"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(100000, '(')).find("deep"), std::string::npos);
  EXPECT_NE(error_of(std::string(2 << 20, 'a')).find("bytes"), std::string::npos);
  EXPECT_TRUE(matches(std::string(200, '(') + "a" + std::string(200, ')'), "a"));
  EXPECT_TRUE(matches(std::string(100000, 'a'), std::string(100000, 'a')));
  std::string classes, many;
  for (int i = 0; i < 20000; ++i) classes += "\\p{L}";
  EXPECT_EQ(error_of(classes), "no error");
  for (int i = 0; i < 20000; ++i) many += fmt::format("[\\p{{L}}\\x{{{:x}}}]", i + 1);
  EXPECT_NE(error_of(many).find("too large"), std::string::npos);
}

TEST(Regex, NestedRepetitionsStayLinear) {
  auto m = matcher("(a+)+b");
  ASSERT_TRUE(m.accept_bytes(std::string(200000, 'a')));
  EXPECT_FALSE(m.accept_bytes("c"));
  EXPECT_TRUE(m.accept_bytes("b"));
  auto optional = matcher(std::string(150, '(') + "a" + [] {
    std::string s;
    for (int i = 0; i < 150; ++i) s += ")?";
    return s;
  }());
  EXPECT_TRUE(optional.may_end());
  EXPECT_TRUE(optional.accept_bytes("a"));
  EXPECT_TRUE(optional.ended());
}

// Random patterns against the standard library's engine, in the syntax that both have.
std::string random_pattern(std::mt19937_64& random, int depth) {
  const auto below = [&](std::uint64_t n) { return random() % n; };
  static constexpr const char* kAtoms[] = {"a", "b",   "c",     "[ab]", "[^a]",
                                           ".", "\\w", "[a-c]", "\\."};
  std::string out;
  const auto parts = below(4);
  for (std::uint64_t i = 0; i < parts; ++i) {
    if (depth > 0 && below(3) == 0)
      out +=
          "(?:" + random_pattern(random, depth - 1) + "|" + random_pattern(random, depth - 1) + ")";
    else
      out += kAtoms[below(std::size(kAtoms))];
    static constexpr const char* kQuantifiers[] = {"",  "",    "",      "*",    "+",
                                                   "?", "{2}", "{1,3}", "{2,}", "*?"};
    out += kQuantifiers[below(std::size(kQuantifiers))];
  }
  return out;
}

TEST(Regex, AgreesWithTheStandardLibrary) {
  std::mt19937_64 random(11);
  int matched = 0;
  for (int round = 0; round < 400; ++round) {
    const auto pattern = random_pattern(random, 2);
    const std::regex reference(pattern, std::regex::ECMAScript);
    const auto m = matcher(pattern);
    for (int t = 0; t < 40; ++t) {
      std::string text;
      for (auto n = random() % 7; n > 0; --n) text += "abc.-"[random() % 5];
      auto own = m;
      const bool is = own.accept_bytes(text) && own.may_end();
      ASSERT_EQ(is, std::regex_match(text, reference)) << pattern << " on " << text;
      matched += is;
    }
  }
  EXPECT_GT(matched, 500);
}

}  // namespace
}  // namespace octet::generate::grammar
