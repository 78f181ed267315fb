#include "generate/grammar/tool_rules.h"

#include <gtest/gtest.h>

#include "generate/grammar/matcher.h"
#include "recognizer.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

/// By the rules' meaning and by the matcher.
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

ToolSchema tool(std::string name, std::string_view parameters, bool strict) {
  return {std::move(name), parse_json(parameters, "test"), strict};
}

const char* const kWeather = R"({"type":"object","properties":{"city":{"type":"string"},
    "days":{"type":"integer"},"unit":{"enum":["C","F"]}},"required":["city"],
    "additionalProperties":false})";

std::string call(std::string_view name, std::string_view parameters) {
  return fmt::format("<tool_call>\n<function={}>\n{}</function>\n</tool_call>", name, parameters);
}
std::string parameter(std::string_view name, std::string_view value) {
  return fmt::format("<parameter={}>\n{}\n</parameter>\n", name, value);
}

Rules rules_of(const std::vector<ToolSchema>& tools, ToolMode mode, bool parallel = true) {
  return tool_call_rules(tools, mode, parallel, {}, {});
}

TEST(ToolRules, StrictCallsInTheModelsForm) {
  const Rules rules = rules_of({tool("get_weather", kWeather, true)}, ToolMode::single);
  EXPECT_TRUE(has(rules, call("get_weather", parameter("city", "Paris") + parameter("days", "3"))));
  EXPECT_TRUE(has(rules, call("get_weather", parameter("city", "Paris"))));
  EXPECT_TRUE(has(rules, call("get_weather", parameter("city", "Paris") + parameter("unit", "C"))));
  EXPECT_FALSE(has(rules, call("get_weather", "")));
  EXPECT_FALSE(has(rules, call("get_weather", parameter("days", "3"))));
  EXPECT_FALSE(has(rules, call("get_weather", parameter("days", "3") + parameter("city", "P"))));
  EXPECT_FALSE(has(rules, call("get_weather", parameter("city", "P") + parameter("days", "x"))));
  EXPECT_FALSE(has(rules, call("get_weather", parameter("city", "P") + parameter("unit", "K"))));
  EXPECT_FALSE(has(rules, call("get_weather", parameter("city", "P") + parameter("x", "K"))));
  EXPECT_FALSE(has(rules, call("get_time", parameter("city", "P"))));
  EXPECT_FALSE(has(rules, "<tool_call><function=get_weather>\n</function>\n</tool_call>"));
  EXPECT_FALSE(has(rules, "Hi"));
}

TEST(ToolRules, StringsAreBareAndOthersJson) {
  const Rules rules = rules_of({tool("f",
                                     R"({"type":"object","properties":{"s":{"type":"string"},
              "o":{"type":"object","properties":{"a":{"$ref":"#/$defs/n"}},"required":["a"]},
              "u":{"type":["string","null"]},"m":{"anyOf":[{"const":"on"},{"type":"boolean"}]},
              "p":{"type":"string","pattern":"^[\"a]+$"},"l":{"type":"string","maxLength":3},
              "any":{}},"$defs":{"n":{"type":"integer"}}})",
                                     true)},
                               ToolMode::single);
  const auto one = [&](const char* name, std::string_view value) {
    return has(rules, call("f", parameter(name, value)));
  };
  EXPECT_TRUE(one("s", "a \"quoted\"\n\nline\\n </parameter> <function=x>"));
  EXPECT_TRUE(one("s", ""));
  EXPECT_TRUE(has(rules, call("f", "<parameter=s>\n</parameter>\n")));
  EXPECT_FALSE(one("s", "a\n</parameter>\nb"));
  EXPECT_TRUE(one("o", "{\"a\": 1}"));
  EXPECT_FALSE(one("o", "{\"a\": \"x\"}"));
  EXPECT_TRUE(one("u", "null"));
  EXPECT_TRUE(one("u", "text"));
  EXPECT_TRUE(one("m", "on"));
  EXPECT_TRUE(one("m", "true"));
  EXPECT_FALSE(one("m", "\"on\""));
  EXPECT_FALSE(one("m", "off"));
  EXPECT_TRUE(one("p", "\"a\""));
  EXPECT_FALSE(one("p", "b"));
  EXPECT_TRUE(one("l", "abc"));
  EXPECT_FALSE(one("l", "abcd"));
  EXPECT_TRUE(one("any", "what so ever"));
}

