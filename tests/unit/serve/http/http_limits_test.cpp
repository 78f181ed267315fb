// Limits and deadlines, with values small enough to reach, and the end of the server.
#include <sys/resource.h>

#include <atomic>

#include "unit/serve/http/server_fixture.h"

namespace octet::serve {
namespace {

using test::eventually;
using test::get;
using test::post;
using test::Response;
using test::SocketClient;

class HttpLimitsTest : public ServerFixture {};

TEST_F(HttpLimitsTest, Bodies) {
  options_.max_body_bytes = 100000;
  start();
  SocketClient client = connect();
  EXPECT_EQ(client.ask(post("/echo", std::string(100000, 'x'))).body.size(), 100000u);
  // By its length before a byte of it is read, and also while the client sends on.
  for (const std::size_t size : {std::size_t{100001}, std::size_t{30} << 20}) {
    SocketClient large = connect();
    const std::string request = post("/v1/messages", std::string(size, 'x'));
    std::thread sender([&] { large.send(request); });
    const Response r = large.response();
    sender.join();
    EXPECT_EQ(r.status, 413);
    EXPECT_EQ(r.header("connection"), "close");
    EXPECT_NE(r.body.find("request_too_large"), std::string::npos) << r.body;
  }
  const std::string chunked =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n";
  const std::string chunk = "4e20\r\n" + std::string(20000, 'x') + "\r\n";
  client.send(chunked + chunk + chunk + chunk + chunk + chunk + "0\r\n\r\n");
  EXPECT_EQ(client.response().body.size(), 100000u);
  SocketClient other = connect();
  other.send(chunked + chunk + chunk + chunk + chunk + chunk + "1\r\nx\r\n0\r\n\r\n");
  EXPECT_EQ(other.response().status, 413);
}

TEST_F(HttpLimitsTest, BodiesOfAllTogether) {
  options_.max_held_body_bytes = 1 << 20;
  start();
  SocketClient first = connect(), second = connect();
  first.send(post("/hold", std::string(900 << 10, 'x')));
  ExchangePtr held = next_held();
  const Response r = second.ask(post("/echo", std::string(200 << 10, 'x')));
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(r.header("retry-after"), "1");
  EXPECT_EQ(connect().ask(post("/echo", "{}")).status, 200);  // small ones cost nothing
  held->respond(200, "text/plain", "x");
  held.reset();
  EXPECT_EQ(first.response().status, 200);
  EXPECT_TRUE(eventually([&] { return server_->status().exchanges == 0; }));
  EXPECT_EQ(connect().ask(post("/echo", std::string(900 << 10, 'x'))).status, 200);
}

TEST_F(HttpLimitsTest, Heads) {
  start();
  SocketClient client = connect();
  EXPECT_EQ(client.ask(get("/health", "X: " + std::string(60 << 10, 'x') + "\r\n")).status, 200);
  const std::string large = get("/health", "X: " + std::string(70 << 10, 'x') + "\r\n");
  EXPECT_EQ(connect().ask(large).status, 431);
  // Line by line, so that each piece is small.
  SocketClient lines = connect();
  lines.send("GET /health HTTP/1.1\r\nHost: localhost\r\n");
  std::thread sender([&] {
    for (int i = 0; i < 200 && lines.send("X: " + std::string(998, 'x') + "\r\n"); ++i)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
  });
  EXPECT_EQ(lines.response().status, 431);
  sender.join();
  std::string many;
  for (int i = 0; i < 300; ++i) many += "X: y\r\n";
  EXPECT_EQ(connect().ask(get("/health", many)).status, 431);
  EXPECT_EQ(record(1).status, 431);
}

TEST_F(HttpLimitsTest, Targets) {
  start();
  EXPECT_EQ(connect().ask(get("/health?" + std::string(8000, 'x'))).status, 200);
  EXPECT_EQ(connect().ask(get("/health?" + std::string(8192, 'x'))).status, 414);
  SocketClient endless = connect();
  endless.send("GET /v1/messages?" + std::string(20000, 'x'));
  const Response r = endless.response();
  EXPECT_EQ(r.status, 414);
  EXPECT_TRUE(r.body.starts_with("{\"type\": \"error\"")) << r.body;
}

TEST_F(HttpLimitsTest, ChunkExtensionsAndTrailersAreBounded) {
  start();
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n";
  for (const std::string start : {"1;a=", "0\r\nX: "}) {
    SocketClient client = connect();
    client.send(head + start);
    std::thread sender([&] {
      const std::string piece(4096, 'x');
      for (int i = 0; i < 1000 && client.send(piece); ++i) {
      }
    });
    EXPECT_EQ(client.response().status, 400);
    sender.join();
  }
}

TEST_F(HttpLimitsTest, AHeadMustComeInTime) {
  options_.header_seconds = 2;
  start();
  SocketClient silent = connect(), slow = connect(), second = connect();
  slow.send("GET /v1/messages HTTP/1.1\r\nHost: localhost\r\n");
  // Dripping bytes buy no time.
  std::atomic<bool> done{false};
  std::thread drip([&] {
    while (!done && slow.send("X: y\r\n"))
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  const Response r = slow.response();
  done = true;
  drip.join();
  EXPECT_EQ(r.status, 408);
  EXPECT_TRUE(r.body.starts_with("{\"type\": \"error\"")) << r.body;
  EXPECT_TRUE(silent.ended());
  // The second request of a connection too.
  EXPECT_TRUE(second.ended());
  SocketClient again = connect();
  EXPECT_EQ(again.ask(get("/health")).status, 200);
  again.send("GET /");
  EXPECT_EQ(again.response().status, 408);
  EXPECT_TRUE(eventually([&] { return records().size() == 3; }));
}

TEST_F(HttpLimitsTest, ABodyMayBeSlowButNotStop) {
  options_.body_idle_seconds = 2;
  start();
  SocketClient slow = connect(), stopped = connect();
  const std::string request = post("/echo", std::string(20, 'x'));
  stopped.send(request.substr(0, request.size() - 20));
  slow.send(request.substr(0, request.size() - 20));
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(120));
    slow.send("x");
  }
  EXPECT_EQ(slow.response().status, 200);
  EXPECT_EQ(stopped.response().status, 408);
  EXPECT_TRUE(stopped.ended());
}

TEST_F(HttpLimitsTest, IdleConnectionsEnd) {
  options_.keep_alive_seconds = 0.3;
  start();
  SocketClient client = connect();
  EXPECT_EQ(client.ask(get("/health")).status, 200);
  EXPECT_TRUE(client.ended());
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
  // Not while a request is under way.
  SocketClient working = connect();
  working.send(post("/hold", "{}"));
  const ExchangePtr e = next_held();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  e->respond(200, "text/plain", "late");
  EXPECT_EQ(working.response().body, "late");
}

TEST_F(HttpLimitsTest, AThousandIdleConnections) {
  start();  // raises the limit of files, too
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2200) GTEST_SKIP() << "too few files are allowed: " << limit.rlim_cur;
  std::vector<SocketClient> clients;
  for (int i = 0; i < 1000; ++i) {
    clients.push_back(connect());
    ASSERT_TRUE(clients.back().connected());
    if (i % 2) clients.back().send("POST /echo HTTP/1.1\r\nHos");
  }
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 1000; }));
  EXPECT_EQ(connect().ask(post("/worker_echo", "{}")).status, 200);
  for (std::size_t i = 1; i < clients.size(); i += 2) {
    clients[i].send("t: localhost\r\nContent-Length: 0\r\n\r\n");
    ASSERT_EQ(clients[i].response().status, 200) << i;
  }
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
}

