#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "serve/http/exchange.h"

namespace octet::test {

/// An exchange that remembers what it was told. Any thread.
class FakeExchange : public serve::Exchange {
 public:
  const serve::HttpRequest& request() const override { return request_; }
  void respond(int status, std::string_view, std::string body, serve::Headers headers) override {
    const std::scoped_lock lock(mutex_);
    if (begun_) return;
    begun_ = true;
    status_ = status;
    body_ = std::move(body);
    headers_ = std::move(headers);
    ended_ = true;
  }
  void begin_stream(serve::Headers headers) override {
    const std::scoped_lock lock(mutex_);
    if (begun_) return;
    begun_ = streaming_ = true;
    status_ = 200;
    headers_ = std::move(headers);
  }
  void write(std::string piece) override {
    const std::scoped_lock lock(mutex_);
    if (streaming_ && !ended_) body_ += piece;
  }
  void end_stream(bool close) override {
    const std::scoped_lock lock(mutex_);
    if (!streaming_ || ended_) return;
    ended_ = true;
    close_ = close;
  }
  std::size_t queued_bytes() const override { return 0; }
  bool closed() const override { return false; }
  void on_disconnect(std::function<void()>) override {}
  void on_writable(std::function<void()>) override {}

  int status() const {
    const std::scoped_lock lock(mutex_);
    return status_;
  }
  std::string body() const {
    const std::scoped_lock lock(mutex_);
    return body_;
  }
  serve::Headers headers() const {
    const std::scoped_lock lock(mutex_);
    return headers_;
  }
  bool ended() const {
    const std::scoped_lock lock(mutex_);
    return ended_;
  }
  bool close() const {
    const std::scoped_lock lock(mutex_);
    return close_;
  }
  /// What follows "data: " in each frame.
  std::vector<std::string> frames() const {
    std::vector<std::string> out;
    const std::string text = body();
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find("\n\n", at);
      if (end == std::string::npos) return {"unfinished frame"};
      const std::string frame = text.substr(at, end - at);
      if (frame.starts_with("data: ")) out.push_back(frame.substr(6));
      at = end + 2;
    }
    return out;
  }
  serve::HttpRequest request_;

 private:
  mutable std::mutex mutex_;
  int status_ = 0;
  std::string body_;
  serve::Headers headers_;
  bool begun_ = false, streaming_ = false, ended_ = false, close_ = false;
};

}  // namespace octet::test
