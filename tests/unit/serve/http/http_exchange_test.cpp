// The life of an exchange: streams, clients that go, slow readers, answers that never come.
#include <atomic>

#include "unit/serve/http/server_fixture.h"

namespace octet::serve {
namespace {

using test::eventually;
using test::get;
using test::post;
using test::Response;
using test::SocketClient;

class HttpExchangeTest : public ServerFixture {};

TEST_F(HttpExchangeTest, StreamsPieceByPiece) {
  start();
  SocketClient client = connect();
  client.send(post("/stream", "{}", "X-Request-Id: s1\r\n"));
  const ExchangePtr e = next_held();
  ASSERT_TRUE(client.receive_until("data: 1\n\n\r\n"));  // before the stream has ended
  e->respond(500, "text/plain", "too late");
  e->begin_stream();
  e->write("");  // must not end it
  e->write("data: 2\n\n");
  ASSERT_TRUE(client.receive_until("data: 2\n\n\r\n"));
  EXPECT_FALSE(e->closed());
  e->end_stream();
  e->write("data: late\n\n");
  const Response r = client.response();
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(r.header("cache-control"), "no-cache");
  EXPECT_EQ(r.header("x-accel-buffering"), "no");
  EXPECT_EQ(r.header("transfer-encoding"), "chunked");
  EXPECT_EQ(r.header("x-request-id"), "s1");
  EXPECT_EQ(r.header("x-more"), "1");
  EXPECT_EQ(r.body, "data: 1\n\ndata: 2\n\n");
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(eventually([&] { return e->closed(); }));
  EXPECT_EQ(client.ask(get("/health")).status, 200);  // the connection lives on
  EXPECT_EQ(record(0).status, 200);
  EXPECT_EQ(record(0).route, "/stream");
}

TEST_F(HttpExchangeTest, EndStreamCanCloseTheConnection) {
  start();
  SocketClient client = connect();
  client.send(post("/stream", "{}"));
  next_held()->end_stream(true);
  EXPECT_TRUE(client.response().complete);
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpExchangeTest, TheFirstAnswerCounts) {
  start();
  SocketClient client = connect();
  client.send(post("/hold", "{}"));
  const ExchangePtr e = next_held();
  e->write("nothing has begun");
  e->end_stream();
  e->respond(201, "text/plain", "one", {{"X-A", "b\r\nX-Evil: 1"}});
  e->respond(202, "text/plain", "two");
  e->begin_stream();
  e->write("three");
  e->end_stream(true);
  const Response r = client.response();
  EXPECT_EQ(r.status, 201);
  EXPECT_EQ(r.body, "one");
  EXPECT_EQ(r.header("x-a"), "b  X-Evil: 1");
  EXPECT_EQ(client.ask(get("/health")).body, "{}");
}

TEST_F(HttpExchangeTest, ManyThreadsAnswerAtOnce) {
  start();
  for (int round = 0; round < 50; ++round) {
    SocketClient client = connect();
    client.send(post("/hold", "{}"));
    const ExchangePtr e = next_held();
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([&e, i] {
        if (i == 0) e->respond(200, "text/plain", "whole");
        if (i == 1) respond_error(*e, HttpError(500, "broken"));
        e->begin_stream();
        e->write("piece");
        e->end_stream();
        e->on_disconnect([] {});
        e->on_writable([] {});
      });
    for (std::thread& thread : threads) thread.join();
    const Response r = client.response();
    EXPECT_TRUE(r.complete);
    // The stream of one may be ended by the error of another before it has said anything.
    EXPECT_TRUE(r.body == "whole" || r.status == 500 || r.body.starts_with("piece") ||
                (r.body.starts_with("data: {") && r.body.ends_with("data: [DONE]\n\n")))
        << r.status << r.body;
  }
}

TEST_F(HttpExchangeTest, DroppedUnansweredIs500) {
  start();
  Response r = connect().ask(get("/drop", "X-Request-Id: d1\r\n"));
  EXPECT_EQ(r.status, 500);
  EXPECT_NE(r.body.find("d1"), std::string::npos);
  SocketClient client = connect();
  client.send(post("/worker_hold", "{}"));
  next_held();  // and dropped, on another thread
  EXPECT_EQ(client.response().status, 500);
}

TEST_F(HttpExchangeTest, DroppedInAStreamIsAnErrorFrame) {
  start();
  SocketClient client = connect();
  client.send(post("/stream", "{}"));
  next_held();
  Response r = client.response();
  EXPECT_TRUE(r.complete);
  EXPECT_TRUE(r.body.starts_with("data: 1\n\ndata: {\"error\"")) << r.body;
  EXPECT_TRUE(r.body.ends_with("data: [DONE]\n\n")) << r.body;
  EXPECT_TRUE(client.ended());
  SocketClient other = connect();
  other.send(post("/v1/messages/stream", "{}"));
  next_held();
  r = other.response();
  EXPECT_NE(r.body.find("event: error\ndata: {\"type\": \"error\""), std::string::npos) << r.body;
  EXPECT_EQ(r.body.find("[DONE]"), std::string::npos) << r.body;
}

// How a client can go. Each is heard in each phase.
enum class Way { fin, half_close, rst };

void leave(SocketClient& client, Way way) {
  if (way == Way::fin) client.close();
  if (way == Way::half_close) client.half_close();
  if (way == Way::rst) client.reset();
}

class HttpDisconnectTest : public ServerFixture, public testing::WithParamInterface<Way> {};

TEST_P(HttpDisconnectTest, WhileAHandlerWorks) {
  start();
  for (const std::string path : {"/hold", "/worker_hold", "/stream"}) {
    const std::size_t before = records().size();
    SocketClient client = connect();
    client.send(post(path, "{}"));
    const ExchangePtr e = next_held();
    std::atomic<int> calls{0};
    e->on_disconnect([&] { ++calls; });
    EXPECT_FALSE(e->closed());
    EXPECT_EQ(calls, 0);
    leave(client, GetParam());
    EXPECT_TRUE(eventually([&] { return calls == 1; })) << path;
    EXPECT_TRUE(e->closed());
    e->respond(200, "text/plain", "nobody hears it");
    e->write("nor this");
    EXPECT_EQ(e->queued_bytes(), 0u);
    e->end_stream();
    std::atomic<bool> at_once{false};
    e->on_disconnect([&] { at_once = true; });
    EXPECT_TRUE(at_once);
    EXPECT_EQ(record(before).status, 499);
    EXPECT_EQ(calls, 1);
  }
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
}

TEST_P(HttpDisconnectTest, WithPipelinedRequestsBehind) {
  start();
  SocketClient client = connect();
  client.send(post("/hold", "{}"));
  const ExchangePtr e = next_held();
  std::atomic<bool> gone{false};
  e->on_disconnect([&] { gone = true; });
  // More than the server reads ahead, so that no read of it is pending; less than what its socket
  // takes.
  std::string many;
  while (many.size() < 100 << 10) many += get("/health");
  client.send(many);
  leave(client, GetParam());
  EXPECT_TRUE(eventually([&] { return gone.load(); }));
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
}

TEST_P(HttpDisconnectTest, InEveryPhaseOfReading) {
  start();
  const std::string request = post("/hold", std::string(200, 'x'));
  for (std::size_t cut = 0; cut < request.size(); cut += 7) {
    SocketClient client = connect();
    client.send(request.substr(0, cut));
    ASSERT_TRUE(eventually([&] { return server_->status().connections == 1; })) << cut;
    leave(client, GetParam());
    ASSERT_TRUE(eventually([&] { return server_->status().connections == 0; })) << cut;
  }
  // Those whose head had come have a record. A reset may overtake it.
  for (const AccessRecord& record : records()) EXPECT_EQ(record.status, 499);
  const std::size_t heads = 200 / 7;
  if (GetParam() == Way::rst)
    EXPECT_LE(records().size(), heads + 1);
  else
    EXPECT_GE(records().size(), heads);
}

TEST_P(HttpDisconnectTest, WhileTheResponseWaitsForItsReader) {
  start();
  SocketClient client(server_->port(), 4096);
  client.send(post("/stream", "{}"));
  const ExchangePtr e = next_held();
  std::atomic<bool> gone{false};
  e->on_disconnect([&] { gone = true; });
  e->write(std::string(32 << 20, 'x'));
  EXPECT_TRUE(eventually([&] { return e->queued_bytes() < 32 << 20; }));
  EXPECT_GT(e->queued_bytes(), 0u);
  leave(client, GetParam());
  EXPECT_TRUE(eventually([&] { return gone.load(); }));
  EXPECT_EQ(record(0).status, 499);
}

INSTANTIATE_TEST_SUITE_P(Ways, HttpDisconnectTest,
                         testing::Values(Way::fin, Way::half_close, Way::rst));

TEST_F(HttpExchangeTest, AClientThatClosesItsSideStillGetsAWholeResponse) {
  start();
  // The answer is made before the end of the connection can be seen.
  for (int i = 0; i < 20; ++i) {
    SocketClient client = connect();
    client.send(post("/hold", "{}"));
    next_held()->respond(200, "text/plain", std::string(1 << 20, 'x'));
    client.half_close();
    EXPECT_EQ(client.response().body.size(), 1u << 20);
    EXPECT_TRUE(client.ended());
  }
  EXPECT_EQ(record(19).status, 200);
}

TEST_F(HttpExchangeTest, NothingIsCalledAfterTheResponseIsOut) {
  start();
  SocketClient client = connect();
  client.send(post("/hold", "{}"));
  ExchangePtr e = next_held();
  std::atomic<int> calls{0};
  // Callbacks may hold the exchange: they go with the response.
  e->on_disconnect([&calls, e] { ++calls; });
  e->on_writable([&calls, e] { ++calls; });
  e->respond(200, "text/plain", "x");
  EXPECT_EQ(client.response().status, 200);
  EXPECT_TRUE(eventually([&] { return e->closed(); }));
  e->on_disconnect([&calls] { ++calls; });
  e.reset();
  client.close();
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
  EXPECT_EQ(server_->status().exchanges, 0);
  EXPECT_EQ(calls, 0);
}

TEST_F(HttpExchangeTest, ASlowReaderIsSeenAndHeardOf) {
  options_.stream_queue_bytes = 64 << 10;
  start();
  SocketClient client(server_->port(), 4096);
  client.send(post("/stream", "{}"));
  const ExchangePtr e = next_held();
  std::atomic<int> writable{0};
  std::atomic<std::size_t> at{SIZE_MAX};
  e->on_writable([&] {
    at = e->queued_bytes();
    ++writable;
  });
  const std::string piece(8 << 10, 'x');
  std::size_t written = 9;
  // The sockets' own buffers take megabytes before the queue grows.
  for (int i = 0; i < 10000 && e->queued_bytes() <= options_.stream_queue_bytes; ++i) {
    e->write(piece);
    written += piece.size();
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  EXPECT_GT(e->queued_bytes(), options_.stream_queue_bytes);
  // It may have been called while the sockets still took all; now nothing moves any more.
  const int before = writable;
  // Others are served meanwhile.
  EXPECT_EQ(connect().ask(post("/worker_echo", "{}")).status, 200);
  std::thread end([&] {
    EXPECT_TRUE(eventually([&] { return writable > before; }));
    EXPECT_LT(at, options_.stream_queue_bytes / 2);
    e->end_stream();
  });
  const Response r = client.response();
  end.join();
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(r.body.size(), written);
  // Counted once it has gone, so perhaps after it has come.
  EXPECT_TRUE(eventually([&] { return e->queued_bytes() == 0; }));
}

TEST_F(HttpExchangeTest, AReaderThatStallsIsAborted) {
  options_.write_stall_seconds = 0.3;
  start();
  SocketClient client(server_->port(), 4096);
  client.send(post("/stream", "{}"));
  const ExchangePtr e = next_held();
  std::atomic<bool> gone{false};
  e->on_disconnect([&] { gone = true; });
  e->write(std::string(32 << 20, 'x'));
  EXPECT_TRUE(eventually([&] { return gone.load(); }));
  EXPECT_EQ(record(0).status, 499);
  // A whole response that nobody takes ends so too.
  SocketClient other(server_->port(), 4096);
  other.send(post("/hold", "{}"));
  next_held()->respond(200, "text/plain", std::string(32 << 20, 'x'));
  EXPECT_EQ(record(1).status, 499);
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
}

TEST_F(HttpExchangeTest, ThrowingCallbacksHurtNobody) {
  start();
  SocketClient client = connect();
  client.send(post("/hold", "{}"));
  const ExchangePtr e = next_held();
  e->on_disconnect([] { throw std::runtime_error("from a callback"); });
  client.close();
  EXPECT_EQ(record(0).status, 499);
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }));
  EXPECT_NE(errors().at(0).find("from a callback"), std::string::npos);
}

