#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "generate/grammar/matcher.h"
#include "generate/grammar/sources.h"
#include "recognizer.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

const JsonStyle kCompact{.any_whitespace = false};

/// A schema's language, read twice: from the rules' meaning and by the matcher.
class Language {
 public:
  explicit Language(std::string_view schema, const JsonStyle& style = kCompact) {
    rules_.root = rules_.add("root");
    NodePtr body = json_schema(rules_, parse_json(schema, "schema"), style, &ignored);
    rules_.rules[0].body = std::move(body);
    static const auto kVocabulary = [] {
      std::vector<std::string> bytes;
      for (int i = 0; i < 256; ++i) bytes.emplace_back(1, static_cast<char>(i));
      return std::make_shared<const Vocabulary>(std::move(bytes), std::vector<std::int32_t>{});
    }();
    grammar_ = CompiledGrammar::compile(rules_, kVocabulary);
  }

  bool has(std::string_view text) const {
    GrammarMatcher matcher(grammar_);
    const bool accepted = matcher.accept_bytes(text) && matcher.may_end();
    EXPECT_EQ(accepted, Recognizer(rules_).matches(text)) << "matcher and rules differ on " << text;
    return accepted;
  }
  std::size_t size() const { return rules_.rules.size(); }
  std::vector<std::string> ignored;

 private:
  Rules rules_;
  std::shared_ptr<const CompiledGrammar> grammar_;
};

void expect(std::string_view schema, std::initializer_list<std::string_view> good,
            std::initializer_list<std::string_view> bad, const JsonStyle& style = kCompact) {
  const Language language(schema, style);
  for (const auto text : good) EXPECT_TRUE(language.has(text)) << schema << "\n" << text;
  for (const auto text : bad) EXPECT_FALSE(language.has(text)) << schema << "\n" << text;
  EXPECT_TRUE(language.ignored.empty()) << schema << "\n" << language.ignored[0];
}

void expect_error(std::string_view schema, std::string_view part, bool strict = false) {
  Rules rules;
  try {
    json_schema(rules, parse_json(schema, "schema"), {.strict = strict});
    ADD_FAILURE() << "no error for " << schema;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    EXPECT_NE(std::string_view(e.what()).find(part), std::string_view::npos) << e.what();
  }
}

TEST(JsonSchema, Types) {
  expect(R"({"type":"null"})", {"null"}, {"", "0", "nul", "\"null\""});
  expect(R"({"type":"boolean"})", {"true", "false"}, {"0", "True"});
  expect(R"({"type":"integer"})", {"0", "-7", "10"}, {"1.5", "\"1\"", "01", "1e3"});
  expect(R"({"type":"number"})", {"0", "1.5", "-1e3"}, {"\"1\"", "1."});
  expect(R"({"type":"string"})", {"\"\"", "\"a\\n\\u00e9\\ud83d\\ude00\xc3\xa9\""},
         {"a", "\"\n\"", "\"\\x\"", "\"\\ud83d\"", "\"\\ude00\"", "\"a\"b\""});
  expect(R"({"type":"array"})", {"[]", "[1, \"a\", []]"}, {"[1,2]", "{}", "[1, ]"});
  expect(R"({"type":"object"})", {"{}", R"({"a": 1, "b": {"c": []}})"}, {"[]", "{a: 1}"});
  expect(R"({"type":["integer","null"]})", {"3", "null"}, {"3.5", "true"});
}

TEST(JsonSchema, BooleansAndEmptySchemas) {
  for (const char* any : {"true", "{}", R"({"description":"x","$schema":"y"})"})
    expect(any, {"1", "null", "[{}]", "\"\""}, {"", "nul"});
  EXPECT_THROW(Language("false"), Error);
  EXPECT_THROW(Language(R"({"type":"string","enum":[1]})"), Error);
}

