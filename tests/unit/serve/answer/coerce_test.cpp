// serve/answer: texts become values by their schemas, serving.md §13.4.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "parse_pieces.h"
#include "serve/answer/literal.h"

namespace octet::serve {
namespace {

std::string coerce(const std::string& text, const std::string& schema) {
  const json::value s = parse_json(schema, "schema");
  return coerce_argument(text, &s, s);
}

std::string typed(const std::string& text, const std::string& type) {
  return coerce(text, R"({"type": ")" + type + "\"}");
}

TEST(Coercion, WithoutATypeAllIsText) {
  for (const char* text : {"3", "true", "null", "[1]", "{\"a\": 1}", " x ", ""}) {
    const std::string expected = json_string(text);
    EXPECT_EQ(coerce(text, "{}"), expected);
    EXPECT_EQ(coerce(text, "true"), expected);
    EXPECT_EQ(coerce(text, R"({"description": "d"})"), expected);
    EXPECT_EQ(coerce(text, R"({"type": "nobody knows"})"), expected);
    EXPECT_EQ(typed(text, "string"), expected);
    EXPECT_EQ(coerce_argument(text, nullptr, nullptr), expected);
  }
}

TEST(Coercion, NamesOfTypes) {
  for (const char* type : {"str", "text", "varchar", "char", "enum", "STRING"})
    EXPECT_EQ(typed("3", type), "\"3\"");
  for (const char* type : {"integer", "int", "int32", "uint8", "long", "short", "unsigned"})
    EXPECT_EQ(typed("3", type), type == std::string("unsigned") ? "\"3\"" : "3");
  for (const char* type : {"number", "num", "float", "float64", "double"})
    EXPECT_EQ(typed("3.5", type), "3.5");
  for (const char* type : {"boolean", "bool", "binary"}) EXPECT_EQ(typed("True", type), "true");
  for (const char* type : {"object", "dict", "dict[str, int]", "map"})
    EXPECT_EQ(typed("{'a': 1}", type), R"({"a": 1})");
  for (const char* type : {"array", "list", "list[int]", "arr", "tuple", "set"})
    EXPECT_EQ(typed("[1,2]", type), "[1, 2]");
  for (const char* type : {"null", "NoneType"}) EXPECT_EQ(typed("None", type), "null");
}

TEST(Coercion, Null) {
  const char* schema = R"({"type": ["string", "null"]})";
  for (const char* text : {"null", "None", "NULL", "none", " null\n"})
    EXPECT_EQ(coerce(text, schema), "null");
  EXPECT_EQ(coerce("nil", schema), "\"nil\"");
  EXPECT_EQ(coerce("", schema), "\"\"");
  EXPECT_EQ(coerce("null", R"({"type": "string", "nullable": true})"), "null");
  EXPECT_EQ(typed("null", "integer"), "\"null\"");
}

TEST(Coercion, Integer) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"3", "3"},
           {"-3", "-3"},
           {"+3", "3"},
           {" 3 ", "3"},
           {"3.0", "3"},
           {"3.000", "3"},
           {"-0", "0"},
           {"007", "7"},
           {"000", "0"},
           {"12345678901234567890123456789", "12345678901234567890123456789"},
           {"-12345678901234567890123456789.0", "-12345678901234567890123456789"},
           {"3.5", "\"3.5\""},
           {"3.", "\"3.\""},
           {"1e3", "\"1e3\""},
           {"1_000", "\"1_000\""},
           {"0x10", "\"0x10\""},
           {"--3", "\"--3\""},
           {"-", "\"-\""},
           {"three", "\"three\""},
           {"", "\"\""}})
    EXPECT_EQ(typed(text, "integer"), expected) << text;
}

