#include "serve/answer/tools.h"

#include <gtest/gtest.h>

#include "serve/http/error_body.h"

namespace octet::serve {
namespace {

json::array parse(const std::string& text) {
  return parse_json(text, "test").as_array();
}

// The path of what read_tools refuses, with its status.
std::string refused(const json::array& tools) {
  try {
    read_tools(tools, "tools");
  } catch (const HttpError& e) {
    EXPECT_EQ(e.status(), 400);
    EXPECT_NE(std::string(e.what()), "");
    return e.param();
  }
  return "accepted";
}

std::string refused_schema(const std::string& schema) {
  return refused(parse(R"([{"type": "function", "function": {"name": "f", "parameters": )" + schema +
                       "}}]"));
}

TEST(Tools, AreRead) {
  const auto tools = read_tools(parse(R"([
      {"type": "function", "function": {"name": "a.b:c-d_1", "description": "x", "strict": true,
       "parameters": {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}}},
      {"type": "function", "function": {"name": "g", "parameters": null, "strict": null}},
      {"type": "function", "function": {"name": "g", "parameters": false}}])"),
                                "tools");
  ASSERT_EQ(tools.size(), 3u);
  EXPECT_EQ(tools[0].name, "a.b:c-d_1");
  EXPECT_TRUE(tools[0].strict);
  EXPECT_EQ(tools[0].parameters.at("type"), "object");
  EXPECT_TRUE(tools[1].parameters.is_null());
  EXPECT_FALSE(tools[1].strict);
  EXPECT_TRUE(tools[2].parameters.is_bool());
  EXPECT_TRUE(read_tools({}, "tools").empty());
}

TEST(Tools, NamesWhatIsWrong) {
  EXPECT_EQ(refused(parse("[1]")), "tools[0]");
  EXPECT_EQ(refused(parse("[{}]")), "tools[0].type");
  EXPECT_EQ(refused(parse(R"([{"type": "web_search"}])")), "tools[0].type");
  EXPECT_EQ(refused(parse(R"([{"type": "function"}])")), "tools[0].function");
  EXPECT_EQ(refused(parse(R"([{"type": "function", "function": []}])")), "tools[0].function");
  for (const std::string& name : {std::string("\"\""), std::string("\"a b\""), std::string("3"),
                                  std::string("\"<x>\""), fmt::format("\"{}\"", std::string(129, 'a'))})
    EXPECT_EQ(refused(parse(R"([{"type": "function", "function": {"name": )" + name + "}}]")),
              "tools[0].function.name");
  EXPECT_EQ(refused(parse(R"([{"type": "function", "function": {"name": "f", "strict": 1}}])")),
            "tools[0].function.strict");
}

// CVE-2025-48944: malformed types and patterns killed a server's workers.
TEST(Tools, MalformedSchemasAreTheClientsFault) {
  const std::string at = "tools[0].function.parameters";
  EXPECT_EQ(refused_schema("[]"), at);
  EXPECT_EQ(refused_schema("\"object\""), at);
  EXPECT_EQ(refused_schema(R"({"type": 3})"), at + ".type");
  EXPECT_EQ(refused_schema(R"({"type": []})"), at + ".type");
  EXPECT_EQ(refused_schema(R"({"type": [null]})"), at + ".type");
  EXPECT_EQ(refused_schema(R"({"properties": []})"), at + ".properties");
  EXPECT_EQ(refused_schema(R"({"properties": {"a": 3}})"), at + ".properties.a");
  EXPECT_EQ(refused_schema(R"({"properties": {"a": {"type": {}}}})"), at + ".properties.a.type");
  EXPECT_EQ(refused_schema(R"({"properties": {"a": {"pattern": 3}}})"),
            at + ".properties.a.pattern");
  EXPECT_EQ(refused_schema(R"({"items": {"anyOf": [{}, 7]}})"), at + ".items.anyOf[1]");
  EXPECT_EQ(refused_schema(R"({"items": [{}, 7]})"), at + ".items[1]");
  EXPECT_EQ(refused_schema(R"({"anyOf": {}})"), at + ".anyOf");
  EXPECT_EQ(refused_schema(R"({"enum": "a"})"), at + ".enum");
  EXPECT_EQ(refused_schema(R"({"additionalProperties": false, "$defs": {"x": true}})"), "accepted");
}

TEST(Tools, SizesAreLimited) {
  json::array tools;
  for (int i = 0; i < 1025; ++i)
    tools.push_back({{"type", "function"}, {"function", {{"name", "f"}}}});
  EXPECT_EQ(refused(tools), "tools");
  tools.pop_back();
  EXPECT_EQ(refused(tools), "accepted");
  json::value schema = json::object{};
  for (int i = 0; i < 63; ++i) schema = {{"items", schema}};
  EXPECT_NO_THROW(check_tool_schema(schema, "p"));
  schema = {{"items", {{"items", schema}}}};
  EXPECT_THROW(check_tool_schema(schema, "p"), HttpError);
  EXPECT_THROW(check_tool_schema(json::object{{"description", std::string(1 << 20, 'x')}}, "p"),
               HttpError);
  // Long keys above many children: the paths of what is right are not written.
  json::object many;
  for (int i = 0; i < 20000; ++i) many[fmt::format("k{}", i)] = json::object{};
  EXPECT_NO_THROW(check_tool_schema(
      {{"properties", {{std::string(500000, 'k'), {{"properties", many}}}}}}, "p"));
}

}  // namespace
}  // namespace octet::serve