TEST(JsonSchema, Blanks) {
  const JsonStyle blanks{};
  expect(R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}}},
             "required":["a"],"additionalProperties":false})",
         {R"({"a":[1,2]})", "{\n  \"a\": [\n    1,\n    2\n  ]\n}", "{ \"a\": [ 1, 2 ] }",
          "{\n\t\"a\":[]}"},
         {"{ \"a\" : [] }", "{\"a\":[1 ,2]}", "{\n\n\"a\":[]}", " {\"a\":[]}", "{\"a\":[]} "},
         blanks);
  // A model that repeats blanks for ever comes to an end.
  EXPECT_FALSE(Language("{\"type\":\"array\"}", blanks).has("[\n" + std::string(129, ' ') + "]"));
  EXPECT_TRUE(Language("{\"type\":\"array\"}", blanks).has("[\n" + std::string(128, ' ') + "]"));
}

TEST(JsonSchema, EnumsAndConstants) {
  expect(R"({"enum":["a","b\"c",1,null,true,{"x":[1]},2.0]})",
         {"\"a\"", R"("b\"c")", "1", "null", "true", R"({"x": [1]})", "2.0", "2"},
         {"\"c\"", "2.5", "[]", "\"a"});
  expect(R"({"const":"x"})", {"\"x\""}, {"x", "\"y\""});
  expect(R"({"type":"integer","enum":[1,"1",2.0,2.5]})", {"1", "2"}, {"\"1\"", "2.5"});
  expect(R"({"enum":[1,2,3],"const":2})", {"2"}, {"1", "3"});
  expect(R"({"enum":[1,2,3,4],"minimum":2,"exclusiveMaximum":4})", {"2", "3"}, {"1", "4"});
  expect(R"({"enum":["a","abc"],"minLength":2})", {"\"abc\""}, {"\"a\""});
}

TEST(JsonSchema, ObjectsInTheSchemasOrder) {
  expect(
      R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"},
             "c":{"type":"integer"}},"required":["b"],"additionalProperties":false})",
      {R"({"b": 1})", R"({"a": 1, "b": 2})", R"({"b": 2, "c": 3})", R"({"a": 1, "b": 2, "c": 3})"},
      {"{}", R"({"a": 1})", R"({"b": 1, "a": 2})", R"({"a": 1, "c": 2})", R"({"b": 1, "b": 2})",
       R"({"b": 1, "d": 2})", R"({"a": 1, "b": "x"})", R"({, "b": 1})", R"({"b": 1, })"});
  expect(R"({"properties":{"a":{"type":"integer"},"b":{"type":"integer"}},
             "additionalProperties":false})",
         {"{}", R"({"a": 1})", R"({"b": 1})", R"({"a": 1, "b": 2})"},
         {R"({"b": 1, "a": 2})", R"({"a": 1,})", "[]"});
  // Required names without a schema of their own come last.
  expect(R"({"type":"object","properties":{"a":{"type":"null"}},"required":["z","a"],
             "additionalProperties":{"type":"integer"}})",
         {R"({"a": null, "z": 1})", R"({"a": null, "z": 1, "y": 2})"},
         {R"({"a": null})", R"({"a": null, "z": null})", R"({"z": 1, "a": null})"});
}

TEST(JsonSchema, AdditionalProperties) {
  // Other names only: a property can't come again with another type.
  expect(R"({"type":"object","properties":{"ab":{"type":"integer"},"a\"":{"type":"null"}},
             "additionalProperties":{"type":"string"}})",
         {"{}", R"({"ab": 1, "x": "y"})", R"({"a": "y"})", R"({"abc": "y", "b": "z"})",
          R"({"": "y"})", R"({"a\\": "y"})", R"({"a\"": null})", R"({"a\"b": "x"})"},
         {R"({"ab": "y"})", R"({"x": 1})", R"({"a\u0062": "y"})", R"({"a\"": "x"})",
          R"({"x": "y", "ab": 1})"});
  expect(R"({"type":"object","additionalProperties":{"type":"integer"}})",
         {"{}", R"({"x": 1, "y": 2})"}, {R"({"x": "1"})"});
  expect(R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"x": 1})"});
  const JsonStyle closed{.any_whitespace = false, .additional_properties = false};
  expect(R"({"type":"object","properties":{"a":{}}})", {"{}", R"({"a": 1})"}, {R"({"b": 1})"},
         closed);
  expect(R"({"type":"object","properties":{"a":{}},"additionalProperties":true})",
         {"{}", R"({"a": 1})", R"({"b": 1})"}, {}, closed);
}