TEST(ToolRules, OptionalModeIsFreeUntilACall) {
  const Rules rules =
      rules_of({tool("f", "{}", false), tool("g", kWeather, true)}, ToolMode::optional);
  EXPECT_TRUE(has(rules, ""));
  EXPECT_TRUE(has(rules, "Just text with <tool and <function=x>."));
  EXPECT_TRUE(has(rules, "Let me see.\n" + call("f", "")));
  EXPECT_TRUE(has(rules, call("f", "") + "\n" + call("g", parameter("city", "Rome"))));
  EXPECT_FALSE(has(rules, "Text\n" + call("h", "")));
  EXPECT_FALSE(has(rules, call("f", "") + call("g", "")));
  EXPECT_FALSE(has(rules, "<tool_call>"));
  EXPECT_FALSE(has(rules, "<tool_call>\n{\"name\": \"f\"}\n</tool_call>"));
  const Rules one = rules_of({tool("f", "{}", false)}, ToolMode::optional, false);
  EXPECT_TRUE(has(one, "Text\n" + call("f", "")));
  EXPECT_FALSE(has(one, call("f", "") + "\n" + call("f", "")));
}

TEST(ToolRules, RequiredAndSingle) {
  const std::vector<ToolSchema> tools{tool("f", "{}", false), tool("g", "null", true)};
  const std::string two = call("f", "") + "\n" + call("g", "");
  EXPECT_TRUE(has(rules_of(tools, ToolMode::required), two));
  EXPECT_TRUE(has(rules_of(tools, ToolMode::required), call("g", "")));
  EXPECT_FALSE(has(rules_of(tools, ToolMode::required), ""));
  EXPECT_FALSE(has(rules_of(tools, ToolMode::required), "Text " + call("f", "")));
  EXPECT_FALSE(has(rules_of(tools, ToolMode::required, false), two));
  EXPECT_TRUE(has(rules_of(tools, ToolMode::required, false), call("f", "")));
  EXPECT_FALSE(has(rules_of(tools, ToolMode::single), two));
  EXPECT_FALSE(has(rules_of(tools, ToolMode::required), call("g", parameter("x", "1"))));
}

TEST(ToolRules, FreeParameters) {
  const Rules closed = rules_of({tool("f", kWeather, false)}, ToolMode::optional);
  EXPECT_TRUE(has(closed, call("f", parameter("days", "x y") + parameter("city", "1"))));
  EXPECT_TRUE(has(closed, call("f", "")));
  EXPECT_FALSE(has(closed, call("f", parameter("other", "1"))));
  const Rules open = rules_of({tool("f", R"({"type":"object"})", false)}, ToolMode::optional);
  EXPECT_TRUE(has(open, call("f", parameter("any name.x", "1\n2"))));
  EXPECT_FALSE(has(open, call("f", parameter("a>b", "1"))));
  EXPECT_FALSE(has(open, call("f", parameter("", "1"))));
  // Closed on the value's own line, or at once.
  EXPECT_TRUE(has(open, call("f", "<parameter=a>\n5</parameter>\n<parameter=b>\n</parameter>\n")));
}

// Clients that force a call (instructor, with_structured_output) take its arguments for valid.
TEST(ToolRules, ForcedCallsFollowTheirSchema) {
  for (const ToolMode mode : {ToolMode::single, ToolMode::required}) {
    const Rules closed = rules_of({tool("f", kWeather, false)}, mode);
    EXPECT_TRUE(has(closed, call("f", parameter("city", "P") + parameter("days", "3"))));
    EXPECT_FALSE(has(closed, call("f", "")));
    EXPECT_FALSE(has(closed, call("f", parameter("city", "P") + parameter("days", "x y"))));
    EXPECT_FALSE(has(closed, call("f", parameter("city", "P") + parameter("other", "1"))));
    // What a schema doesn't forbid may come.
    const Rules open = rules_of(
        {tool("f", R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})",
              false)},
        mode);
    EXPECT_TRUE(has(open, call("f", parameter("a", "1") + parameter("b", "x"))));
    EXPECT_FALSE(has(open, call("f", parameter("b", "x"))));
  }
}

