// Some threads of good, bad, slow and vanishing clients for a few seconds: no crash, no leak, and
// good requests get their answers. Meant for the sanitizers above all.
#include <atomic>
#include <random>

#include "unit/serve/http/server_fixture.h"

namespace octet::serve {
namespace {

using test::eventually;
using test::get;
using test::post;
using test::Response;
using test::SocketClient;

class HttpStressTest : public ServerFixture {};

TEST_F(HttpStressTest, GoodAndBadClients) {
  options_.io_threads = 2;
  options_.max_body_bytes = 1 << 20;
  options_.stream_queue_bytes = 64 << 10;
  options_.header_seconds = options_.body_idle_seconds = 2;
  start();
  std::atomic<bool> stop{false};
  std::atomic<int> good{0};

  // The engine: answers whatever is held, in pieces, from its own threads.
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(100 + t));
      std::vector<ExchangePtr> running;
      while (!stop || !running.empty()) {
        for (ExchangePtr e; !stop && (e = try_held());) {
          e->on_disconnect([weak = std::weak_ptr<Exchange>(e)] {
            if (const auto strong = weak.lock()) strong->queued_bytes();
          });
          e->on_writable([e] { e->write("data: room\n\n"); });
          running.push_back(std::move(e));
        }
        for (std::size_t i = 0; i < running.size();) {
          const ExchangePtr& e = running[i];
          const unsigned choice = stop ? 0 : random() % 20;
          if (choice == 0) e->respond(200, "text/plain", "whole");
          if (choice == 0) e->end_stream();
          if (choice == 1) respond_error(*e, HttpError(500, "broken"));
          if (choice > 2 && e->queued_bytes() < options_.stream_queue_bytes)
            e->write(std::string(random() % 3000, 'x'));
          if (choice <= 2 || e->closed())  // 2: dropped
            running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
          else
            ++i;
        }
        std::this_thread::yield();
      }
    });

  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      const auto below = [&](unsigned n) { return random() % n; };
      while (!stop) {
        SocketClient client(server_->port(), below(2) ? 0 : 4096);
        const unsigned requests = 1 + below(4);
        for (unsigned i = 0; i < requests; ++i) {
          const std::string body(below(3) ? below(100) : below(50000), 'b');
          const char* paths[] = {"/echo",   "/worker_echo",        "/hold",
                                 "/stream", "/v1/messages/stream", "/worker_hold",
                                 "/nowhere"};
          std::string request = post(paths[below(7)], body);
          switch (below(8)) {
            case 0: {  // good requests are answered whatever the others do
              SocketClient other(server_->port());
              EXPECT_EQ(other.ask(post("/worker_echo", body)).body, body);
              EXPECT_EQ(other.ask(post("/echo", body)).body, body);
              ++good;
              continue;
            }
            case 1:  // bytes changed
              for (unsigned k = below(4); k-- > 0;)
                request[below(static_cast<unsigned>(request.size()))] = static_cast<char>(random());
              break;
            case 2:
              request.resize(below(static_cast<unsigned>(request.size())));
              break;
            case 3:
              request += request + get("/throw/int") + get("/worker_throw/stream");
              break;
            case 4:
              request =
                  "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                  "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" +
                  std::string(below(2) ? "0\r\n\r\n" : "zz\r\n");
              break;
            default:
              break;
          }
          for (std::size_t at = 0; at < request.size();) {
            const std::size_t n = std::min<std::size_t>(1 + below(20000), request.size() - at);
            if (!client.send(std::string_view(request).substr(at, n))) break;
            at += n;
          }
          if (below(3) == 0) break;
          if (below(4) == 0) client.half_close();
          for (unsigned k = below(3); k-- > 0;) {
            pollfd wait{.fd = client.fd(), .events = POLLIN, .revents = 0};
            if (::poll(&wait, 1, 5) > 0 && !client.receive()) break;
          }
          client.discard();
        }
        if (below(3) == 0) client.reset();
      }
    });
  std::this_thread::sleep_for(std::chrono::seconds(3));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  while (try_held()) {
  }
  EXPECT_TRUE(eventually([&] { return server_->status().exchanges == 0; }))
      << server_->status().exchanges;
  EXPECT_TRUE(eventually([&] { return server_->status().connections == 0; }))
      << server_->status().connections;
  EXPECT_GT(good, 10);
  EXPECT_EQ(connect().ask(get("/health")).status, 200);
}

// Stopping in the midst of it, again and again.
TEST_F(HttpStressTest, StopAtAnyTime) {
  for (unsigned round = 0; round < 20; ++round) {
    options_.io_threads = static_cast<int>(1 + round % 3);
    start();
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        std::mt19937 random(round * 10 + t);
        while (!stop) {
          SocketClient client(server_->port());
          if (!client.connected()) continue;
          client.send(post(random() % 2 ? "/worker_echo" : "/stream", "{}"));
          if (random() % 2) client.receive_until("x");
          if (const ExchangePtr e = try_held()) {
            e->write("x");
            e->end_stream(random() % 2);
          }
        }
      });
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + round));
    server_->stop();
    EXPECT_EQ(server_->status().connections, 0);
    stop = true;
    for (std::thread& thread : threads) thread.join();
    while (try_held()) {
    }
    EXPECT_EQ(server_->status().exchanges, 0);
  }
}

}  // namespace
}  // namespace octet::serve