TEST(JsonSchema, PatternPropertiesAndNames) {
  expect(R"({"type":"object","patternProperties":{"^x_":{"type":"integer"},"_s$":{"type":"string"}},
             "additionalProperties":false})",
         {"{}", R"({"x_a": 1})", R"({"a_s": "t", "x_": 2})"},
         {R"({"a": 1})", R"({"x_a": "t"})", R"({"a_s": 1})"});
  expect(R"({"type":"object","propertyNames":{"enum":["p","q"]},
             "additionalProperties":{"type":"integer"}})",
         {"{}", R"({"p": 1, "q": 2})"}, {R"({"r": 1})"});
}

// A property that another keyword speaks of, too, is held to both.
TEST(JsonSchema, PropertiesUnderPatterns) {
  expect(R"({"type":"object","properties":{"foo":{"type":"integer"},"bar":{"type":"integer"}},
             "patternProperties":{"^f":{"minimum":3}},"additionalProperties":false})",
         {R"({"foo": 3})", R"({"bar": 1})", R"({"foo": 4, "bar": 1})"},
         {R"({"bar": 1, "baz": 1})"});
  EXPECT_FALSE(Language(R"({"type":"object","properties":{"foo":{"type":"integer"}},
      "patternProperties":{"^f":{"minimum":3}},"required":["foo"],"maxProperties":1})")
                   .has(R"({"foo": 2})"));
  expect(R"({"type":"object","properties":{"a":{"type":"null"},"b":false}})",
         {R"({"a": null, "c": 1})"}, {R"({"b": 1})", R"({"a": null, "b": 1})"});
  expect(R"({"format":"date"})", {"\"2024-01-01\""}, {"\"x\"", "1"});
}

TEST(JsonSchema, CountsOfProperties) {
  const char* bounded = R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},
      "c":{"type":"null"}},"minProperties":1,"maxProperties":2,"additionalProperties":false})";
  expect(bounded,
         {R"({"a": null})", R"({"c": null})", R"({"a": null, "c": null})",
          R"({"b": null, "c": null})"},
         {"{}", R"({"a": null, "b": null, "c": null})"});
  expect(R"({"type":"object","minProperties":2,"maxProperties":3,
             "additionalProperties":{"type":"null"}})",
         {R"({"a": null, "b": null})", R"({"a": null, "b": null, "c": null})"},
         {"{}", R"({"a": null})", R"({"a": null, "b": null, "c": null, "d": null})"});
  expect(R"({"type":"object","properties":{"a":{"type":"null"}},"required":["a"],"minProperties":2,
             "additionalProperties":{"type":"null"}})",
         {R"({"a": null, "b": null})", R"({"a": null, "b": null, "c": null})"}, {R"({"a": null})"});
  expect(R"({"type":"object","properties":{"a":{}},"maxProperties":0})", {"{}"}, {R"({"a": 1})"});
}

TEST(JsonSchema, ManyOptionalPropertiesTakeFewRules) {
  std::string properties;
  for (int i = 0; i < 200; ++i)
    properties += fmt::format("{}\"p{}\":{{\"type\":\"null\"}}", i ? "," : "", i);
  const Language language(fmt::format(
      R"({{"type":"object","properties":{{{}}},"additionalProperties":false}})", properties));
  EXPECT_LT(language.size(), 1000u);
  EXPECT_TRUE(language.has("{}"));
  EXPECT_TRUE(language.has(R"({"p3": null, "p77": null, "p199": null})"));
  EXPECT_FALSE(language.has(R"({"p77": null, "p3": null})"));
}

