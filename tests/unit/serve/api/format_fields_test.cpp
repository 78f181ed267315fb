#include "serve/api/format_fields.h"

#include <gtest/gtest.h>

#include "request_world.h"

namespace octet::serve {
namespace {

using Kind = ContentFormat::Kind;

ContentFormat read(const std::string& fields) {
  const json::value body = parse_request_json("{" + fields + "}");
  FieldReader reader(body, "");
  return read_format(reader);
}

TEST(FormatFields, EveryWayToAsk) {
  struct Case {
    const char* fields;
    Kind kind;
    const char* param;
  };
  for (const Case& c : std::vector<Case>{
           {R"("response_format":{"type":"text"})", Kind::text, ""},
           {R"("response_format":{"type":"json_object"})", Kind::json_object, "response_format"},
           {R"("response_format":{"type":"json_object","schema":{}})", Kind::json_schema,
            "response_format"},
           {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}})",
            Kind::json_schema, "response_format.json_schema.schema"},
           {R"("response_format":{"type":"json_schema","schema":{}})", Kind::json_schema,
            "response_format.schema"},
           {R"("response_format":{"type":"structural_tag","structures":[]})", Kind::structural_tag,
            "response_format"},
           {R"("structured_outputs":{"json":{}})", Kind::json_schema, "structured_outputs.json"},
           {R"("structured_outputs":{"json":"{\"type\":\"object\"}"})", Kind::json_schema,
            "structured_outputs.json"},
           {R"("structured_outputs":{"regex":"a+"})", Kind::regex, "structured_outputs.regex"},
           {R"("structured_outputs":{"choice":["a","b"]})", Kind::choice,
            "structured_outputs.choice"},
           {R"("structured_outputs":{"grammar":"root ::= \"a\""})", Kind::grammar,
            "structured_outputs.grammar"},
           {R"("structured_outputs":{"json_object":true})", Kind::json_object,
            "structured_outputs.json_object"},
           {R"("structured_outputs":{"structural_tag":{"type":"structural_tag"}})",
            Kind::structural_tag, "structured_outputs.structural_tag"},
           {R"("guided_json":{})", Kind::json_schema, "guided_json"},
           {R"("guided_regex":"a")", Kind::regex, "guided_regex"},
           {R"("guided_choice":["a"])", Kind::choice, "guided_choice"},
           {R"("guided_grammar":"root ::= \"a\"")", Kind::grammar, "guided_grammar"},
           {R"("json_schema":{"type":"object"})", Kind::json_schema, "json_schema"},
           {R"("grammar":"root ::= \"a\"")", Kind::grammar, "grammar"},
           {R"("grammar":"")", Kind::text, ""},
       }) {
    const ContentFormat f = read(c.fields);
    EXPECT_EQ(f.kind, c.kind) << c.fields;
    EXPECT_EQ(f.param, c.param) << c.fields;
  }
}

TEST(FormatFields, Options) {
  const ContentFormat f = read(
      R"("structured_outputs":{"json":{},"disable_any_whitespace":true,
         "disable_additional_properties":true,"enable_in_reasoning":true})");
  EXPECT_FALSE(f.any_whitespace);
  EXPECT_FALSE(f.additional_properties);
  EXPECT_TRUE(f.in_reasoning);
  EXPECT_TRUE(
      read(R"("response_format":{"type":"json_schema","json_schema":{"strict":true,"schema":{}}})")
          .strict);
}

TEST(FormatFields, Refusals) {
  struct Case {
    const char* fields;
    const char* param;
  };
  for (const Case& c : std::vector<Case>{
           {R"("structured_outputs":{})", "structured_outputs"},
           {R"("structured_outputs":{"json":{},"regex":"a"})", "structured_outputs"},
           {R"("structured_outputs":{"json":"{"})", "structured_outputs.json"},
           {R"("structured_outputs":{"json":5})", "structured_outputs.json"},
           {R"("structured_outputs":{"choice":[]})", "structured_outputs.choice"},
           {R"("structured_outputs":{"regex":""})", "structured_outputs.regex"},
           {R"("structured_outputs":{"json_object":false})", "structured_outputs.json_object"},
           {R"("response_format":{"type":"json_schema"})", "response_format.json_schema"},
           {R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})",
            "response_format.json_schema.schema"},
           {R"("response_format":{"type":"json_object"},"guided_regex":"a")", "guided_regex"},
       }) {
    const test::Refusal r = test::refusal([&] { read(c.fields); });
    EXPECT_EQ(r.status, 400) << c.fields;
    EXPECT_EQ(r.param, c.param) << c.fields << ": " << r.message;
  }
}

}  // namespace
}  // namespace octet::serve