TEST(Coercion, Number) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"3", "3"},
           {"3.5", "3.5"},
           {"-3.50", "-3.5"},
           {"3.0", "3.0"},
           {".5", "0.5"},
           {"5.", "5.0"},
           {"+1.5", "1.5"},
           {"1e5", "100000.0"},
           {"1E-7", "1e-07"},
           {"1e400", "\"1e400\""},
           {"-1e400", "\"-1e400\""},
           {"1e-400", "0.0"},
           {"1e99999999999999999999", "\"1e99999999999999999999\""},
           {"1e-99999999999999999999", "0.0"},
           {"0.0000e99999", "0.0"},
           {"123456789012345678901234567890", "123456789012345678901234567890"},
           {"NaN", "\"NaN\""},
           {"nan", "\"nan\""},
           {"Infinity", "\"Infinity\""},
           {"-inf", "\"-inf\""},
           {"1.5.2", "\"1.5.2\""},
           {"-+1.5", "\"-+1.5\""},
           {"0x1p3", "\"0x1p3\""},
           {".", "\".\""},
           {"e5", "\"e5\""}})
    EXPECT_EQ(typed(text, "number"), expected) << text;
}

TEST(Coercion, Boolean) {
  for (const char* text : {"true", "True", "TRUE", "1", " true "})
    EXPECT_EQ(typed(text, "boolean"), "true");
  for (const char* text : {"false", "False", "0"}) EXPECT_EQ(typed(text, "boolean"), "false");
  for (const char* text : {"yes", "2", "", "truest"})
    EXPECT_EQ(typed(text, "boolean"), json_string(text));
}

TEST(Coercion, ObjectsAndArrays) {
  EXPECT_EQ(typed("{\"b\":1,\"a\":[1,2,{}],\"c\":null}", "object"),
            R"({"b": 1, "a": [1, 2, {}], "c": null})");
  EXPECT_EQ(typed("{'a': True, 'b': None, 'c': (1, 'x'), 'd': \"it's\"}", "object"),
            R"({"a": true, "b": null, "c": [1, "x"], "d": "it's"})");
  EXPECT_EQ(typed("[ ]", "array"), "[]");
  EXPECT_EQ(typed("('a',)", "array"), R"(["a"])");
  EXPECT_EQ(typed("[12345678901234567890123, 1.0, -0, 1e2]", "array"),
            "[12345678901234567890123, 1.0, 0, 100.0]");
  EXPECT_EQ(typed("{\"a\": 1, \"b\": 2, \"a\": 3}", "object"), R"({"a": 3, "b": 2})");
  // An array where an object is wanted, and what is neither.
  for (const char* text : {"[1]", "{", "{a: 1}", "{\"a\": 1} x", "{\"a\" 1}", "{1, 2}", "None"})
    EXPECT_EQ(typed(text, "object"), json_string(text));
  for (const char* text : {"{}", "[1", "[1 2]", "[,]", "(1)", "1, 2", "[NaN]", "[1e999]", "[01]"})
    EXPECT_EQ(typed(text, "array"), json_string(text));
}

TEST(Coercion, TheNarrowerTypeComesFirst) {
  EXPECT_EQ(coerce("3", R"({"type": ["string", "integer"]})"), "3");
  EXPECT_EQ(coerce("3", R"({"anyOf": [{"type": "string"}, {"type": "number"}]})"), "3");
  EXPECT_EQ(coerce("1", R"({"type": ["boolean", "integer"]})"), "1");
  EXPECT_EQ(coerce("3.5", R"({"type": ["integer", "number"]})"), "3.5");
  EXPECT_EQ(coerce("x", R"({"oneOf": [{"type": "integer"}, {"allOf": [{"type": "null"}]}]})"),
            "\"x\"");
  // Unless the text is one of those that the schema names.
  EXPECT_EQ(coerce("3", R"({"type": ["string", "integer"], "enum": ["3", 4]})"), "\"3\"");
  EXPECT_EQ(coerce("4", R"({"enum": ["3", 4]})"), "4");
  EXPECT_EQ(coerce("5", R"({"const": 5})"), "5");
  EXPECT_EQ(coerce("null", R"({"enum": ["a", null]})"), "null");
}

TEST(Coercion, ChildrenHaveSchemasToo) {
  const char* schema = R"({"type": "object", "properties": {
      "n": {"type": "integer"}, "s": {"type": "string"}, "b": {"type": "boolean"},
      "l": {"type": "array", "items": {"type": "number"}},
      "o": {"type": "object", "additionalProperties": {"type": "integer"}},
      "t": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
      "e": {"type": ["string", "integer"]}}})";
  EXPECT_EQ(coerce(R"({"n": "3", "s": 5, "b": "True", "l": ["1", 2, "x"], "o": {"any": "7"},
                       "t": [1, "2", "3"], "e": "9", "new": "4"})",
                   schema),
            R"({"n": 3, "s": "5", "b": true, "l": [1, 2, "x"], "o": {"any": 7}, )"
            R"("t": ["1", 2, "3"], "e": "9", "new": "4"})");
  EXPECT_EQ(coerce(R"({"n": 3.0, "s": null, "b": 1})", schema), R"({"n": 3, "s": null, "b": true})");
  EXPECT_EQ(coerce(R"({"o": "{\"any\": \"7\"}"})", schema), R"({"o": {"any": 7}})");
}

