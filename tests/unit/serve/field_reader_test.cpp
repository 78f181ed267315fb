#include "serve/field_reader.h"

#include <gtest/gtest.h>

#include "serve/http/error_body.h"

namespace octet::serve {
namespace {

json::value parse(const char* text) {
  return parse_json(text, "test");
}

// The path and message of the error that a call ends with.
template <typename Call>
std::pair<std::string, std::string> error_of(Call call) {
  try {
    call();
  } catch (const HttpError& e) {
    EXPECT_EQ(e.status(), 400);
    return {e.param(), e.what()};
  }
  return {"no error", ""};
}

TEST(FieldReader, ReadsEachType) {
  const auto v = parse(R"({"b": true, "i": 3, "d": 3.0, "f": 0.5, "s": "x", "a": [1],
                           "o": {"k": 1}, "one": "stop", "many": ["a", "b"], "ids": [0, 9]})");
  FieldReader r(v, "");
  EXPECT_EQ(r.boolean("b"), true);
  EXPECT_EQ(r.integer("i"), 3);
  EXPECT_EQ(r.integer("d"), 3);
  EXPECT_EQ(r.number("i", 0, 5), 3.0);
  EXPECT_EQ(r.number("f", 0, 1), 0.5);
  EXPECT_EQ(r.string("s"), "x");
  EXPECT_EQ(r.array("a")->size(), 1U);
  EXPECT_EQ(r.object("o")->size(), 1U);
  EXPECT_EQ(r.one_of("one", {"go", "stop"}), "stop");
  EXPECT_EQ(r.strings("s", 4), std::vector<std::string>{"x"});
  EXPECT_EQ(r.strings("many", 4), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(r.token_ids("ids", 4, 10), (std::vector<std::int32_t>{0, 9}));
  EXPECT_TRUE(r.unknown().empty());
}

TEST(FieldReader, NullIsAbsent) {
  const auto v = parse(R"({"x": null})");
  FieldReader r(v, "");
  EXPECT_FALSE(r.has("x"));
  EXPECT_FALSE(r.boolean("x"));
  EXPECT_FALSE(r.integer("x"));
  EXPECT_FALSE(r.number("x", 0, 1));
  EXPECT_FALSE(r.string("x"));
  EXPECT_FALSE(r.one_of("x", {"a"}));
  EXPECT_EQ(r.array("x"), nullptr);
  EXPECT_EQ(r.object("x"), nullptr);
  EXPECT_TRUE(r.strings("x", 1).empty());
  EXPECT_TRUE(r.token_ids("x", 1, 1).empty());
}

TEST(FieldReader, DuplicateKeysLastWins) {
  const auto v = parse(R"({"x": 1, "x": 2})");
  FieldReader r(v, "");
  EXPECT_EQ(r.integer("x"), 2);
}

TEST(FieldReader, WrongTypesNameThePath) {
  const auto v = parse(R"({"x": {}})");
  FieldReader r(v, "messages[2]");
  const auto expect = [&](auto call, const char* word) {
    const auto [param, message] = error_of(call);
    EXPECT_EQ(param, "messages[2].x");
    EXPECT_NE(message.find(word), std::string::npos) << message;
    EXPECT_NE(message.find("found an object"), std::string::npos) << message;
  };
  expect([&] { r.boolean("x"); }, "a boolean");
  expect([&] { r.integer("x"); }, "an integer");
  expect([&] { r.number("x", 0, 1); }, "a number");
  expect([&] { r.string("x"); }, "a string");
  expect([&] { r.one_of("x", {"a"}); }, "a string");
  expect([&] { r.array("x"); }, "an array");
  expect([&] { r.strings("x", 1); }, "a string or an array of strings");
  const auto list = parse("[1]");
  EXPECT_EQ(error_of([&] { FieldReader(list, ""); }).second,
            "the request's body: expected an object, found an array");
}

TEST(FieldReader, RangesAndWholeNumbers) {
  const auto v =
      parse(R"({"half": 3.5, "low": -1, "huge": 18446744073709551615, "more": 1e300, "n": 7})");
  FieldReader r(v, "");
  EXPECT_EQ(error_of([&] { r.integer("half"); }).second, "half: expected an integer, found 3.5");
  EXPECT_EQ(error_of([&] { r.integer("low", 0); }).second,
            "low: expected an integer of at least 0, found -1");
  EXPECT_EQ(error_of([&] { r.integer("n", 1, 4); }).second,
            "n: expected an integer from 1 to 4, found 7");
  EXPECT_EQ(error_of([&] { r.integer("huge"); }).first, "huge");
  EXPECT_EQ(error_of([&] { r.integer("more"); }).first, "more");
  EXPECT_EQ(error_of([&] { r.number("n", 0, 1); }).second,
            "n: expected a number from 0 to 1, found 7");
  EXPECT_EQ(r.integer("n", 7, 7), 7);
}

TEST(FieldReader, BoundsOfLists) {
  const auto v = parse(R"({"s": ["a", 1], "t": [1, -1], "big": [1, 2, 3], "text": "four"})");
  FieldReader r(v, "");
  EXPECT_EQ(error_of([&] { r.strings("s", 4); }).first, "s[1]");
  EXPECT_EQ(error_of([&] { r.token_ids("t", 4, 10); }).first, "t[1]");
  EXPECT_EQ(error_of([&] { r.token_ids("big", 4, 3); }).first, "big[2]");
  EXPECT_EQ(error_of([&] { r.array("big", 2); }).second, "big: expected at most 2 items, found 3");
  EXPECT_EQ(error_of([&] { r.string("text", 3); }).second,
            "text: expected at most 3 bytes, found 4");
}

TEST(FieldReader, WhatOneOfShowsIsShortAndValid) {
  json::object o;
  std::string long_word = "x";
  for (int i = 0; i < 100; ++i) long_word += "\xC3\xA9";
  o["x"] = long_word;
  const json::value v = std::move(o);
  FieldReader r(v, "");
  const auto [param, message] = error_of([&] { r.one_of("x", {"a", "b"}); });
  EXPECT_TRUE(message.starts_with("x: expected one of a, b, found \"x"));
  EXPECT_LT(message.size(), 120U);
  // 64 falls inside a character.
  EXPECT_TRUE(message.ends_with("\xC3\xA9...\"")) << message;
}

TEST(FieldReader, UnknownAreThoseNobodyAskedFor) {
  const auto v = parse(R"({"a": 1, "b": null, "c": 3, "d": 4})");
  FieldReader r(v, "top");
  r.integer("a");
  r.ignore({"d"});
  EXPECT_EQ(r.unknown(), (std::vector<std::string>{"top.b", "top.c"}));
}

}  // namespace
}  // namespace octet::serve