TEST(JsonSchema, Arrays) {
  expect(R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
         {"[1, 2]", "[1, 2, 3]"}, {"[]", "[1]", "[1, 2, 3, 4]", "[1, \"a\"]"});
  expect(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],
             "items":{"type":"null"}})",
         {"[]", "[1]", "[1, \"a\"]", "[1, \"a\", null, null]"}, {"[\"a\"]", "[1, null]"});
  expect(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"items":false,
             "minItems":2})",
         {"[1, \"a\"]"}, {"[]", "[1]", "[1, \"a\", 2]"});
  expect(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"},{"type":"null"}],
             "maxItems":2,"minItems":1})",
         {"[1]", "[1, \"a\"]"}, {"[]", "[1, \"a\", null]"});
  // Draft 7's way.
  expect(R"({"items":[{"type":"integer"}],"additionalItems":{"type":"string"}})",
         {"[]", "[1, \"a\"]"}, {"[\"a\"]", "[1, 2]", "1"});
  expect(R"({"type":"array","items":false})", {"[]"}, {"[1]"});
  expect(R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"});
}

TEST(JsonSchema, Lengths) {
  expect(R"({"type":"string","minLength":2,"maxLength":3})",
         {"\"ab\"", "\"abc\"", "\"\\n\\n\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00a\""},
         {"\"\"", "\"a\"", "\"abcd\"", "\"\\u0041\""});
  EXPECT_THROW(Language(R"({"type":"string","minLength":3,"maxLength":2})"), Error);
}

TEST(JsonSchema, Patterns) {
  expect(R"({"type":"string","pattern":"^[a-c]+$"})", {"\"abc\""},
         {"\"\"", "\"abd\"", "\"\\u0061\""});
  expect(R"({"type":"string","pattern":"b+"})", {"\"b\"", "\"abba\"", "\"\\\"b\\n\""},
         {"\"\"", "\"ac\""});
  expect(R"({"type":"string","pattern":"^a"})", {"\"a\"", "\"ab\""}, {"\"ba\""});
  expect(R"({"type":"string","pattern":"a$"})", {"\"a\"", "\"ba\""}, {"\"ab\""});
  expect(R"s({"type":"string","pattern":"^(x|y$)"})s", {"\"x1\"", "\"y\""}, {"\"y1\""});
  expect(R"({"type":"string","pattern":"^a|b$"})", {"\"ax\"", "\"xb\""}, {"\"xa\"", "\"bx\""});
  expect(R"s({"type":"string","pattern":"(^a$|^[|)]$)"})s", {"\"a\"", "\"|\"", "\")\""},
         {"\"aa\"", "\"b\""});
  expect(R"s({"type":"string","pattern":"(?:^(?:a|b$)|c)$"})s", {"\"a\"", "\"b\"", "\"xc\""},
         {"\"ac1\"", "\"xa\""});
  expect_error(R"s({"type":"string","pattern":"x(y$|z)"})s", "#/pattern");
  // Characters that JSON escapes are escaped, others are not.
  expect(R"({"type":"string","pattern":"^[\"\\\\\n/x]$"})",
         {R"("\"")", R"("\\")", R"("\n")", R"("\u000a")", R"("\u000A")", R"("/")", R"("x")"},
         {R"("\/")", R"("\u0078")", "\"\n\"", "\"\"\"", "\"\\\""});
  expect(R"({"type":"string","pattern":"^a\"b\\\\$"})", {R"("a\"b\\")"}, {"\"a\"b\\\""});
  expect(R"({"type":"string","pattern":"^[^a]$"})",
         {R"("\t")", R"("\u001f")", "\"b\"", "\"\xc3\xa9\""}, {"\"a\"", "\"\t\"", "\"\"\""});
  expect(R"({"type":"string","pattern":"^\\$$"})", {"\"$\""}, {"\"\"", "\"$x\""});
}