TEST(Coercion, LocalReferences) {
  const json::value root = parse_json(R"({"properties": {
      "a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/loop"}, "c": {"$ref": "#/nowhere"},
      "d": {"$ref": "https://x/y#/$defs/n"}, "e": {"$ref": "#/$defs/a~1b"},
      "tree": {"$ref": "#/$defs/tree"}},
      "$defs": {"n": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop2"},
      "loop2": {"anyOf": [{"$ref": "#/$defs/loop"}, {"type": "integer"}]}, "a/b": {"type": "number"},
      "tree": {"type": "object", "properties": {"n": {"type": "integer"},
               "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}}})",
                                      "root");
  const auto at = [&](const char* key, const char* text) {
    return coerce_argument(text, &root.at("properties").at(key), root);
  };
  EXPECT_EQ(at("a", "3"), "3");
  EXPECT_EQ(at("b", "3"), "3");
  EXPECT_EQ(at("c", "3"), "\"3\"");
  EXPECT_EQ(at("d", "3"), "\"3\"");
  EXPECT_EQ(at("e", "3.5"), "3.5");
  EXPECT_EQ(at("tree", R"({"n": "1", "kids": [{"n": "2", "kids": []}]})"),
            R"({"n": 1, "kids": [{"n": 2, "kids": []}]})");
}

TEST(Coercion, ReferencesEndAfterThirtyTwo) {
  const auto chain = [](int length) {
    json::object defs;
    for (int i = 0; i < length; ++i)
      defs[fmt::format("d{}", i)] = {{"$ref", fmt::format("#/$defs/d{}", i + 1)}};
    defs[fmt::format("d{}", length)] = {{"type", "integer"}};
    const json::value root = {{"$defs", defs}, {"p", {{"$ref", "#/$defs/d0"}}}};
    return coerce_argument("3", &root.at("p"), root);
  };
  EXPECT_EQ(chain(31), "3");
  EXPECT_EQ(chain(32), "\"3\"");
  EXPECT_EQ(chain(1000), "\"3\"");
}

TEST(Coercion, DepthIsLimited) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(typed(nested(64), "array"), nested(64));
  EXPECT_EQ(typed(nested(65), "array"), json_string(nested(65)));
  EXPECT_EQ(typed(nested(1'000'000), "array").size(), 2'000'002u);
}

TEST(Literal, Strings) {
  const auto text = [](const std::string& written) -> std::string {
    const auto l = Literal::parse_either(written);
    return l ? l->string(l->root()) : "none";
  };
  EXPECT_EQ(text(R"("a\"b\\\/\b\f\n\r\t\u00e9\ud83d\ude00")"),
            "a\"b\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_EQ(text(R"("\ud83d")"), "\xef\xbf\xbd");
  EXPECT_EQ(text(R"("\udc00x")"), "\xef\xbf\xbdx");
  EXPECT_EQ(text(R"("\ud83d\u0041")"), "\xef\xbf\xbd" "A");
  EXPECT_EQ(text(R"('it\'s \x41 \U0001F600 \101 \d')"), "it's A \xf0\x9f\x98\x80 A \\d");
  EXPECT_EQ(text("\"two\nlines\""), "two\nlines");
  for (const char* bad : {"\"", "'", "\"a", "\"\\", "\"\\u12", "'\\xg0'", "'\\N{DASH}'", "'a' 'b'",
                          "r'a'", "'''a'''", "\"a\"x"})
    EXPECT_EQ(text(bad), "none") << bad;
}

}  // namespace
}  // namespace octet::serve
