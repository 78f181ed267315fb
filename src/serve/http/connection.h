#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "serve/http/exchange_core.h"
#include "serve/http/http_shared.h"
#include "serve/http/request_parser.h"

namespace octet::serve {

// Asio inside: included by sources of this folder only.

/// One client's socket, TCP, Unix or TLS: reads a request, has it answered, reads the next. A read
/// is always pending, also while a handler works, because its end is how a client's going is
/// heard; requests that come meanwhile wait in the buffer. All members without a note run on the
/// strand of the socket.
class Connection final : public Outlet, public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  /// The socket's executor must be a strand. tls: null for none.
  Connection(std::shared_ptr<HttpShared> shared, Socket socket, std::string remote,
             std::shared_ptr<boost::asio::ssl::context> tls);
  ~Connection() override;
  void start();          ///< any thread, once
  void wake() override;  ///< any thread: the exchange has output
  /// The server ends. Any thread. A whole response has a second to leave.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  using IoError = boost::system::error_code;
  enum class State { handshake, idle, head, body, busy, linger, closed };

  // Reading.
  void read();
  void on_read(const IoError& error, std::size_t bytes);
  void parse();             ///< takes requests out of the buffer until one is being answered
  bool skip_blank_lines();  ///< false: nothing but those
  void charge_body();       ///< accounts for the body read so far. Errors: HttpError 503
  void on_head();           ///< the head is whole. Errors: HttpError
  void read_deadline(double seconds);

  // Answering.
  void make_core(const Route* route, bool keep_alive);
  ExchangePtr begin_exchange(const Route* route, bool keep_alive);
  void dispatch();
  void refuse(const HttpError& error, bool keep_alive);
  void end_exchange();

  // Writing and ending.
  void pump();
  bool write_now();  ///< false: the socket takes nothing now, or the connection was closed
  void sent(std::size_t bytes);
  void on_write(const IoError& error, std::size_t bytes);
  void peer_gone();
  bool watching() const;  ///< no read is pending, so the peer's end must be asked for
  void begin_linger();
  void close();

  void arm();
  void on_timer();

  const std::shared_ptr<HttpShared> shared_;
  Socket socket_;
  const std::shared_ptr<boost::asio::ssl::context> tls_context_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
  const std::string remote_;
  State state_ = State::handshake;

  std::string block_, in_;  ///< where the pending read goes; read and not yet taken
  bool reading_ = false, peer_ended_ = false;
  std::optional<RequestParser> parser_;
  HttpRequest request_;  ///< what is known of the request that is being read
  Gate::Admission admission_;
  Clock::time_point begin_{};      ///< of the request: its first byte
  std::size_t charged_bytes_ = 0;  ///< of the body, in shared_->body_bytes
  std::size_t blank_bytes_ = 0;

  std::shared_ptr<ExchangeCore> core_;
  std::deque<std::string> out_;
  std::size_t out_offset_ = 0;       ///< of the first piece: sent already
  std::size_t uncounted_bytes_ = 0;  ///< ahead in out_ and not of the exchange (100 Continue)
  bool writing_ = false, stopping_ = false;

  boost::asio::steady_timer timer_;
  Clock::time_point read_by_ = Clock::time_point::max(), write_by_ = Clock::time_point::max(),
                    armed_ = Clock::time_point::max();
};

}  // namespace octet::serve