TEST_F(HttpLimitsTest, MoreConnectionsThanAllowedGet503) {
  options_.max_connections = 3;
  start();
  std::vector<SocketClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(connect());
    EXPECT_EQ(clients.back().ask(get("/health")).status, 200);
  }
  SocketClient refused = connect();
  const Response r = refused.response();
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(r.header("retry-after"), "1");
  EXPECT_TRUE(refused.ended());
  clients.pop_back();
  EXPECT_TRUE(eventually([&] { return connect().ask(get("/health")).status == 200; }));
}

TEST_F(HttpLimitsTest, DrainingAnswersHealthAndWhatHadBegun) {
  start();
  SocketClient streaming = connect(), idle = connect(), working = connect();
  streaming.send(post("/stream", "{}"));
  const ExchangePtr stream = next_held();
  working.send(post("/hold", "{}"));
  const ExchangePtr work = next_held();
  EXPECT_EQ(idle.ask(get("/health")).status, 200);
  SocketClient kept = connect();
  EXPECT_EQ(kept.ask(post("/echo", "{}")).header("connection"), "");
  server_->drain();
  SocketClient fresh = connect();
  EXPECT_EQ(idle.ask(get("/health")).header("connection"), "close");
  for (SocketClient* client : {&kept, &fresh}) {
    const Response r = client->ask(post("/v1/messages", "{}"));
    EXPECT_EQ(r.status, 503);
    EXPECT_EQ(r.header("retry-after"), "5");
    EXPECT_EQ(r.header("connection"), "close");
    EXPECT_NE(r.body.find("overloaded_error"), std::string::npos) << r.body;
    EXPECT_TRUE(client->ended());
  }
  EXPECT_EQ(connect().ask(get("/health")).status, 200);
  stream->write("data: 2\n\n");
  stream->end_stream();
  EXPECT_EQ(streaming.response().body, "data: 1\n\ndata: 2\n\n");
  work->respond(200, "text/plain", "done");
  const Response r = working.response();
  EXPECT_EQ(r.body, "done");
  EXPECT_EQ(r.header("connection"), "close");
  EXPECT_TRUE(working.ended());
}

