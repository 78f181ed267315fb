// The parts that need no socket: targets, hosts, ids, error bodies, response heads, the parser.
#include <gtest/gtest.h>

#include <new>
#include <random>

#include "serve/http/error_body.h"
#include "serve/http/request_parser.h"
#include "serve/http/response_head.h"
#include "serve/http/target.h"

namespace octet::serve {
namespace {

TEST(Target, PercentDecoding) {
  EXPECT_EQ(percent_decode("a%2Fb%2fc+%25"), "a/b/c+%");
  EXPECT_EQ(percent_decode(""), "");
  for (const char* bad : {"%", "%1", "a%", "%g1", "%1g", "%%41"}) EXPECT_FALSE(percent_decode(bad));
}

TEST(Target, Utf8) {
  for (const char* good :
       {"", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad : {"\x80", "\xC0\xAF", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF0\x80\x80\x80", "\xFF", "a\xE2\x82"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
  EXPECT_EQ(valid_utf8("a\xE2\x82z\xFF"), "a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD");
}

TEST(Target, Hosts) {
  EXPECT_EQ(host_of("A.b-c_d:80"), "a.b-c_d");
  EXPECT_EQ(host_of("localhost."), "localhost");
  EXPECT_EQ(host_of("localhost:"), "localhost");
  EXPECT_EQ(host_of("[::1]:80"), "::1");
  for (const char* bad : {"", ":80", "a:b", "a:123456", "[::1", "[]", "[::1]x", "[g]", "a b", "a/b",
                          "a@b", "\xC3\xA9", "a:80:90", "user@localhost"})
    EXPECT_FALSE(host_of(bad)) << bad;
  for (const char* ours : {"localhost", "x.localhost", "127.0.0.1", "127.255.0.9", "::1"})
    EXPECT_TRUE(is_loopback_name(ours)) << ours;
  for (const char* other : {"", "localhost.x", "xlocalhost", "127.0.0.1.x", "127.1", "127.0.0.",
                            "127.0.0.1.1", "127.0.0.x", "128.0.0.1", "::2", "0.0.0.0"})
    EXPECT_FALSE(is_loopback_name(other)) << other;
  EXPECT_EQ(origin_authority("HTTP://LocalHost:1"), "localhost:1");
  for (const char* bad : {"null", "", "://a", "http:/a", "http://", "http://a/b"})
    EXPECT_FALSE(origin_authority(bad)) << bad;
}

TEST(Target, Headers) {
  EXPECT_TRUE(is_json_type("application/json"));
  EXPECT_TRUE(is_json_type(" Application/Json\t; charset=x"));
  EXPECT_FALSE(is_json_type("application/jsonl"));
  EXPECT_FALSE(is_json_type(""));
  EXPECT_EQ(bearer_key("Bearer a"), "a");
  EXPECT_EQ(bearer_key("bearer  a b "), "a b");
  EXPECT_FALSE(bearer_key("Bearer"));
  EXPECT_FALSE(bearer_key("Bearera"));
  EXPECT_TRUE(fit_request_id("a ~"));
  EXPECT_FALSE(fit_request_id(""));
  EXPECT_FALSE(fit_request_id("a\n"));
  EXPECT_FALSE(fit_request_id(std::string(129, 'a')));
  EXPECT_TRUE(is_token_list("a, B-c,d"));
  EXPECT_FALSE(is_token_list("a,,b"));
  EXPECT_FALSE(is_token_list("a b"));
  EXPECT_FALSE(is_token_list(""));
}

TEST(ErrorBody, Dialects) {
  const HttpError error(400, "bad \xFF \"x\"\n", "messages[0]", {{"n_ctx", 5}});
  EXPECT_EQ(error_body(Dialect::openai, error, "r"),
            "{\"error\": {\"message\": \"bad \xEF\xBF\xBD \\\"x\\\"\\n\", \"type\": "
            "\"invalid_request_error\", \"param\": \"messages[0]\", \"code\": 400, \"n_ctx\": 5}}");
  EXPECT_EQ(error_body(Dialect::anthropic, HttpError(429, "slow"), "r"),
            "{\"type\": \"error\", \"error\": {\"type\": \"rate_limit_error\", \"message\": "
            "\"slow\"}, \"request_id\": \"r\"}");
  EXPECT_NE(error_body(Dialect::openai, HttpError(500, "x"), "").find("\"param\": null"),
            std::string::npos);
  const auto type = [](Dialect dialect, int status) {
    const json::value body = parse_json(error_body(dialect, HttpError(status, "x"), "r"), "");
    return std::string(body.at("error").at("type").as_string());
  };
  for (const auto& [status, openai, anthropic] :
       std::vector<std::tuple<int, std::string, std::string>>{
           {400, "invalid_request_error", "invalid_request_error"},
           {401, "authentication_error", "authentication_error"},
           {403, "permission_error", "permission_error"},
           {404, "not_found_error", "not_found_error"},
           {405, "invalid_request_error", "invalid_request_error"},
           {413, "invalid_request_error", "request_too_large"},
           {422, "invalid_request_error", "invalid_request_error"},
           {429, "rate_limit_error", "rate_limit_error"},
           {500, "server_error", "api_error"},
           {501, "invalid_request_error", "invalid_request_error"},
           {503, "unavailable_error", "overloaded_error"},
           {529, "unavailable_error", "overloaded_error"}}) {
    EXPECT_EQ(type(Dialect::openai, status), openai) << status;
    EXPECT_EQ(type(Dialect::anthropic, status), anthropic) << status;
  }
}

TEST(ErrorBody, Exceptions) {
  const auto of = [](const auto& e) { return to_http_error(std::make_exception_ptr(e), "id9"); };
  EXPECT_EQ(of(Error(ErrorCode::invalid_argument, "a")).status(), 400);
  EXPECT_EQ(of(Error(ErrorCode::not_found, "a")).status(), 404);
  const HttpError busy = of(Error(ErrorCode::overloaded, "full"));
  EXPECT_EQ(busy.status(), 503);
  EXPECT_EQ(busy.headers, (Headers{{"Retry-After", "1"}}));
  HttpError own(405, "no", "p");
  own.headers.emplace_back("Allow", "GET");
  EXPECT_EQ(of(own).param(), "p");
  EXPECT_EQ(of(own).headers, own.headers);
  for (const HttpError& e :
       {of(Error(ErrorCode::internal, "/etc/secret")), of(Error(ErrorCode::out_of_memory, "/etc")),
        of(Error(ErrorCode::bad_data, "/etc")), of(Error(ErrorCode::unavailable, "/etc")),
        of(std::runtime_error("/etc")), of(std::bad_alloc()), of(1),
        to_http_error(nullptr, "id9")}) {
    EXPECT_EQ(e.status(), 500);
    EXPECT_EQ(std::string(e.what()).find("/etc"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("id9"), std::string::npos);
  }
}

TEST(ResponseHead, CannotBeSplit) {
  const std::string head =
      response_head({.status = 299, .content_type = "a\r\nb"}, "r",
                    {{"A", "1\r\nB: 2"}, {"C\r\nD", "3"}, {"", "4"}, {"E:", "5"}});
  EXPECT_TRUE(head.starts_with("HTTP/1.1 299 OK\r\nDate: "));
  EXPECT_TRUE(head.ends_with("X-Request-Id: r\r\nA: 1  B: 2\r\n\r\n")) << head;
}

// In whatever pieces a request comes, the parser reads the same.
TEST(RequestParser, PiecesDoNotMatter) {
  const std::string request =
      "POST /a?b HTTP/1.1\r\nHost: x\r\nA:  1 \r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;e=\"f\"\r\nabc\r\n00A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n";
  const std::string behind = "GET / HTTP/1.1\r\n";
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    RequestParser parser({});
    std::string bytes = request + behind, in;
    while (!parser.complete()) {
      const std::size_t n = std::min<std::size_t>(1 + random() % (round % 40 + 1), bytes.size());
      ASSERT_GT(n, 0u);
      in += bytes.substr(0, n);
      bytes.erase(0, n);
      // Put until it takes no more: it stops behind the head.
      while (!in.empty() && !parser.complete()) {
        const std::size_t taken = parser.put(in);
        in.erase(0, taken);
        if (taken == 0) break;
      }
    }
    EXPECT_EQ(parser.method, "POST");
    EXPECT_EQ(parser.target, "/a?b");
    EXPECT_EQ(parser.body, "abc0123456789");
    EXPECT_EQ(parser.headers,
              (Headers{{"host", "x"}, {"a", "1"}, {"transfer-encoding", "chunked"}}));
    EXPECT_EQ(in + bytes, behind);
  }
}

}  // namespace
}  // namespace octet::serve
