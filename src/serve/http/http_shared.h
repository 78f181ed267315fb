#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "serve/http/gate.h"
#include "serve/http/server.h"
#include "serve/http/workers.h"

namespace octet::serve {

class Connection;

// Asio inside: included by sources of this folder only.

/// What the server, its connections and its exchanges share. Outlives the server while a handle of
/// an exchange is held somewhere, so that a late call finds something to be ignored by.
class HttpShared {
 public:
  HttpShared(HttpOptions o, Router r)
      : options(std::move(o)),
        router(std::move(r)),
        gate(options, router),
        workers(options.workers, options.max_worker_queue) {}

  const HttpOptions options;
  const Router router;
  Gate gate;
  boost::asio::io_context io;
  Workers workers;
  std::function<void(const AccessRecord&)> on_access;
  std::function<void(const std::string&, const std::string&)> on_error;
  std::atomic<bool> draining{false};
  std::atomic<std::int64_t> connections{0}, exchanges{0}, unanswered{0};
  std::atomic<std::size_t> body_bytes{0};  ///< of bodies that are held, or being read

  void report(const std::string& request_id, const std::string& what) const {
    if (on_error) on_error(request_id, what);
  }
  /// Calls f, if there is one; what it throws is reported and ends here, because a connection's
  /// state must not depend on somebody else's callback.
  void guarded(const std::string& request_id, const std::function<void()>& f) const {
    if (!f) return;
    try {
      f();
    } catch (const std::exception& e) {
      report(request_id, e.what());
    } catch (...) {
      report(request_id, "a callback threw something unknown");
    }
  }
  std::shared_ptr<boost::asio::ssl::context> tls() const {
    const std::scoped_lock lock(mutex_);
    return tls_;
  }
  void set_tls(std::shared_ptr<boost::asio::ssl::context> context) {
    const std::scoped_lock lock(mutex_);
    tls_ = std::move(context);
  }
  /// Notes that a connection has output. True: the list was empty, somebody has to take it.
  bool add_ready(std::shared_ptr<Connection> connection) {
    const std::scoped_lock lock(ready_mutex_);
    ready_.push_back(std::move(connection));
    return ready_.size() == 1;
  }
  std::vector<std::shared_ptr<Connection>> take_ready() {
    const std::scoped_lock lock(ready_mutex_);
    return std::exchange(ready_, {});
  }
  /// Registers an open connection. False if the server stops: it must not start then.
  bool add(Connection* connection, std::weak_ptr<Connection> pointer) {
    const std::scoped_lock lock(mutex_);
    if (stopping_) return false;
    open_.emplace(connection, std::move(pointer));
    return true;
  }
  void remove(Connection* connection) {
    const std::scoped_lock lock(mutex_);
    open_.erase(connection);
  }
  /// No more connections; returns those there are.
  std::unordered_map<Connection*, std::weak_ptr<Connection>> stop() {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    return open_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<boost::asio::ssl::context> tls_;
  std::unordered_map<Connection*, std::weak_ptr<Connection>> open_;
  bool stopping_ = false;
  std::mutex ready_mutex_;
  std::vector<std::shared_ptr<Connection>> ready_;
};

}  // namespace octet::serve
