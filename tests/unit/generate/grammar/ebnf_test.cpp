#include <gtest/gtest.h>

#include "generate/grammar/matcher.h"
#include "generate/grammar/sources.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

bool matches(std::string_view grammar, std::string_view text) {
  static const auto vocabulary =
      std::make_shared<Vocabulary>(std::vector<std::string>{"a"}, std::vector<std::int32_t>{});
  GrammarMatcher m(CompiledGrammar::compile(parse_ebnf(grammar), vocabulary));
  return m.accept_bytes(text) && m.may_end();
}

std::string error_of(std::string_view grammar) {
  try {
    parse_ebnf(grammar);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    return e.what();
  }
  return "no error";
}

TEST(Ebnf, RulesAlternativesAndSuffixes) {
  constexpr auto kList = R"(# a list
root  ::= "[" ws (item ("," ws item)*)? "]"   # with spaces
item  ::= number | word-2 | ("<" item ">"){1,2}
number ::= [0-9]+ | "-" number
word-2 ::= [a-z_]{2,4}
ws ::= [ \t\n]*
)";
  EXPECT_TRUE(matches(kList, "[]"));
  EXPECT_TRUE(matches(kList, "[ 1, -23,\n ab, <1><xyz>]"));
  EXPECT_FALSE(matches(kList, "[1,]"));
  EXPECT_FALSE(matches(kList, "[abcde]"));
  EXPECT_FALSE(matches(kList, "[<1><2><3>]"));
}

// One dialect ends rules at line ends, the other doesn't mind them.
TEST(Ebnf, AlternativesOverSeveralLines) {
  EXPECT_TRUE(matches("root ::= \"a\" |\n  \"b\"\n", "b"));
  EXPECT_TRUE(matches("root ::= \"a\"\n  | \"b\" x\n\nx::=\"c\"", "bc"));
  EXPECT_TRUE(matches("root ::= (\n \"a\" # one\n | \"b\"\n)+\r\nother ::= root", "ab"));
  EXPECT_TRUE(matches("x ::= \"a\"\nroot ::= x x", "aa"));
  EXPECT_TRUE(matches("root ::= | \"a\"", ""));
}

TEST(Ebnf, CharactersAndEscapes) {
  EXPECT_TRUE(
      matches(R"(root ::= "\x41\u00e9\U0001F600\n\t\"\\")", "A\xc3\xa9\xf0\x9f\x98\x80\n\t\"\\"));
  EXPECT_TRUE(matches(R"(root ::= [\]\\\-\x41-\x43^]+)", "]\\-ABC^"));
  EXPECT_FALSE(matches(R"(root ::= [\x41-\x43])", "D"));
  EXPECT_TRUE(matches(R"(root ::= [^"\\\n]*)", "a\xe2\x82\xac"));
  EXPECT_FALSE(matches(R"(root ::= [^"\\\n]*)", "a\""));
  EXPECT_TRUE(matches("root ::= [a-]+", "a-"));
  EXPECT_TRUE(matches("root ::= . .", "\n\xc3\xa9"));
  EXPECT_TRUE(matches("root ::= [\\d_]+", "1_"));
  EXPECT_TRUE(matches("root ::= \"\xc3\xa9\" [\xc3\xa0-\xc3\xbf]", "\xc3\xa9\xc3\xa9"));
}

TEST(Ebnf, Counts) {
  EXPECT_TRUE(matches("root ::= \"a\"{2}", "aa"));
  EXPECT_TRUE(matches("root ::= \"a\"{2,}", "aaaa"));
  EXPECT_TRUE(matches("root ::= \"a\"{,2} \"b\"", "b"));
  EXPECT_FALSE(matches("root ::= \"a\"{,2} \"b\"", "aaab"));
  EXPECT_TRUE(matches("root ::= (\"a\"{2}){2} | \"b\"?*", "aaaa"));
  EXPECT_TRUE(matches("root ::= \"ab\"{0}", ""));
}

TEST(Ebnf, ErrorsNameTheLineAndTheColumn) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "root"},
      {"x ::= \"a\"", "\"root\""},
      {"root ::= \"a\"\nx ::= y", "line 2, column 7: rule \"y\""},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule \"root\" is defined twice"},
      {"root ::= \"a", "line 1, column 10"},
      {"root ::= \"a\n\"", "line 1, column 10"},
      {"root ::= [a", "line 1, column 10"},
      {"root ::= [b-a]", "line 1, column 11"},
      {"root ::= []", "no character"},
      {"root ::= (\"a\"", "line 1, column 10"},
      {"root ::= (\"a\"\nx ::= \"b\")", "line 2, column 1: a rule begins"},
      {"root ::= \"a\")", "line 1, column 13"},
      {"root ::= *", "line 1, column 10: expected"},
      {"root ::= \"a\"{3,2}", "line 1, column 13"},
      {"root ::= \"a\"{10001}", "10000"},
      {"root ::= \"a\"{x}", "expected {m}"},
      {"root = \"a\"", "\"::=\""},
      {"::= \"a\"", "line 1, column 1"},
      {"root ::= \"\xc3\xa9\" $", "line 1, column 14"},
      {"root ::= \"\\ud800\"", "surrogates"},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= \"\\x1\"", "hexadecimal"},
      {"root ::= <think>", "tokens"},
      {"root ::= !<[1]>", "tokens"},
      {"root ::= \"a\" (=\"b\")", "look-ahead"},
      {"root ::= \xff", "UTF-8"},
  };
  for (const auto& [grammar, part] : cases)
    EXPECT_NE(error_of(grammar).find(part), std::string::npos)
        << grammar << ": " << error_of(grammar);
}

// llama.cpp#22606: depth of a grammar must not become depth of the stack.
TEST(Ebnf, DeepGrammarsAreErrorsNotCrashes) {
  EXPECT_NE(error_of("root ::= " + std::string(100000, '(')).find("deep"), std::string::npos);
  EXPECT_NE(error_of("root ::= \"a\"" + std::string(100000, '*')).find("suffixes"),
            std::string::npos);
  EXPECT_NE(error_of(std::string(2 << 20, '#')).find("bytes"), std::string::npos);
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 20000; ++i) chain += fmt::format("r{} ::= r{}\n", i, i + 1);
  chain += "r20000 ::= \"a\"";
  EXPECT_TRUE(matches(chain, "a"));
  std::string nested = "root ::= r0\n";
  for (int i = 0; i < 5000; ++i) nested += fmt::format("r{} ::= \"(\" r{} \")\"\n", i, i + 1);
  nested += "r5000 ::= \"a\"";
  EXPECT_TRUE(matches(nested, std::string(5000, '(') + "a" + std::string(5000, ')')));
}

}  // namespace
}  // namespace octet::generate::grammar