TEST_F(HttpLimitsTest, StopLetsWholeResponsesLeave) {
  start();
  SocketClient client = connect(), stream = connect();
  client.send(post("/hold", "{}"));
  ExchangePtr e = next_held();
  stream.send(post("/stream", "{}"));
  ExchangePtr s = next_held();
  s->write("data: the end\n\n");
  s->end_stream(true);
  e->respond(200, "text/plain", std::string(256 << 10, 'x'));
  e.reset();
  s.reset();
  std::thread stop([&] { server_->stop(); });
  EXPECT_EQ(client.response().body.size(), 256u << 10);
  EXPECT_EQ(stream.response().body, "data: 1\n\ndata: the end\n\n");
  stop.join();
  EXPECT_EQ(server_->status().connections, 0);
}

TEST_F(HttpLimitsTest, StopEndsStuckClientsInEveryPhase) {
  start();
  std::vector<SocketClient> clients;
  std::vector<ExchangePtr> held;
  for (const std::string& request :
       {std::string(), std::string("GET / HT"), post("/echo", "x").substr(0, 100), get("/health"),
        post("/hold", "{}"), post("/stream", "{}"), post("/hold", "{}"), post("/stream", "{}")}) {
    clients.emplace_back(server_->port(), 4096);
    clients.back().send(request);
    if (request.find("/hold") != std::string::npos || request.find("/stream") != std::string::npos)
      held.push_back(next_held());
  }
  // Neither is read: one is whole, the other goes on.
  held[2]->respond(200, "text/plain", std::string(32 << 20, 'x'));
  held[3]->write(std::string(32 << 20, 'x'));
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 8; }));
  server_->stop();
  EXPECT_EQ(server_->status().connections, 0);
  for (const ExchangePtr& e : held) EXPECT_TRUE(e->closed());
  EXPECT_FALSE(connect().connected());
  server_->stop();  // again does nothing
}

TEST_F(HttpLimitsTest, AServerThatNeverStartedOrNeverHadAClient) {
  {
    const HttpServer never(options_, routes(this));
  }
  start();
  EXPECT_EQ(server_->url(), "http://127.0.0.1:" + std::to_string(server_->port()));
}

}  // namespace
}  // namespace octet::serve
