#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "checkpoint/checkpoint.h"
#include "fake_exchange.h"
#include "request_world.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"
#include "serve/api/routes.h"

namespace octet::test {

/// A client that can wait, be slow, and go away.
class FakeClient : public FakeExchange {
 public:
  bool closed() const override { return gone_; }
  void on_disconnect(std::function<void()> f) override {
    bool now = false;
    {
      const std::scoped_lock lock(hooks_);
      now = gone_;
      disconnect_ = f;
    }
    if (now) f();
  }
  void on_writable(std::function<void()> f) override {
    const std::scoped_lock lock(hooks_);
    writable_ = std::move(f);
  }
  std::size_t queued_bytes() const override { return queued_; }
  void write(std::string piece) override {
    hangs_.wait(true);
    FakeExchange::write(std::move(piece));
  }
  /// Whoever writes waits for the other call.
  void hang(bool on) {
    hangs_ = on;
    hangs_.notify_all();
  }
  void go() {
    std::function<void()> f;
    {
      const std::scoped_lock lock(hooks_);
      gone_ = true;
      f = disconnect_;
    }
    if (f) f();
  }
  /// Reads nothing, or goes on to read.
  void hold(bool full) {
    std::function<void()> f;
    {
      const std::scoped_lock lock(hooks_);
      queued_ = full ? 2 << 20 : 0;
      if (!full) f = writable_;
    }
    if (f) f();
  }
  void wait() const {
    while (!ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

 private:
  mutable std::mutex hooks_;
  std::atomic<bool> gone_ = false, hangs_ = false;
  std::atomic<std::size_t> queued_ = 0;
  std::function<void()> disconnect_, writable_;
};

/// models/tiny behind the routes, without sockets.
class ServedModel {
 public:
  explicit ServedModel(serve::ServiceOptions options = {}, generate::EngineOptions engine = {},
                       bool run = true)
      : checkpoint_(checkpoint::Checkpoint::open(tiny_model())),
        pool_(1),
        backend_(ops::make_backend({}, pool_)),
        model_(*backend_, checkpoint_) {
    if (options.served_model_names.empty()) options.served_model_names = {"tiny", "second/name"};
    engine.max_sequences = 8;
    engine.max_step_rows = 64;
    if (engine.max_model_len == 0) engine.max_model_len = 2048;
    engine.kv_tokens = 8 * 2048;
    engine.snapshot_slots = 4;
    const auto& tokenizer = RequestWorld::tiny_tokenizer();
    engine.num_tokens = tokenizer.size();
    engine_ = std::make_unique<generate::Engine>(model_, engine);
    service_ = std::make_unique<serve::Service>(
        std::move(options), tokenizer, chat_template::ChatTemplate::load(tiny_model()),
        checkpoint::read_generation_config(tiny_model(), checkpoint_.config()), *engine_,
        checkpoint_.config().text.vocab_size);
    serve::add_routes(router_, state_, false);
    if (run) thread_ = std::make_unique<generate::EngineThread>(*engine_);
    state_.serve(*service_);
  }

  /// Handles a request; the answer may come later.
  std::shared_ptr<FakeClient> start(const std::string& method, const std::string& path,
                                    const std::string& body = {}) {
    auto client = std::make_shared<FakeClient>();
    auto& r = client->request_;
    r.method = method;
    r.path = path;
    r.request_id = "r" + std::to_string(++requests_);
    r.headers = {{"content-type", "application/json"}};
    r.body = body;
    std::string allow;
    const serve::Route* route = router_.find(method, path, r.parameters, allow);
    if (!route) {
      ADD_FAILURE() << "no route " << method << " " << path;
      client->respond(404, "", "{}", {});
      return client;
    }
    route->handler(client);
    return client;
  }
  std::shared_ptr<FakeClient> ask(const std::string& method, const std::string& path,
                                  const std::string& body = {}) {
    auto client = start(method, path, body);
    client->wait();
    return client;
  }
  json::value post(const std::string& path, const std::string& body, int status = 200) {
    const auto client = ask("POST", path, body);
    EXPECT_EQ(client->status(), status) << client->body();
    return parse_json(client->body(), path);
  }

  serve::ServerState& state() { return state_; }
  serve::Service& service() { return *service_; }
  generate::Engine& engine() { return *engine_; }
  const serve::Router& router() const { return router_; }

 private:
  checkpoint::Checkpoint checkpoint_;
  ThreadPool pool_;
  std::unique_ptr<ops::Backend> backend_;
  model::TextModel model_;
  std::unique_ptr<generate::Engine> engine_;
  std::unique_ptr<serve::Service> service_;
  serve::ServerState state_;
  serve::Router router_;
  std::unique_ptr<generate::EngineThread> thread_;
  int requests_ = 0;
};

}  // namespace octet::test
