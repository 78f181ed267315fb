#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "serve/http/exchange.h"
#include "serve/http/router.h"

namespace octet::serve {

class HttpShared;

/// Where a core's output goes: its connection. wake() may be called from any thread.
class Outlet {
 public:
  virtual ~Outlet() = default;
  virtual void wake() = 0;
};

/// How the request came, as far as the response depends on it.
struct Protocol {
  bool http10 = false, head = false, keep_alive = true;
};

/// What the connection and the handles of one request share: the state of the response, its
/// unsent pieces, its callbacks. The public Exchange is a handle of it, so that the last handle's
/// end can be seen while the connection still holds the core. Thread-safe; callbacks are called
/// without the lock.
class ExchangeCore {
 public:
  ExchangeCore(std::shared_ptr<HttpShared> shared, std::weak_ptr<Outlet> outlet,
               HttpRequest request, const Route* route, Protocol protocol,
               std::chrono::steady_clock::time_point begin, std::size_t charged_bytes);
  ~ExchangeCore();
  ExchangeCore(const ExchangeCore&) = delete;
  ExchangeCore& operator=(const ExchangeCore&) = delete;

  /// A handle that answers 500 if it is the last and nothing was answered.
  static ExchangePtr handle(std::shared_ptr<ExchangeCore> core);

  // The handles' side: as Exchange.
  const HttpRequest& request() const { return request_; }
  void respond(int status, std::string_view content_type, std::string body, const Headers& headers);
  void begin_stream(const Headers& headers);
  void write(std::string_view piece);
  void end_stream(bool close);
  std::size_t queued_bytes() const;
  bool closed() const;
  void on_disconnect(std::function<void()> f);
  void on_writable(std::function<void()> f);
  void abandon();      ///< no response can be made: the connection ends without one
  bool ended() const;  ///< the response is whole, though perhaps unsent

  // The connection's side, on its strand.
  /// Appends the pieces since the last call.
  void take(std::deque<std::string>& out);
  /// So many bytes have gone to the socket.
  void taken(std::size_t bytes);
  /// All of the response has been taken by take().
  bool complete() const;
  bool close_after() const;  ///< the connection ends with this response
  /// The response is out, or nothing of it arrives any more. The first call counts.
  void finish(bool delivered);

 private:
  // With the lock held.
  void push(std::string piece);
  void push(std::initializer_list<std::string_view> parts);  ///< of one piece
  bool charge(std::size_t bytes);  ///< true: they belong behind the last piece
  void wake(std::unique_lock<std::mutex> lock);

  const std::shared_ptr<HttpShared> shared_;
  const std::weak_ptr<Outlet> outlet_;
  const HttpRequest request_;
  const Route* const route_;
  const Protocol protocol_;
  const std::chrono::steady_clock::time_point begin_;
  const std::size_t charged_bytes_;

  mutable std::mutex mutex_;
  std::vector<std::string> pending_;
  // Changed with the lock held. Read without it: the engine looks at every stream in every step.
  std::atomic<std::size_t> queued_ = 0;
  std::atomic<bool> finished_ = false;
  std::size_t sent_ = 0;
  int status_ = 0;
  bool streaming_ = false, ended_ = false, close_ = false;
  bool delivered_ = false, above_ = false, woken_ = false;
  std::function<void()> on_disconnect_, on_writable_;
};

}  // namespace octet::serve
