// What goes over the wire in good and bad requests: frames, methods, headers, keys, origins.
#include <set>

#include "serve/http/server.h"
#include "unit/serve/http/server_fixture.h"

namespace octet::serve {
namespace {

using test::get;
using test::post;
using test::Response;
using test::SocketClient;

class HttpServerTest : public ServerFixture {};

TEST_F(HttpServerTest, AnswersManyRequestsOnOneConnection) {
  start();
  SocketClient client = connect();
  for (int i = 0; i < 300; ++i) {
    const std::string body = "{\"n\": " + std::to_string(i) + "}";
    const Response r = client.ask(post(i % 2 ? "/echo?x=1" : "/worker_echo", body));
    ASSERT_EQ(r.status, 200);
    ASSERT_EQ(r.body, body);
    ASSERT_EQ(r.header("content-type"), "application/json; charset=utf-8");
    ASSERT_EQ(r.header("connection"), "");
  }
  EXPECT_EQ(server_->status().connections, 1);
  const AccessRecord record = this->record(299);
  EXPECT_EQ(record.status, 200);
  EXPECT_EQ(record.route, "/echo");
  EXPECT_EQ(record.path, "/echo");
  EXPECT_EQ(record.method, "POST");
  EXPECT_EQ(record.request_bytes, 10u);
  EXPECT_GT(record.response_bytes, 10u);
  EXPECT_TRUE(record.remote.starts_with("127.0.0.1:"));
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  start();
  SocketClient client = connect();
  std::string all;
  for (int i = 0; i < 50; ++i)
    all += i % 3 ? post(i % 2 ? "/echo" : "/worker_echo", std::to_string(i))
                 : get("/v1/models/" + std::to_string(i));
  client.send(all);
  for (int i = 0; i < 50; ++i) {
    const Response r = client.response();
    ASSERT_EQ(r.status, 200);
    ASSERT_EQ(r.body, std::to_string(i));
  }
}

TEST_F(HttpServerTest, MoreIsPipelinedThanIsReadAhead) {
  start();
  SocketClient client = connect();
  const std::string body(1000, 'x');
  std::string all;
  for (int i = 0; i < 500; ++i) all += post("/worker_echo", body);
  std::thread sender([&] { client.send(all); });
  for (int i = 0; i < 500; ++i) ASSERT_EQ(client.response().body, body) << i;
  sender.join();
}

TEST_F(HttpServerTest, BodiesInPiecesOfEverySize) {
  start();
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n";
  const std::string chunks =
      "5\r\nhello\r\n1;name=value\r\n,\r\n00006\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";
  SocketClient client = connect();
  client.send_slowly(head + chunks);
  EXPECT_EQ(client.response().body, "hello, world");
  const std::string whole = head + chunks + post("/echo", "second");
  for (std::size_t cut = 1; cut < whole.size(); ++cut) {
    client.send(whole.substr(0, cut));
    client.send(whole.substr(cut));
    ASSERT_EQ(client.response().body, "hello, world") << cut;
    ASSERT_EQ(client.response().body, "second") << cut;
  }
}

TEST_F(HttpServerTest, LargeBodiesBothWays) {
  start();
  std::string body(20 << 20, 'a');
  for (std::size_t i = 0; i < body.size(); i += 4099) body[i] = static_cast<char>('b' + i % 23);
  SocketClient client = connect();
  std::thread sender([&] { client.send(post("/worker_echo", body)); });
  const Response r = client.response();
  sender.join();
  EXPECT_EQ(r.status, 200);
  EXPECT_TRUE(r.body == body);
}

TEST_F(HttpServerTest, ExpectContinueIsAnsweredBeforeTheBody) {
  start();
  SocketClient client = connect();
  const std::string request = post("/echo", "hello", "Expect: 100-Continue\r\n");
  client.send(request.substr(0, request.size() - 5));
  EXPECT_EQ(client.response().status, 100);
  client.send("hello");
  EXPECT_EQ(client.response().body, "hello");
  // A request that is refused by its head is refused at once, and its body never asked for.
  client.send(get("/health"));
  EXPECT_EQ(client.response().status, 200);
  const std::string lost = post("/nowhere", "hello", "Expect: 100-continue\r\n");
  client.send(lost.substr(0, lost.size() - 5));
  const Response r = client.response();
  EXPECT_EQ(r.status, 404);
  EXPECT_EQ(r.header("connection"), "close");
  EXPECT_TRUE(client.ended());
  EXPECT_EQ(connect().ask(post("/echo", "x", "Expect: miracles\r\n")).status, 417);
}

TEST_F(HttpServerTest, HeadIsGetWithoutItsBody) {
  start();
  SocketClient client = connect();
  client.send("HEAD /v1/models/abc HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const Response r = client.response(true);
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("content-length"), "3");
  client.send("HEAD /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.response(true).header("content-type"), "text/event-stream; charset=utf-8");
  next_held()->end_stream();
  client.send("HEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client.response(true).status, 404);
  EXPECT_EQ(client.ask(get("/health")).body, "{}");  // nothing of the others came in between
}

TEST_F(HttpServerTest, Http10ClosesUnlessAsked) {
  start();
  SocketClient client = connect();
  const std::string kept = "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
  EXPECT_EQ(client.ask(kept).header("connection"), "keep-alive");
  EXPECT_EQ(client.ask("GET /health HTTP/1.0\r\n\r\n").header("connection"), "close");
  EXPECT_TRUE(client.ended());

  SocketClient stream = connect();
  stream.send("POST /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const ExchangePtr e = next_held();
  e->write("data: 2\n\n");
  e->end_stream();
  const Response r = stream.response();
  EXPECT_EQ(r.header("transfer-encoding"), "");
  EXPECT_EQ(r.body, "data: 1\n\ndata: 2\n\n");
}

TEST_F(HttpServerTest, CloseIsObeyed) {
  start();
  SocketClient client = connect();
  const Response r = client.ask(get("/health", "Connection: close\r\n"));
  EXPECT_EQ(r.body, "{}");
  EXPECT_EQ(r.header("connection"), "close");
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpServerTest, PathsAreDecodedOnceAndRoutedWhole) {
  options_.root_path = "/proxy/";
  start();
  SocketClient client = connect();
  EXPECT_EQ(client.ask(get("/v1/models/owner/name")).body, "owner/name");
  EXPECT_EQ(client.ask(get("/v1/models/owner%2Fna%20me%2520?x=%zz")).body, "owner/na me%20");
  EXPECT_EQ(client.ask(get("/proxy/v1/models/a")).body, "a");
  EXPECT_EQ(client.ask(get("/proxyv1/models/a")).status, 404);
  EXPECT_EQ(client.ask(get("http://localhost:1/v1/models/a?x")).body, "a");
  for (const char* bad : {"/v1/models/%", "/v1/models/%4", "/v1/models/%zz", "/v1/models/%00",
                          "/v1/models/%ff", "/v1/models/%ed%a0%80", "/a#b", "health"}) {
    const Response r = client.ask(get(bad));
    EXPECT_EQ(r.status, 400) << bad;
    EXPECT_NE(r.body.find("\"code\": 400"), std::string::npos) << r.body;
  }
}

TEST_F(HttpServerTest, UnknownPathsAndMethods) {
  start();
  SocketClient client = connect();
  Response r = client.ask(get("/nowhere"));
  EXPECT_EQ(r.status, 404);
  EXPECT_NE(r.body.find("\"not_found_error\""), std::string::npos);
  EXPECT_EQ(r.header("content-type"), "application/json; charset=utf-8");
  r = client.ask("DELETE /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(r.status, 405);
  EXPECT_EQ(r.header("allow"), "POST, GET, OPTIONS");
  r = client.ask("BREW /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(r.status, 405);
  r = client.ask(get("/v1/messages"));
  EXPECT_EQ(r.status, 405);
  EXPECT_TRUE(r.body.starts_with("{\"type\": \"error\"")) << r.body;
  EXPECT_EQ(record(0).status, 404);
  EXPECT_EQ(record(1).status, 405);
  EXPECT_EQ(record(3).path, "/v1/messages");
}

TEST_F(HttpServerTest, BodyTypes) {
  start();
  const auto status = [&](std::string_view headers) {
    return connect()
        .ask("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n" +
             std::string(headers) + "\r\n{}")
        .status;
  };
  EXPECT_EQ(status("Content-Type: application/json\r\n"), 200);
  EXPECT_EQ(status("Content-Type: Application/JSON ; charset=utf-8\r\n"), 200);
  EXPECT_EQ(status("Content-Type: application/json\r\nContent-Encoding: identity\r\n"), 200);
  EXPECT_EQ(status(""), 415);
  EXPECT_EQ(status("Content-Type: text/plain\r\n"), 415);
  EXPECT_EQ(status("Content-Type: application/json5\r\n"), 415);
  EXPECT_EQ(status("Content-Type: application/json\r\nContent-Encoding: gzip\r\n"), 415);
  // Without a body there is nothing to have a type.
  EXPECT_EQ(connect().ask("POST /echo HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
}

TEST_F(HttpServerTest, RequestIds) {
  start();
  SocketClient client = connect();
  const auto id = [&](const std::string& sent) {
    return client.ask(get("/health", "X-Request-Id: " + sent + "\r\n")).header("x-request-id");
  };
  EXPECT_EQ(id("my id-1"), "my id-1");
  EXPECT_EQ(id(std::string(128, 'a')), std::string(128, 'a'));
  std::set<std::string> made;
  for (const std::string& bad : {std::string(129, 'a'), std::string(), std::string("a\tb"),
                                 std::string("\xC3\xA9"), std::string("a\x1b[31m")}) {
    const Response r = client.ask(get("/health", "X-Request-Id: " + bad + "\r\n"));
    if (r.status != 200) {  // refused as a header, and the connection with it
      EXPECT_EQ(r.status, 400);
      client = connect();
    }
    const std::string got = r.header("x-request-id");
    EXPECT_EQ(got.size(), 32u) << bad;
    made.insert(got);
  }
  EXPECT_EQ(made.size(), 5u);
  EXPECT_EQ(record(0).request_id, "my id-1");
}

TEST_F(HttpServerTest, MalformedFramesAreRefusedAndTheConnectionEnds) {
  start();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: localhost\r\n";
  const std::string json = "Content-Type: application/json\r\n";
  for (const auto& [bytes, status] : std::vector<std::pair<std::string, int>>{
           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 400},
           {"GET / HTTP/2.0\r\n\r\n", 505},
           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
           {"GET  / HTTP/1.1\r\n\r\n", 400},
           {"GET /health HTTP/1.1\nHost: localhost\n\n\r\n\r\n", 505},
           {head + "Bad Name: 1\r\n\r\n", 400},
           {head + "X: a\rb\r\n\r\n", 400},
           {head + json + "Content-Length: -1\r\n\r\n", 400},
           {head + json + "Content-Length: 2, 3\r\n\r\n{}", 400},
           {head + json + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
           {head + json + "Content-Length: 99999999999999999999\r\n\r\n", 400},
           {head + json + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
           {head + json + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400},
           {head + json + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 501},
           {head + json + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
           {head + json + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
           {"POST /echo HTTP/1.0\r\n" + json + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
           {head + json + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
           {head + json + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
           {head + json + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400},
           {head + json + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 413},
           {head + json + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n", 400},
           {"GET /health HTTP/1.1\r\n\r\n", 400},
           {"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
           {"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
           {std::string(3000, '\n'), 400},
           {std::string("GET /\0 HTTP/1.1\r\n\r\n", 19), 400}}) {
    SocketClient client = connect();
    client.send(bytes);
    const Response r = client.response();
    EXPECT_EQ(r.status, status) << bytes << r.body;
    EXPECT_TRUE(r.body.starts_with("{\"error\": {\"message\": ")) << r.body;
    EXPECT_FALSE(r.header("x-request-id").empty());
  }
  // The dialect is known even if the head never ends.
  SocketClient client = connect();
  client.send("POST /v1/messages?x HTTP/1.1\r\nBad Name: 1\r\n\r\n");
  EXPECT_TRUE(client.response().body.starts_with("{\"type\": \"error\""));
  EXPECT_EQ(connect().ask(get("/health")).status, 200);
}

TEST_F(HttpServerTest, EveryRouteButThePublicNeedsAKey) {
  options_.api_keys = {"first", "second"};
  start();
  const Router all = routes(this);
  for (const Route& route : all.routes()) {
    std::string path = route.pattern;
    if (const auto hole = path.find("{}"); hole != std::string::npos) path.replace(hole, 2, "x");
    const std::string request = route.method == "GET" ? get(path) : post(path, "{}");
    const Response r = connect().ask(request);
    if (route.is_public) {
      EXPECT_EQ(r.status, 200) << path;
      continue;
    }
    EXPECT_EQ(r.status, 401) << path;
    EXPECT_EQ(r.header("www-authenticate"), "Bearer");
    EXPECT_NE(r.body.find("authentication_error"), std::string::npos) << r.body;
  }
  const auto key = [&](std::string_view header) {
    const Response r = connect().ask(get("/echo", std::string(header) + "\r\n"));
    return r.status == 200 ? r.header("x-key") : std::to_string(r.status);
  };
  EXPECT_EQ(key("Authorization: Bearer first"), "first");
  EXPECT_EQ(key("authorization: bEARER   second "), "second");
  EXPECT_EQ(key("X-Api-Key: second"), "second");
  EXPECT_EQ(key("Authorization: Bearer old\r\nX-Api-Key: first"), "first");
  EXPECT_EQ(key("Authorization: Bearer firs"), "401");
  EXPECT_EQ(key("Authorization: Bearer firstx"), "401");
  EXPECT_EQ(key("Authorization: Bearer"), "401");
  EXPECT_EQ(key("Authorization: Bearer first second"), "401");
  EXPECT_EQ(key("Authorization: Basic first"), "401");
  EXPECT_EQ(key("Authorization: first"), "401");
  EXPECT_EQ(key("X-Api-Key: "), "401");
  // Neither hosts nor preflights are asked for a key.
  EXPECT_EQ(connect().ask("OPTIONS /echo HTTP/1.1\r\nHost: x.example\r\n\r\n").status, 204);
  EXPECT_EQ(key("X-Api-Key: first\r\nOrigin: https://page.example"), "first");
}

TEST_F(HttpServerTest, WithoutAKeyOnlyThisMachinesNamesReachALoopbackServer) {
  start();
  const auto status = [&](std::string_view host, std::string_view more = {}) {
    return connect()
        .ask("GET /health HTTP/1.1\r\nHost: " + std::string(host) + "\r\n" + std::string(more) +
             "\r\n")
        .status;
  };
  for (const char* host : {"localhost", "LocalHost:80", "127.0.0.1:8000", "127.0.0.2", "[::1]:9",
                           "localhost.", "a.localhost", ""})
    EXPECT_EQ(status(host), 200) << host;
  for (const char* host : {"evil.example", "evil.example:8000", "localhost.evil.example",
                           "127.0.0.1.evil.example", "127.evil", "10.0.0.1", "[::2]"})
    EXPECT_EQ(status(host), 403) << host;
  EXPECT_EQ(connect().ask(get("http://evil.example/health")).status, 403);
  EXPECT_EQ(status("localhost:8000", "Origin: http://localhost:8000\r\n"), 200);
  EXPECT_EQ(status("localhost:8000", "Origin: http://localhost:3000\r\n"), 403);
  EXPECT_EQ(status("localhost:8000", "Origin: https://evil.example\r\n"), 403);
  EXPECT_EQ(status("localhost:8000", "Origin: null\r\n"), 403);
  const Response r = connect().ask(
      "POST /v1/messages HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(r.status, 403);
  EXPECT_NE(r.body.find("permission_error"), std::string::npos) << r.body;
  EXPECT_TRUE(r.body.starts_with("{\"type\": \"error\""));
}

TEST_F(HttpServerTest, NoOriginIsAllowedByDefault) {
  options_.host = "0.0.0.0";
  start();
  Response r = connect().ask(get("/health", "Origin: https://a.example\r\n"));
  EXPECT_EQ(r.status, 200);
  for (const auto& [name, value] : r.headers) EXPECT_FALSE(name.starts_with("access-control"));
  r = connect().ask(
      "OPTIONS /echo HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n"
      "Access-Control-Request-Method: POST\r\n\r\n");
  EXPECT_EQ(r.status, 204);
  EXPECT_EQ(r.header("allow"), "POST, GET, OPTIONS");
  for (const auto& [name, value] : r.headers) EXPECT_FALSE(name.starts_with("access-control"));
}

TEST_F(HttpServerTest, NamedOriginsAreEchoedAndMayUseCredentials) {
  options_.allowed_origins = {"https://a.example"};
  options_.allowed_methods = {"GET", "POST"};
  options_.allowed_headers = {"Authorization", "Content-Type"};
  options_.allow_credentials = true;
  start();
  Response r = connect().ask(get("/health", "Origin: https://A.example\r\n"));
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("access-control-allow-origin"), "https://A.example");
  EXPECT_EQ(r.header("access-control-allow-credentials"), "true");
  EXPECT_EQ(r.header("vary"), "Origin");
  r = connect().ask(get("/health", "Origin: https://b.example\r\n"));
  EXPECT_EQ(r.status, 403);  // still loopback without a key
  EXPECT_EQ(r.header("access-control-allow-origin"), "");
  EXPECT_EQ(r.header("vary"), "Origin");
  r = connect().ask(
      "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n"
      "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-other\r\n\r\n");
  EXPECT_EQ(r.status, 204);
  EXPECT_EQ(r.header("access-control-allow-methods"), "GET, POST");
  EXPECT_EQ(r.header("access-control-allow-headers"), "Authorization, Content-Type");
  EXPECT_EQ(r.header("content-length"), "");
}

TEST_F(HttpServerTest, AStarAllowsEveryOriginButNoCredentials) {
  options_.allowed_origins = options_.allowed_methods = options_.allowed_headers = {"*"};
  options_.allow_credentials = true;
  start();
  Response r = connect().ask(get("/nowhere", "Origin: https://any.example\r\n"));
  EXPECT_EQ(r.status, 404);  // errors too must be readable by the page
  EXPECT_EQ(r.header("access-control-allow-origin"), "*");
  EXPECT_EQ(r.header("access-control-allow-credentials"), "");
  r = connect().ask(
      "OPTIONS /v1/messages HTTP/1.1\r\nHost: localhost\r\nOrigin: https://any.example\r\n"
      "Access-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization, x-stainless-os\r\n\r\n");
  EXPECT_EQ(r.status, 204);
  EXPECT_EQ(r.header("access-control-allow-methods"), "POST");
  EXPECT_EQ(r.header("access-control-allow-headers"), "authorization, x-stainless-os");
  EXPECT_EQ(connect().ask("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 204);
  EXPECT_EQ(connect().ask("OPTIONS /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 404);
}

TEST_F(HttpServerTest, WhatHandlersThrow) {
  start();
  for (const std::string& route : {std::string("/throw/"), std::string("/worker_throw/")}) {
    for (const auto& [kind, status] : std::vector<std::pair<std::string, int>>{{"http", 422},
                                                                               {"argument", 400},
                                                                               {"not_found", 404},
                                                                               {"overloaded", 503},
                                                                               {"internal", 500},
                                                                               {"memory", 500},
                                                                               {"runtime", 500},
                                                                               {"int", 500}}) {
      const Response r = connect().ask(get(route + kind, "X-Request-Id: r-1\r\n"));
      EXPECT_EQ(r.status, status) << kind;
      EXPECT_EQ(r.body.find("secret"), std::string::npos) << r.body;
      EXPECT_EQ(r.body.find("0x"), std::string::npos) << r.body;
      EXPECT_EQ(r.body.find("r-1") != std::string::npos, status == 500) << r.body;
      EXPECT_EQ(r.header("retry-after"), status == 503 ? "1" : "");
      EXPECT_EQ(r.body.find("\"param\": \"messages[0].content\"") != std::string::npos,
                status == 422)
          << r.body;
    }
    const Response r = connect().ask(get(route + "stream"));
    EXPECT_EQ(r.status, 200);
    EXPECT_TRUE(r.complete);
    EXPECT_TRUE(r.body.starts_with("data: 1\n\ndata: {\"error\": ")) << r.body;
    EXPECT_TRUE(r.body.ends_with("}\n\ndata: [DONE]\n\n")) << r.body;
  }
  // The operator is told what the client isn't.
  EXPECT_EQ(errors().size(), 10u);
  EXPECT_NE(errors().at(0).find("/secret/path"), std::string::npos);
}

}  // namespace
}  // namespace octet::serve