TEST_F(HttpExchangeTest, AnExchangeMayOutliveTheServer) {
  start();
  SocketClient client = connect();
  client.send(post("/stream", "{}"));
  SocketClient waiting = connect();
  waiting.send(post("/hold", "{}"));
  const ExchangePtr first = next_held(), second = next_held();
  std::atomic<int> gone{0};
  first->on_disconnect([&] { ++gone; });
  second->on_disconnect([&] { ++gone; });
  server_->stop();
  EXPECT_EQ(gone, 2);
  EXPECT_EQ(server_->status().connections, 0);
  server_.reset();
  first->write("x");
  first->end_stream();
  second->respond(200, "text/plain", "x");
  EXPECT_TRUE(first->closed());
  EXPECT_EQ(second->request().path.empty(), false);
}

TEST_F(HttpExchangeTest, ClosedWhileWaitingForAWorkerIsNeverHandled) {
  options_.workers = 1;
  std::atomic<bool> go{false};
  std::atomic<int> handled{0};
  Router router;
  router.add({.method = "POST",
              .pattern = "/slow",
              .handler =
                  [&](const ExchangePtr& e) {
                    ++handled;
                    while (!go) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                    e->respond(200, "text/plain", "done");
                  },
              .worker = true});
  options_.max_worker_queue = 2;
  HttpServer server(options_, router);
  std::atomic<int> cancelled{0};
  server.on_access = [&](const AccessRecord& record) { cancelled += record.status == 499; };
  server.start();
  SocketClient first(server.port());
  first.send(post("/slow", "{}"));
  ASSERT_TRUE(eventually([&] { return handled == 1; }));
  SocketClient second(server.port()), third(server.port());
  second.send(post("/slow", "{}"));
  third.send(post("/slow", "{}"));
  ASSERT_TRUE(eventually([&] { return server.status().exchanges == 3; }));
  // The queue is full.
  const Response r = SocketClient(server.port()).ask(post("/slow", "{}"));
  EXPECT_EQ(r.status, 503);
  EXPECT_EQ(r.header("retry-after"), "1");
  second.close();
  ASSERT_TRUE(eventually([&] { return cancelled == 1; }));
  go = true;
  EXPECT_EQ(first.response().body, "done");
  EXPECT_EQ(third.response().body, "done");
  EXPECT_EQ(handled, 2);
  EXPECT_TRUE(eventually([&] { return server.status().exchanges == 0; }));
}

}  // namespace
}  // namespace octet::serve
