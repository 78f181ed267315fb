#include "serve/http/http_shared.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "serve/http/connection.h"

namespace octet::serve {

// A step of the engine has output for many connections: one ring takes all that are waiting.
void HttpShared::wake(std::shared_ptr<Connection> connection) {
  {
    const std::scoped_lock lock(ready_mutex_);
    ready_.push_back(std::move(connection));
    if (ready_.size() > 1) return;  // somebody has rung
    if (bell_closed_) return boost::asio::post(io, [this] { write_ready(); });
  }
  bell_.ring();
}

void HttpShared::write_ready() {
  std::vector<std::shared_ptr<Connection>> ready;
  {
    const std::scoped_lock lock(ready_mutex_);
    ready.swap(ready_);
  }
  for (std::shared_ptr<Connection>& connection : ready)
    Connection::pump_soon(std::move(connection));
}

std::unordered_map<Connection*, std::weak_ptr<Connection>> HttpShared::stop() {
  {
    const std::scoped_lock lock(ready_mutex_);
    bell_closed_ = true;
  }
  bell_.close();
  boost::asio::post(io, [this] { write_ready(); });  // for rings that the bell has forgotten
  const std::scoped_lock lock(mutex_);
  stopping_ = true;
  return open_;
}

}  // namespace octet::serve
