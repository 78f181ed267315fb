// A server with routes of every kind, on a free port.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "serve/http/error_body.h"
#include "serve/http/server.h"
#include "unit/serve/http/socket_client.h"

namespace octet::serve {

class ServerFixture : public testing::Test {
 protected:
  void SetUp() override { options_.port = 0; }
  void TearDown() override {
    held_.clear();
    if (!server_) return;
    // Nothing may be left of any request, however it ended.
    EXPECT_TRUE(test::eventually([&] { return server_->status().exchanges == 0; }))
        << server_->status().exchanges << " exchanges";
    server_->stop();
    EXPECT_EQ(server_->status().connections, 0);
    EXPECT_EQ(server_->status().exchanges, 0);
  }

  static Router routes(ServerFixture* self) {
    Router router;
    router.add({.method = "GET",
                .pattern = "/health",
                .handler = [](const ExchangePtr& e) { e->respond(200, "application/json", "{}"); },
                .is_public = true});
    const Handler echo = [](const ExchangePtr& e) {
      e->respond(200, "application/json; charset=utf-8", e->request().body,
                 {{"X-Path", e->request().path}, {"X-Key", e->request().key}});
    };
    router.add({.method = "POST", .pattern = "/echo", .handler = echo});
    router.add({.method = "GET", .pattern = "/echo", .handler = echo});
    router.add({.method = "POST", .pattern = "/worker_echo", .handler = echo, .worker = true});
    router.add({.method = "POST", .pattern = "/v1/messages", .handler = echo});
    router.add({.method = "GET", .pattern = "/v1/models/{}", .handler = [](const ExchangePtr& e) {
                  e->respond(200, "text/plain", e->request().parameters.at(0));
                }});
    router.add({.method = "POST", .pattern = "/hold", .handler = [self](const ExchangePtr& e) {
                  self->hold(e);
                }});
    router.add({.method = "POST",
                .pattern = "/worker_hold",
                .handler = [self](const ExchangePtr& e) { self->hold(e); },
                .worker = true});
    const auto stream = [self](const ExchangePtr& e) {
      e->begin_stream({{"X-More", "1"}});
      e->write("data: 1\n\n");
      self->hold(e);
    };
    router.add({.method = "POST", .pattern = "/stream", .handler = stream});
    router.add({.method = "GET", .pattern = "/stream", .handler = stream});
    router.add({.method = "POST", .pattern = "/v1/messages/stream", .handler = stream});
    router.add({.method = "GET", .pattern = "/drop", .handler = [](const ExchangePtr&) {}});
    const Handler thrower = [](const ExchangePtr& e) {
      const std::string kind = e->request().parameters.at(0);
      if (kind == "http") throw HttpError(422, "no such picture", "messages[0].content");
      if (kind == "argument") fail(ErrorCode::invalid_argument, "bad top_p");
      if (kind == "not_found") fail(ErrorCode::not_found, "no such thing");
      if (kind == "overloaded") fail(ErrorCode::overloaded, "the queue is full");
      if (kind == "internal") fail(ErrorCode::internal, "/secret/path 0x7ffdeadbeef");
      if (kind == "memory") throw std::bad_alloc();
      if (kind == "runtime") throw std::runtime_error("/secret/path");
      if (kind == "int") throw 7;
      if (kind == "stream") {
        e->begin_stream();
        e->write("data: 1\n\n");
        throw std::runtime_error("/secret/path");
      }
    };
    router.add({.method = "GET", .pattern = "/throw/{}", .handler = thrower});
    router.add(
        {.method = "GET", .pattern = "/worker_throw/{}", .handler = thrower, .worker = true});
    return router;
  }

  void start() {
    server_ = std::make_unique<HttpServer>(options_, routes(this));
    server_->on_access = [this](const AccessRecord& record) {
      const std::scoped_lock lock(mutex_);
      records_.push_back(record);
    };
    server_->on_error = [this](const std::string& id, const std::string& what) {
      const std::scoped_lock lock(mutex_);
      errors_.push_back(id + ": " + what);
    };
    server_->start();
  }
  test::SocketClient connect() const { return test::SocketClient(server_->port()); }

  void hold(const ExchangePtr& e) {
    const std::scoped_lock lock(mutex_);
    held_.push_back(e);
  }
  /// An exchange that /hold or /stream got, or null.
  ExchangePtr try_held() {
    const std::scoped_lock lock(mutex_);
    if (held_.empty()) return nullptr;
    ExchangePtr e = held_.front();
    held_.erase(held_.begin());
    return e;
  }
  /// The next exchange that /hold or /stream got.
  ExchangePtr next_held() {
    ExchangePtr e;
    EXPECT_TRUE(test::eventually([&] { return (e = try_held()) != nullptr; }));
    return e;
  }
  std::vector<AccessRecord> records() {
    const std::scoped_lock lock(mutex_);
    return records_;
  }
  AccessRecord record(std::size_t i) {
    EXPECT_TRUE(test::eventually([&] { return records().size() > i; }));
    const auto all = records();
    return i < all.size() ? all[i] : AccessRecord{};
  }
  std::vector<std::string> errors() {
    const std::scoped_lock lock(mutex_);
    return errors_;
  }

  HttpOptions options_;
  std::unique_ptr<HttpServer> server_;

 private:
  std::mutex mutex_;
  std::vector<ExchangePtr> held_;
  std::vector<AccessRecord> records_;
  std::vector<std::string> errors_;
};

}  // namespace octet::serve