// A schema that can't be obeyed leaves other tools' rules whole.
TEST(ToolRules, ForcedCallsOfSchemasThatCannotBeObeyed) {
  const std::vector<ToolSchema> tools{
      tool("f", kWeather, false),
      tool("g", R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"object"}},
                   "a>b":{"type":"integer"}},"required":["a","a>b"]})",
           false),
      tool("h", R"({"type":"object","properties":{"l":{"type":"array","items":{"type":"integer"}},
                   "n":{"not":{}}},"required":["l"]})",
           false),
      tool("k", R"({"type":"object","properties":{"o":{"type":"object"}},"required":["o"]})",
           true)};
  const Rules rules = rules_of(tools, ToolMode::required);
  EXPECT_TRUE(has(rules, call("g", parameter("x", "1"))));
  EXPECT_TRUE(has(rules, call("h", parameter("l", "[1, 2]"))));
  EXPECT_FALSE(has(rules, call("h", parameter("l", "[\"x\"]"))));
  EXPECT_TRUE(has(rules, call("f", parameter("city", "P")) + "\n" +
                             call("k", parameter("o", R"({"a": [1]})"))));
  EXPECT_FALSE(has(rules, call("f", "")));
}

TEST(ToolRules, OtherParametersOfStrictToolsOnlyIfAskedFor) {
  const char* schema = R"({"type":"object","properties":{"ab":{"type":"integer"}}%})";
  const auto with = [&](std::string_view more) {
    std::string text = schema;
    text.replace(text.find('%'), 1, more);
    return rules_of({tool("f", text, true)}, ToolMode::single);
  };
  EXPECT_FALSE(has(with(""), call("f", parameter("x", "1"))));
  const Rules open = with(R"(,"additionalProperties":{"type":"integer"})");
  EXPECT_TRUE(
      has(open, call("f", parameter("ab", "1") + parameter("a", "2") + parameter("abc", "3"))));
  EXPECT_FALSE(has(open, call("f", parameter("x", "text"))));
  EXPECT_FALSE(has(open, call("f", parameter("ab", "1") + parameter("ab", "2"))));
}

TEST(ToolRules, ContentInsteadOfCalls) {
  const auto content = [](Rules& rules) { return json_object(rules, {}); };
  const Rules rules =
      tool_call_rules({tool("f", "{}", false)}, ToolMode::optional, true, content, {});
  EXPECT_TRUE(has(rules, "{}"));
  EXPECT_TRUE(has(rules, call("f", "")));
  EXPECT_FALSE(has(rules, "text"));
  EXPECT_FALSE(has(rules, "{}" + call("f", "")));
}

TEST(ToolRules, Errors) {
  const auto message = [](const std::vector<ToolSchema>& tools, ToolMode mode) -> std::string {
    try {
      tool_call_rules(tools, mode, true, {}, {});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return e.what();
    }
    return "";
  };
  EXPECT_NE(message({}, ToolMode::required), "");
  EXPECT_EQ(message({}, ToolMode::optional), "");
  EXPECT_NE(message({tool("a>b", "{}", false)}, ToolMode::single), "");
  EXPECT_NE(message({tool("f", "5", false)}, ToolMode::single).find("tool 0 (`f`)"),
            std::string::npos);
  EXPECT_NE(message({tool("f", "[]", true)}, ToolMode::single).find("tool 0"), std::string::npos);
  EXPECT_NE(message({tool("f", R"({"properties":[]})", false)}, ToolMode::single), "");
  EXPECT_NE(message({tool("f", R"({"type":"string"})", true)}, ToolMode::single), "");
  EXPECT_NE(message({tool("f", R"({"type":"object","properties":{"a":{"type":5}}})", true)},
                    ToolMode::single)
                .find("#/properties/a/type"),
            std::string::npos);
  EXPECT_NE(message({tool("f", R"({"type":"object","properties":{"a":{"not":{}}}})", true)},
                    ToolMode::single)
                .find("`not`"),
            std::string::npos);
  EXPECT_NE(message({tool("f", R"({"type":"object","required":["a>b"]})", true)}, ToolMode::single),
            "");
  // What a tool that isn't strict says of its values can't fail a request.
  EXPECT_EQ(
      message({tool("f", R"s({"type":"object","properties":{"a":{"pattern":"(?=x)"}}})s", false)},
              ToolMode::single),
      "");
}

}  // namespace
}  // namespace octet::generate::grammar
