#include <gtest/gtest.h>

#include <random>

#include "generate/grammar/matcher.h"
#include "generate/grammar/tool_rules.h"
#include "generate/grammar/tool_text.h"
#include "recognizer.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

Rules rules_of(std::string_view tag) {
  return structural_tag_rules(parse_json(tag, "test"), {.any_whitespace = false});
}

bool has(const Rules& rules, std::string_view text) {
  static const auto kVocabulary = [] {
    std::vector<std::string> bytes;
    for (int i = 0; i < 256; ++i) bytes.emplace_back(1, static_cast<char>(i));
    return std::make_shared<const Vocabulary>(std::move(bytes), std::vector<std::int32_t>{});
  }();
  GrammarMatcher matcher(CompiledGrammar::compile(rules, kVocabulary));
  const bool accepted = matcher.accept_bytes(text) && matcher.may_end();
  EXPECT_EQ(accepted, Recognizer(rules).matches(text)) << "matcher and rules differ on " << text;
  return accepted;
}

TEST(StructuralTag, StructuresAndTriggers) {
  const Rules rules = rules_of(R"({"type":"structural_tag","triggers":["<f="],"structures":[
      {"begin":"<f=a>","schema":{"type":"integer"},"end":"</f>"},
      {"begin":"<f=b>","schema":{"type":"object","properties":{"x":{"type":"null"}},
       "required":["x"],"additionalProperties":false},"end":"</f>"}]})");
  EXPECT_TRUE(has(rules, ""));
  EXPECT_TRUE(has(rules, "free < text"));
  EXPECT_TRUE(has(rules, "a <f=a>1</f> b <f=b>{\"x\": null}</f>"));
  EXPECT_FALSE(has(rules, "<f=a>\"1\"</f>"));
  EXPECT_FALSE(has(rules, "<f=c>1</f>"));
  EXPECT_FALSE(has(rules, "<f=a>1"));
}

TEST(StructuralTag, Formats) {
  const auto format = [](std::string_view f) {
    return rules_of(fmt::format(R"({{"type":"structural_tag","format":{}}})", f));
  };
  EXPECT_TRUE(has(format(R"({"type":"const_string","value":"x"})"), "x"));
  EXPECT_TRUE(has(format(R"({"type":"any_text"})"), "any"));
  EXPECT_TRUE(has(format(R"({"type":"json_schema","json_schema":{"type":"integer"}})"), "1"));
  const Rules sequence = format(R"({"type":"sequence","elements":[
      {"type":"tag","begin":"<t>","content":{"type":"any_text"},"end":"</t>"},
      {"type":"or","elements":[{"type":"const_string","value":"A"},
                               {"type":"regex","pattern":"[0-9]+"}]}]})");
  EXPECT_TRUE(has(sequence, "<t>thoughts</t>A"));
  EXPECT_TRUE(has(sequence, "<t></t>12"));
  EXPECT_FALSE(has(sequence, "<t>a</t>b</t>A"));
  EXPECT_FALSE(has(sequence, "A"));
  const Rules triggered = format(R"({"type":"triggered_tags","triggers":["<a","<b"],"tags":[
      {"type":"tag","begin":"<a>","content":{"type":"any_text"},"end":["</a>","<end>"]},
      {"begin":"<b>","content":{"type":"qwen_xml_parameter","json_schema":
       {"type":"object","properties":{"k":{"type":"integer"}},"required":["k"]}},"end":"</b>"}],
      "at_least_one":true,"stop_after_first":true})");
  EXPECT_TRUE(has(triggered, "<a>x<end>"));
  EXPECT_TRUE(has(triggered, "<b><parameter=k>\n5\n</parameter>\n</b>"));
  EXPECT_FALSE(has(triggered, "text <a>x</a>"));
  EXPECT_FALSE(has(triggered, "<a>x</a><a>x</a>"));
  EXPECT_FALSE(has(triggered, ""));
  const Rules separated = format(R"({"type":"tags_with_separator","separator":", ","tags":[
      {"begin":"<a>","content":{"type":"const_string","value":"1"},"end":"</a>"}]})");
  EXPECT_TRUE(has(separated, ""));
  EXPECT_TRUE(has(separated, "<a>1</a>, <a>1</a>"));
  EXPECT_FALSE(has(separated, "<a>1</a><a>1</a>"));
  const Rules ebnf = format(R"({"type":"grammar","grammar":"root ::= \"a\" b\nb ::= \"b\" | b \"c\""})");
  EXPECT_TRUE(has(ebnf, "abcc"));
  EXPECT_FALSE(has(ebnf, "ac"));
}

TEST(StructuralTag, ErrorsNameTheField) {
  const auto message = [](std::string_view tag) -> std::string {
    try {
      rules_of(tag);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return e.what();
    }
    return "";
  };
  const auto says = [&](std::string_view tag, std::string_view part) {
    EXPECT_NE(message(tag).find(part), std::string::npos) << tag << "\n" << message(tag);
  };
  says("[]", "object");
  says(R"({"type":"x"})", "type");
  says(R"({"triggers":["a"]})", "structures");
  says(R"({"structures":[{"begin":"a","end":"b"}]})", "triggers");
  says(R"({"structures":[{"begin":"a","end":"b"}],"triggers":[]})", "triggers");
  says(R"({"structures":[{"begin":"a","end":"b"}],"triggers":[""]})", "triggers");
  says(R"({"structures":[{"begin":"a","end":"b"}],"triggers":["x"]})", "no trigger");
  says(R"({"structures":[{"begin":"a","schema":{"type":5},"end":"b"}],"triggers":["a"]})",
       "structures[0].schema");
  says(R"({"format":{"type":"magic"}})", "`magic`");
  says(R"({"format":{"type":"sequence","elements":[{"type":"tag","begin":"a"}]}})",
       "format.elements[0]");
  says(R"({"format":{"type":"regex","pattern":"("}})", "format.pattern");
  std::string deep = R"({"type":"any_text"})";
  for (int i = 0; i < 40; ++i) deep = R"({"type":"sequence","elements":[)" + deep + "]}";
  says(R"({"format":)" + deep + "}", "nested");
}

// Every short text over the letters of the strings, against the definition.
TEST(StructuralTag, TextWithoutSeveralStrings) {
  const std::vector<std::vector<std::string>> sets{
      {"<ab", "<ac"}, {"<a", "<b", "<"}, {"<abc", "<abd", "[c"}, {"<", "["}, {"<ab", "<a"}};
  for (const auto& strings : sets) {
    const Rules none;
    const NodePtr node = text_without_any(strings);
    Recognizer recognizer(none, node);
    const std::string_view letters = "<[abcd";
    std::vector<std::string> texts{""};
    for (int length = 1; length <= 5; ++length) {
      std::vector<std::string> longer;
      for (const std::string& t : texts)
        if (t.size() + 1 == static_cast<std::size_t>(length))
          for (const char c : letters) longer.push_back(t + c);
      texts = std::move(longer);
      for (const std::string& t : texts) {
        bool expected = true;
        for (const std::string& s : strings) expected = expected && t.find(s) == std::string::npos;
        ASSERT_EQ(recognizer.matches(t), expected) << t << " without " << strings[0];
      }
    }
  }
  EXPECT_THROW(text_without_any({"aba", "cc"}), Error);
}

}  // namespace
}  // namespace octet::generate::grammar
