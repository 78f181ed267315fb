#include "serve/http/bell.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"

namespace octet::serve {

Bell::Bell(boost::asio::io_context& io, std::function<void()> answer)
    : rung_(boost::asio::make_strand(io)), answer_(std::move(answer)) {
  const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) fail(ErrorCode::unavailable, "eventfd: {}", std::strerror(errno));
  rung_.assign(fd);
}

void Bell::open() {
  listen();
}

void Bell::listen() {
  rung_.async_read_some(boost::asio::buffer(&count_, sizeof count_),
                        [this](const boost::system::error_code& error, std::size_t) {
                          // A ring may have come in before the end of the read was asked for.
                          if (error || closed_) return;
                          listen();  // first: answers may throw
                          answer_();
                        });
}

void Bell::close() {
  boost::asio::post(rung_.get_executor(), [this] {
    closed_ = true;
    boost::system::error_code ignored;
    rung_.cancel(ignored);
  });
}

void Bell::ring() noexcept {
  const std::uint64_t one = 1;
  // It can't be full: each answer empties it.
  [[maybe_unused]] const auto written = ::write(rung_.native_handle(), &one, sizeof one);
}

}  // namespace octet::serve