TEST(JsonSchema, PatternsWithLengths) {
  expect(R"({"type":"string","pattern":"^[A-Z][a-z]*$","minLength":2,"maxLength":4})",
         {"\"Ab\"", "\"Abcd\""}, {"\"A\"", "\"Abcde\"", "\"ab\""});
  expect(R"({"type":"string","pattern":"^(ab)*$","maxLength":5})", {"\"\"", "\"abab\""},
         {"\"ababab\"", "\"a\""});
  expect(R"({"type":"string","pattern":"^a?$","minLength":1})", {"\"a\""}, {"\"\""});
  expect(R"({"type":"string","format":"date","maxLength":10})", {"\"2024-01-31\""}, {});
  const Language open(R"({"type":"string","pattern":"^a+b+$","maxLength":5})");
  ASSERT_EQ(open.ignored.size(), 1u);
  EXPECT_EQ(open.ignored[0], "#/maxLength");
  expect_error(R"({"type":"string","pattern":"^a+b+$","maxLength":5})", "maxLength", true);
}

// Validators write such patterns beside a format; those requests must not fail.
TEST(JsonSchema, PatternsBeyondRegularLanguages) {
  const char* schema =
      R"s({"type":"string","format":"ipv4","pattern":"^(?!0)(?!.*\\.\\.)[0-9.]+$"})s";
  const Language language(schema);
  EXPECT_EQ(language.ignored, std::vector<std::string>{"#/pattern"});
  EXPECT_TRUE(language.has("\"1.2.3.4\""));
  EXPECT_FALSE(language.has("\"1.2.3\""));
  expect_error(schema, "pattern", true);
}

TEST(JsonSchema, Formats) {
  const auto format = [](const char* name, std::initializer_list<const char*> good,
                         std::initializer_list<const char*> bad) {
    const Language l(fmt::format(R"({{"type":"string","format":"{}"}})", name));
    for (const char* t : good) EXPECT_TRUE(l.has(fmt::format("\"{}\"", t))) << name << " " << t;
    for (const char* t : bad) EXPECT_FALSE(l.has(fmt::format("\"{}\"", t))) << name << " " << t;
    EXPECT_TRUE(l.ignored.empty());
  };
  format("date", {"2024-02-29", "2000-02-29", "1999-12-31", "2023-04-30"},
         {"2023-02-29", "1900-02-29", "2024-13-01", "2024-04-31", "24-01-01", "2024-1-1",
          "2024-00-10", "2024-01-00"});
  format("time", {"00:00:00Z", "23:59:59.123+05:30"},
         {"24:00:00Z", "12:60:00Z", "12:00:00", "1:00:00Z"});
  format("date-time", {"2024-02-29T12:30:00Z", "2024-01-01T00:00:00.5-08:00"},
         {"2024-02-30T12:30:00Z", "2024-01-01 00:00:00Z", "2024-01-01"});
  format("uuid", {"2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2EB8AA08-AA98-11EA-B4AA-73B441D16380"},
         {"2eb8aa08-aa98-11ea-b4aa-73b441d1638", "2eb8aa08aa9811eab4aa73b441d16380"});
  format("email", {"a@b.org", "first.last+tag@sub.example.com"},
         {"a", "@b.org", ".a@b.org", "a..b@c.org", "a@-b.org", "a b@c.org"});
  format("ipv4", {"0.0.0.0", "192.168.1.255"}, {"256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5"});
  format("ipv6",
         {"::", "::1", "1::", "fe80::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
          "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1::2:3.4.5.6"},
         {"", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3",
          "12345::", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7:8::", "::1.2.3", "1:"});
  format("uri",
         {"http://example.com", "https://u@h:80/p/q?x=1&y=%20#f", "mailto:a@b.org", "urn:x:y",
          "file:///etc", "http://[::1]/"},
         {"//example.com", "/a", "http:// a", "1http://x", "http://x/%zz", "http://a#b#c"});
  format("hostname", {"a", "example.com", "a-b.c"}, {"", "-a", "a-", "a..b", "a_b"});
  // OpenAPI's notes say nothing of the text.
  expect(R"({"type":"integer","format":"int32"})", {"1"}, {});
  expect(R"({"type":"string","format":"password"})", {"\"x\""}, {});
  const Language unknown(R"({"type":"string","format":"color"})");
  EXPECT_EQ(unknown.ignored, std::vector<std::string>{"#/format"});
  EXPECT_TRUE(unknown.has("\"x\""));
}

TEST(JsonSchema, Numbers) {
  expect(R"({"type":"integer","minimum":-3,"exclusiveMaximum":12})", {"-3", "0", "11"},
         {"-4", "12", "3.0", "-0"});
  expect(R"({"type":"number","minimum":0,"maximum":1})", {"0", "0.5", "1", "1.0"},
         {"-0.1", "1.01", "2", "1e-1"});
  expect(R"({"type":"number","minimum":0,"exclusiveMinimum":true})", {"0.1", "7"}, {"0", "0.0"});
  expect(R"({"minimum":5})", {"5", "5.5"}, {"4", "\"a\""});
  EXPECT_THROW(Language(R"({"type":"integer","minimum":3,"maximum":2})"), Error);
  const Language multiple(R"({"type":"integer","multipleOf":3})");
  EXPECT_EQ(multiple.ignored, std::vector<std::string>{"#/multipleOf"});
}

TEST(JsonSchema, Alternatives) {
  for (const char* word : {"anyOf", "oneOf"}) {
    const std::string schema =
        fmt::format(R"({{"{}":[{{"type":"integer"}},{{"type":"string","maxLength":1}}]}})", word);
    expect(schema, {"1", "\"a\""}, {"\"ab\"", "null"});
  }
  // What stands beside the alternatives holds for each.
  expect(R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},
             "additionalProperties":false,"anyOf":[{"required":["a"]},{"required":["b"]}]})",
         {R"({"a": null})", R"({"b": null})", R"({"a": null, "b": null})"}, {"{}"});
  expect(
      R"({"anyOf":[{"type":"integer"},{"type":"string"}],"minimum":3,"type":["integer","string"]})",
      {"3", "\"a\""}, {"2"});
  expect(R"({"anyOf":[false,{"type":"null"}]})", {"null"}, {"1"});
  // Two lists of alternatives: one of each.
  expect(R"({"anyOf":[{"minimum":1},{"maximum":-1}],"oneOf":[{"minimum":5},{"maximum":-5}],
             "type":"integer"})",
         {"5", "-5"}, {"0", "1", "-4"});
}

