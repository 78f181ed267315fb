#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>

namespace octet::serve {

/// Lets other threads call the I/O threads for the price of one system call. io_context's own post
/// wakes its thread while the caller still holds the lock that this thread then needs: two more
/// system calls and a switch for every token of a lone stream.
class Bell {
 public:
  /// Errors: unavailable if there is no descriptor left.
  Bell(boost::asio::io_context& io, std::function<void()> answer);
  /// Answers from now on, by an I/O thread, never twice at once. Until close() the io_context has
  /// work. Once.
  void open();
  /// Rings that were not answered yet may be forgotten. Any thread.
  void close();
  /// Any thread, also when closed. Rings between two answers count as one.
  void ring() noexcept;

 private:
  void listen();
  boost::asio::posix::stream_descriptor rung_;
  std::function<void()> answer_;
  std::uint64_t count_ = 0;
  bool closed_ = false;  ///< on the strand
};

}  // namespace octet::serve
