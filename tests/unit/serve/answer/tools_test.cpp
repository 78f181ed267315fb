#include "serve/answer/tools.h"

#include <gtest/gtest.h>

#include "serve/http/error_body.h"

namespace octet::serve {
namespace {

// The path of what check_tool_schema refuses.
std::string refused_schema(const std::string& schema) {
  try {
    check_tool_schema(parse_json(schema, "test"), "p");
  } catch (const HttpError& e) {
    EXPECT_EQ(e.status(), 400);
    EXPECT_NE(std::string(e.what()), "");
    return e.param();
  }
  return "accepted";
}

TEST(Tools, Names) {
  for (const char* name : {"f", "a.b:c-d_1", "mcp__server__tool"}) EXPECT_TRUE(is_tool_name(name));
  EXPECT_TRUE(is_tool_name(std::string(128, 'a')));
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("<x>"), std::string("\xc3\xa9"),
        std::string(129, 'a'), std::string("a\0", 2)})
    EXPECT_FALSE(is_tool_name(name)) << name;
}

// CVE-2025-48944: malformed types and patterns killed a server's workers.
TEST(Tools, MalformedSchemasAreTheClientsFault) {
  const std::string at = "p";
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