TEST(JsonSchema, AllOfMerges) {
  expect(R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
             {"properties":{"b":{"type":"string"}},"required":["b"]}],
             "unevaluatedProperties":false})",
         {R"({"a": 1, "b": "x"})"}, {R"({"a": 1})", R"({"a": 1, "b": "x", "c": 1})"});
  expect(R"({"allOf":[{"minimum":2},{"maximum":4}],"type":"integer"})", {"2", "4"}, {"1", "5"});
  expect(R"({"allOf":[{"properties":{"a":{"minimum":2}}},{"properties":{"a":{"maximum":3}}}],
             "type":"object","properties":{"a":{"type":"integer"}},"required":["a"],
             "additionalProperties":false})",
         {R"({"a": 2})", R"({"a": 3})"}, {R"({"a": 1})", R"({"a": 4})"});
  // additionalProperties speaks of the properties beside it alone.
  EXPECT_THROW(Language(R"({"allOf":[{"type":"object","properties":{"a":{}},
      "additionalProperties":false},{"required":["b"]}]})"),
               Error);
  expect(
      R"({"allOf":[{"items":{"type":["integer","string"]}},{"items":{"type":["integer","null"]}}],
             "type":"array"})",
      {"[]", "[1]"}, {"[\"a\"]", "[null]"});
}

TEST(JsonSchema, References) {
  expect(R"({"$defs":{"n":{"type":"integer"}},"type":"array","items":{"$ref":"#/$defs/n"}})",
         {"[]", "[1, 2]"}, {"[\"a\"]"});
  expect(R"({"definitions":{"a/b~c d":{"const":1}},"$ref":"#/definitions/a~1b~0c%20d"})", {"1"},
         {"2"});
  expect(R"({"properties":{"a":{"type":"integer"},"b":{"$ref":"#/properties/a"}},"required":["b"],
             "additionalProperties":false})",
         {R"({"b": 1})"}, {R"({"b": "x"})"});
  expect(R"({"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":
             [{"$ref":"#"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false})",
         {R"({"v": 1, "next": null})", R"({"v": 1, "next": {"v": 2, "next": null}})"},
         {R"({"v": 1, "next": {}})", R"({"v": 1})"});
  // Siblings of a reference hold, too.
  expect(R"({"$defs":{"n":{"type":"integer"}},"$ref":"#/$defs/n","minimum":3})", {"3"}, {"2"});
  // Left recursion.
  expect(R"({"$defs":{"e":{"anyOf":[{"$ref":"#/$defs/e"},{"type":"null"}]}},"$ref":"#/$defs/e"})",
         {"null"}, {"1"});
  EXPECT_THROW(Language(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})"),
               Error);
}

