#include "serve/api/body.h"

#include <gtest/gtest.h>

#include "fake_exchange.h"
#include "request_world.h"
#include "serve/api/compact_json.h"

namespace octet::serve {
namespace {

HttpRequest request(std::string type, std::string body) {
  HttpRequest r;
  if (!type.empty()) r.headers = {{"content-type", std::move(type)}};
  r.body = std::move(body);
  return r;
}

TEST(Body, OnlyWhatIsSaidToBeJson) {
  for (const char* type :
       {"application/json", "application/json; charset=utf-8", "Application/JSON ;charset=x"})
    EXPECT_EQ(parse_body(request(type, "{}")), json::object()) << type;
  for (const char* type :
       {"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"})
    EXPECT_EQ(test::refusal([&] { parse_body(request(type, "{}")); }).status, 415) << type;
}

TEST(Body, BadJsonIs400) {
  for (const char* text : {"", "{", "{}x", "[1,]", "\"\xFF\"", "{\"a\":NaN}", "'a'"})
    EXPECT_EQ(test::refusal([&] { parse_request_json(text); }).status, 400) << text;
  EXPECT_EQ(test::refusal([&] { parse_request_json(std::string(200000, '[')); }).status, 400);
}

TEST(Body, LoneSurrogatesAreReplaced) {
  const auto text = [](const char* json) {
    return std::string(parse_request_json(json).as_string());
  };
  EXPECT_EQ(text(R"("a\ud83e\udd99b")"),
            "a\xF0\x9F\xA6\x99"
            "b");
  EXPECT_EQ(text(R"("a\ud83eb")"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(text(R"("a\udd99b")"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(text(R"("\ud83e\ud83e\udd99")"), "\xEF\xBF\xBD\xF0\x9F\xA6\x99");
  EXPECT_EQ(text(R"("\\ud83e")"), "\\ud83e");  // an escaped backslash
  EXPECT_EQ(text(R"("\ud83e\n")"), "\xEF\xBF\xBD\n");
  EXPECT_EQ(text(R"("\u0041\\")"), "A\\");
}

TEST(Body, CompactJson) {
  const json::value v = parse_json(
      R"({"a": [1, 2.5, 1e-5, "x\n", null, true], "b": {}, "c": [], "d": {"e": 1}})", "t");
  EXPECT_EQ(compact_json(v), R"({"a":[1,2.5,1e-05,"x\n",null,true],"b":{},"c":[],"d":{"e":1}})");
  EXPECT_EQ(compact_json(json::value(std::numeric_limits<double>::infinity())), "null");
}

TEST(Body, ResponseIds) {
  HttpRequest r;
  r.request_id = "abc";
  EXPECT_EQ(response_id("cmpl-", r), "cmpl-abc");
  EXPECT_EQ(response_id("cmpl-", r, "mine"), "cmpl-mine");
  EXPECT_EQ(response_id("cmpl-", r, "two words"), "cmpl-abc");
  EXPECT_EQ(response_id("cmpl-", r, std::string(200, 'a')), "cmpl-abc");
  EXPECT_EQ(random_hex(24).size(), 24U);
  EXPECT_NE(random_hex(24), random_hex(24));
}

TEST(Body, GuardedHandlersAnswerExceptions) {
  const auto exchange = std::make_shared<test::FakeExchange>();
  exchange->request_.path = "/v1/x";
  guarded([](const ExchangePtr&) { bad_field("top_p", "top_p: no"); })(exchange);
  EXPECT_EQ(exchange->status(), 400);
  const auto inside = std::make_shared<test::FakeExchange>();
  guarded([](const ExchangePtr&) { throw std::runtime_error("/secret/path"); })(inside);
  EXPECT_EQ(inside->status(), 500);
  EXPECT_EQ(inside->body().find("secret"), std::string::npos);
}

}  // namespace
}  // namespace octet::serve