TEST(JsonSchema, Nullable) {
  expect(R"({"type":"string","nullable":true})", {"null", "\"a\""}, {"1"});
  expect(R"({"type":"string","enum":["a"],"nullable":true})", {"null", "\"a\""}, {"\"b\""});
  expect(R"({"$defs":{"n":{"type":"integer"}},"nullable":true,"allOf":[{"$ref":"#/$defs/n"}]})",
         {"null", "1"}, {"\"b\""});
  expect(R"({"type":"string","nullable":false})", {"\"a\""}, {"null"});
}

TEST(JsonSchema, UnsupportedKeywordsByName) {
  const Language language(
      R"({"type":"object","properties":{"a":{"type":"array","uniqueItems":true}},"if":{},"x-note":1})");
  EXPECT_EQ(language.ignored, (std::vector<std::string>{"#/if", "#/properties/a/uniqueItems"}));
  for (const char* word :
       {"not", "if", "contains", "dependentRequired", "multipleOf", "frobnicate"})
    expect_error(fmt::format(R"({{"type":"array","items":{{"{}":{{}}}}}})", word),
                 fmt::format("#/items: `{}`", word), true);
  Rules rules;
  EXPECT_NO_THROW(json_schema(
      rules,
      parse_json(R"({"title":"t","default":1,"examples":[],"deprecated":true,"readOnly":true,
                            "$id":"x","$comment":"c","uniqueItems":false})",
                 "s"),
      {.strict = true}));
}

TEST(JsonSchema, MalformedSchemasSayWhere) {
  expect_error("5", "at #:");
  expect_error("[]", "at #:");
  expect_error(R"({"type":5})", "#/type");
  expect_error(R"({"type":"text"})", "#/type");
  expect_error(R"({"type":[]})", "#/type");
  expect_error(R"({"properties":[]})", "#/properties");
  expect_error(R"({"properties":{"a/b":{"type":5}}})", "#/properties/a~1b/type");
  expect_error(R"({"properties":{"a":1}})", "#/properties/a");
  expect_error(R"({"required":"a"})", "#/required");
  expect_error(R"({"required":[1]})", "#/required");
  expect_error(R"({"enum":[]})", "#/enum");
  expect_error(R"({"enum":"a"})", "#/enum");
  expect_error(R"({"anyOf":[]})", "#/anyOf");
  expect_error(R"({"anyOf":[{"type":"null"},7]})", "#/anyOf/1");
  expect_error(R"({"allOf":{}})", "#/allOf");
  expect_error(R"({"minLength":-1})", "#/minLength");
  expect_error(R"({"minLength":1.5})", "#/minLength");
  expect_error(R"({"minimum":"1"})", "#/minimum");
  expect_error(R"({"type":"string","pattern":"("})", "#/pattern");
  expect_error(R"({"type":"string","pattern":5})", "#/pattern");
  expect_error(R"({"patternProperties":{"[":{}}})", "#/patternProperties/[");
  expect_error(R"({"format":1})", "#/format");
  expect_error(R"({"$ref":"#/$defs/missing"})", "#/$ref");
  expect_error(R"({"$ref":"http://example.com/schema"})", "#/$ref");
  expect_error(R"({"$ref":5})", "#/$ref");
  expect_error(R"({"$ref":"#/type","type":"string"})", "at #/type:");
  expect_error(R"({"nullable":1})", "#/nullable");
  expect_error(R"({"$defs":1})", "#/$defs");
  expect_error(R"({"items":5})", "#/items");
}

TEST(JsonSchema, Limits) {
  std::string deep = "{}";
  for (int i = 0; i < 70; ++i) deep = R"({"not":)" + deep + "}";
  expect_error(deep, "deeper than 64");
  expect_error(fmt::format(R"({{"description":"{}"}})", std::string(kMaxSchemaBytes, 'x')),
               "larger than");
  // Alternatives of alternatives of alternatives: 4^20 ways.
  std::string many = R"({"allOf":[)";
  for (int i = 0; i < 20; ++i)
    many += fmt::format(
        "{}{{\"anyOf\":[{{\"minimum\":{}}},{{\"maxLength\":{}}},{{\"minItems\":{}}},"
        "{{\"maximum\":{}}}]}}",
        i ? "," : "", i, i + 1, i, i + 100);
  expect_error(many + "]}", "multiply");
}

// What is large and stands beside alternatives is there once for each: memory of gigabytes, if it
// were not counted. Which limit is met first doesn't matter.
TEST(JsonSchema, LargePartsBesideManyAlternatives) {
  std::string alternatives;
  for (int i = 0; i < 4000; ++i)
    alternatives += fmt::format(R"({}{{"minLength":{}}})", i ? "," : "", i % 7);
  const std::string any_of = R"("anyOf":[)" + alternatives + "]}";
  std::string pattern;
  for (int i = 0; i < 40000; ++i) pattern += "a|";
  expect_error(R"({"type":"string","pattern":")" + pattern + R"(b",)" + any_of, "");
  expect_error(R"({"type":"object","patternProperties":{")" + pattern + R"(b":{}},)" + any_of, "");
  std::string values, names;
  for (int i = 0; i < 20000; ++i) values += fmt::format(R"({}"{}")", i ? "," : "", i);
  expect_error(R"({"enum":[)" + values + "]," + any_of, "");
  for (int i = 0; i < 600; ++i)
    names += fmt::format(R"({}"{}{:012}":{{}})", i ? "," : "", static_cast<char>('a' + i % 26), i);
  expect_error(R"({"type":"object","properties":{)" + names + "}," + any_of, "");
}

// A chain of references as long as the schema is large: no recursion over it.
TEST(JsonSchema, LongChainsOfReferences) {
  std::string defs;
  const int n = 8000;
  for (int i = 0; i < n; ++i)
    defs += fmt::format(R"({}"d{}":{{"type":"array","items":{{"$ref":"#/$defs/d{}"}}}})",
                        i ? "," : "", i, i + 1);
  Rules rules;
  EXPECT_NO_THROW(json_schema(
      rules,
      parse_json(fmt::format(R"({{"$defs":{{{},"d{}":true}},"$ref":"#/$defs/d0"}})", defs, n), "s"),
      {}));
}

TEST(JsonSchema, WhatManyReferToIsMadeOnce) {
  const auto rules = [](int references) {
    std::string schema = R"({"$defs":{"o":{"type":"object","properties":{"a":{"type":"null"},
        "b":{"type":"null"},"c":{"type":"null"}}}},"type":"object","properties":{)";
    for (int i = 0; i < references; ++i)
      schema +=
          fmt::format("{}\"p{}\":{{\"$ref\":\"#/$defs/o\",\"title\":\"t\"}}", i ? "," : "", i);
    return Language(schema + "}, \"additionalProperties\":false}").size();
  };
  EXPECT_LE(rules(100) - rules(10), 2 * 90u);  // two for each property: something before it or not
}

TEST(JsonSchema, AnyObjectAndValue) {
  Rules rules;
  const NodePtr object = json_object(rules, kCompact);
  EXPECT_TRUE(Recognizer(rules, object).matches(R"({"a": [1, {"b": null}]})"));
  EXPECT_FALSE(Recognizer(rules, object).matches("[1]"));
  const NodePtr value = json_value(rules, {});
  for (const char* good : {"[1]", "{ }", "null", "[\n  true\n]"})
    EXPECT_TRUE(Recognizer(rules, value).matches(good)) << good;
}

}  // namespace
}  // namespace octet::generate::grammar
