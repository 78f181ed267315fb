#include "serve/http/connection.h"

#include <openssl/rand.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <utility>

#include "serve/http/target.h"

namespace octet::serve {
namespace asio = boost::asio;
namespace {

// What is read ahead while a request is being answered. With that much waiting, the end of the
// connection is asked of the socket itself.
constexpr std::size_t kReadAheadBytes = 64 << 10;
constexpr auto kWatchInterval = std::chrono::milliseconds(50);
// For a client that was refused in the middle of its body: until it has read why.
constexpr double kLingerSeconds = 2;
// What is written without waiting before others get their turn.
constexpr int kDirectWrites = 4;
constexpr std::size_t kBuffers = 16;
constexpr double kStopSeconds = 1;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string new_request_id() {
  std::array<unsigned char, 16> random{};
  if (RAND_bytes(random.data(), random.size()) != 1)
    fail(ErrorCode::internal, "no random numbers for a request id");
  std::string id;
  for (const unsigned char byte : random)
    for (const int digit : {byte >> 4, byte & 15}) id += "0123456789abcdef"[digit];
  return id;
}

std::chrono::steady_clock::duration seconds(double s) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(s));
}

// What goes wrong while an error is answered (no memory) is left to the last handle's end.
void run_handler(const HttpShared& shared, const Route& route, const ExchangePtr& exchange) try {
  try {
    route.handler(exchange);
  } catch (...) {
    const std::string& id = exchange->request().request_id;
    const HttpError error = to_http_error(std::current_exception(), id);
    if (error.status() == 500) {
      try {
        throw;
      } catch (const std::exception& e) {
        shared.report(id, e.what());
      } catch (...) {
        shared.report(id, "something that is no std::exception was thrown");
      }
    }
    respond_error(*exchange, error);
  }
} catch (...) {
  shared.report("", "an error could not be answered: no memory?");
}

std::array<asio::const_buffer, kBuffers> buffers_of(const std::deque<std::string>& pieces,
                                                    std::size_t offset) {
  std::array<asio::const_buffer, kBuffers> buffers;
  for (std::size_t i = 0; i < std::min(buffers.size(), pieces.size()); ++i)
    buffers[i] = asio::buffer(pieces[i]);
  buffers[0] += offset;
  return buffers;
}

}  // namespace

Connection::Connection(std::shared_ptr<HttpShared> shared, Socket socket, std::string remote,
                       std::shared_ptr<asio::ssl::context> tls)
    : shared_(std::move(shared)),
      socket_(std::move(socket)),
      tls_context_(std::move(tls)),
      remote_(std::move(remote)),
      timer_(socket_.get_executor()) {
  ++shared_->connections;
  if (tls_context_) tls_.emplace(socket_, *tls_context_);
}

Connection::~Connection() {
  shared_->body_bytes -= charged_bytes_;
  --shared_->connections;
}

void Connection::start() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (!self->shared_->add(self.get(), self)) return self->close();
    if (!self->tls_) {
      IoError ignored;  // write_now() would wait then, and no kernel refuses
      self->socket_.non_blocking(true, ignored);
      self->state_ = State::idle;
      self->read_deadline(self->shared_->options.header_seconds);
      self->read();
      return;
    }
    self->read_deadline(self->shared_->options.handshake_seconds);
    self->tls_->async_handshake(asio::ssl::stream_base::server, [self](const IoError& error) {
      if (self->state_ == State::closed) return;
      if (error) return self->close();
      self->state_ = State::idle;
      self->read_deadline(self->shared_->options.header_seconds);
      self->read();
    });
  });
}

void Connection::wake() {
  // A step of the engine has output for many connections: one handler takes all that are waiting.
  if (!shared_->add_ready(shared_from_this())) return;
  asio::post(shared_->io, [shared = shared_] {
    for (const auto& connection : shared->take_ready())
      asio::dispatch(connection->socket_.get_executor(), [connection] { connection->pump(); });
  });
}

void Connection::stop() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->state_ == State::closed) return;
    self->stopping_ = true;
    if (!self->core_ || !self->core_->ended()) return self->close();
    self->write_by_ = Clock::now() + seconds(kStopSeconds);
    self->arm();
  });
}

// ---- reading

void Connection::read_deadline(double s) {
  read_by_ = Clock::now() + seconds(s);
  arm();
}

void Connection::read() {
  if (reading_ || peer_ended_ || state_ == State::closed || state_ == State::handshake) return;
  if (core_ && in_.size() >= kReadAheadBytes) return arm();  // on_timer() watches
  reading_ = true;
  // Little for the many who only wait, much for a body under way.
  const std::size_t room = state_ == State::body ? 64 << 10 : 4 << 10;
  if (block_.size() != room) block_ = std::string(room, '\0');
  const auto done = [self = shared_from_this()](const IoError& error, std::size_t bytes) {
    self->on_read(error, bytes);
  };
  const auto buffer = asio::buffer(block_);
  if (tls_)
    tls_->async_read_some(buffer, done);
  else
    socket_.async_read_some(buffer, done);
}

void Connection::on_read(const IoError& error, std::size_t bytes) {
  reading_ = false;
  if (state_ == State::closed) return;
  if (error) return peer_gone();
  if (state_ != State::linger) {
    in_.append(block_, 0, bytes);
    if (state_ == State::body) read_deadline(shared_->options.body_idle_seconds);
    parse();
  }
  read();
}

bool Connection::skip_blank_lines() {
  // Allowed before a request; a client that sends nothing else is not let go on for ever.
  const std::size_t n = std::min(in_.find_first_not_of("\r\n"), in_.size());
  in_.erase(0, n);
  blank_bytes_ += n;
  if (blank_bytes_ > 1024) throw HttpError(400, "blank lines instead of a request");
  if (in_.empty()) return false;
  blank_bytes_ = 0;
  return true;
}

void Connection::parse() {
  while (!core_ && state_ != State::closed && state_ != State::linger) {
    try {
      if (!parser_) {
        if (in_.empty()) return;
        request_ = {};
        request_.remote = remote_;
        request_.request_id = new_request_id();
        admission_ = {};
        begin_ = Clock::now();
        if (!skip_blank_lines()) return;
        parser_.emplace(ParserLimits{.header_bytes = shared_->options.max_header_bytes,
                                     .uri_bytes = shared_->options.max_uri_bytes,
                                     .body_bytes = shared_->options.max_body_bytes});
        state_ = State::head;
        read_deadline(shared_->options.header_seconds);
      }
      const std::size_t n = parser_->put(in_);
      in_.erase(0, n);
      charge_body();
      if (state_ == State::head && parser_->head_done()) on_head();
      if (core_) return;
      if (parser_->complete())
        dispatch();
      else if (n == 0 || in_.empty())
        return;
    } catch (const HttpError& e) {
      refuse(e, false);
    } catch (const std::exception& e) {
      shared_->report(request_.request_id, e.what());
      if (core_) return close();  // no memory for an answer
      refuse(to_http_error(std::current_exception(), request_.request_id), false);
    }
  }
}

void Connection::charge_body() {
  const std::size_t have = parser_->body_bytes();
  if (have <= charged_bytes_) return;
  const std::size_t more = have - charged_bytes_;
  const std::size_t total = shared_->body_bytes += more;
  charged_bytes_ = have;
  constexpr std::size_t kSmall = 64 << 10;
  if (total > shared_->options.max_held_body_bytes && have > kSmall)
    throw busy_error("the server holds too many large request bodies; try again", 1);
}

void Connection::on_head() {
  state_ = State::body;
  request_.method = parser_->method;
  request_.headers = std::move(parser_->headers);
  const std::string_view id = request_.header("x-request-id");
  if (fit_request_id(id)) request_.request_id = id;
  try {
    const std::string_view raw = parser_->target;
    request_.path = request_.raw_path =
        valid_utf8(raw.substr(0, std::min(raw.find('?'), raw.size())));
    const Target target = parse_target(raw);
    request_.path = target.path;
    request_.raw_path = target.raw_path;
    request_.query = target.query;
    admission_ =
        shared_->gate.admit(request_, target.authority, parser_->version(), parser_->has_body());
    if (shared_->draining && !(admission_.route && admission_.route->is_public))
      throw busy_error("the server is shutting down", 5);
    const std::size_t limit = shared_->options.max_body_bytes;
    if (const auto length = parser_->content_length(); length && *length > limit)
      throw HttpError(413, fmt::format("the request's body has {} bytes; at most {} are taken "
                                       "(--max-request-bytes)",
                                       *length, limit));
    const std::string_view expect = request_.header("expect");
    if (!expect.empty() && to_lower(expect) != "100-continue")
      throw HttpError(417, "of expectations only 100-continue is understood");
    if (!expect.empty() && parser_->version() >= 11 && !parser_->complete() && in_.empty()) {
      out_.emplace_back(kContinue);
      uncounted_bytes_ += kContinue.size();
      pump();
    }
    read_deadline(shared_->options.body_idle_seconds);
  } catch (const HttpError& e) {
    // Without a body the next request's beginning is known.
    refuse(e, parser_->complete() && parser_->keep_alive());
  }
}

// ---- answering

void Connection::make_core(const Route* route, bool keep_alive) {
  const Protocol protocol{.http10 = parser_ && parser_->version() < 11,
                          .head = request_.method == "HEAD",
                          .keep_alive = keep_alive};
  core_ = std::make_shared<ExchangeCore>(shared_, weak_from_this(), std::move(request_), route,
                                         protocol, begin_, std::exchange(charged_bytes_, 0));
  request_ = {};
  parser_.reset();
}

ExchangePtr Connection::begin_exchange(const Route* route, bool keep_alive) {
  make_core(route, keep_alive);
  state_ = State::busy;
  read_by_ = Clock::time_point::max();
  return ExchangeCore::handle(core_);
}

void Connection::dispatch() {
  request_.body = std::move(parser_->body);
  const Route* const route = admission_.route;
  const ExchangePtr exchange = begin_exchange(route, parser_->keep_alive());
  if (!route) return exchange->respond(204, "", "", admission_.headers);
  if (!route->worker) return run_handler(*shared_, *route, exchange);
  const auto task = [shared = shared_, route, exchange] {
    if (!exchange->closed()) run_handler(*shared, *route, exchange);
  };
  if (!shared_->workers.submit(task))
    respond_error(*exchange, busy_error("too many requests wait for the server; try again", 1));
}

void Connection::refuse(const HttpError& error, bool keep_alive) {
  if (request_.path.empty()) {
    // Refused before its head was read: as much of its first line as there is tells the dialect.
    std::string_view target;
    if (parser_) {
      request_.method = parser_->method;
      target = parser_->target;
    }
    if (target.empty()) {
      target = in_;
      target.remove_prefix(std::min(target.find(' '), target.size() - 1) + 1);
    }
    request_.path = request_.raw_path =
        valid_utf8(target.substr(0, std::min(target.find_first_of("? \r\n"), target.size())));
  }
  respond_error(*begin_exchange(admission_.route, keep_alive), error);
}

void Connection::end_exchange() {
  const bool last = core_->close_after() || peer_ended_ || stopping_;
  core_->finish(true);
  core_.reset();
  if (last) return begin_linger();
  state_ = State::idle;
  read_deadline(shared_->options.keep_alive_seconds);
  parse();
  read();
}

// ---- writing and ending

void Connection::pump() {
  if (state_ == State::closed || writing_) return;
  for (int direct = 0;; ++direct) {
    if (core_) core_->take(out_);
    if (out_.empty()) {
      if (core_ && core_->complete()) end_exchange();
      return;
    }
    if (tls_ || direct == kDirectWrites || !write_now()) break;
  }
  if (state_ == State::closed) return;
  writing_ = true;
  if (!stopping_) write_by_ = Clock::now() + seconds(shared_->options.write_stall_seconds);
  arm();
  const auto done = [self = shared_from_this()](const IoError& error, std::size_t bytes) {
    self->on_write(error, bytes);
  };
  // One record of TLS is one piece in any case.
  const auto buffers = buffers_of(out_, out_offset_);
  if (tls_)
    tls_->async_write_some(buffers[0], done);
  else
    socket_.async_write_some(buffers, done);
}

// Nearly always the socket has room; an operation that waits takes an allocation and one more
// handler.
bool Connection::write_now() {
  IoError error;
  const std::size_t bytes = socket_.write_some(buffers_of(out_, out_offset_), error);
  if (error == asio::error::would_block) return false;
  if (error) {
    close();
    return false;
  }
  sent(bytes);
  return true;
}

void Connection::on_write(const IoError& error, std::size_t bytes) {
  writing_ = false;
  if (state_ == State::closed) return;
  if (error) return close();
  if (!stopping_) write_by_ = Clock::time_point::max();
  sent(bytes);
  pump();
}

void Connection::sent(std::size_t bytes) {
  for (std::size_t left = bytes; left > 0;) {
    const std::size_t n = std::min(left, out_.front().size() - out_offset_);
    left -= n;
    out_offset_ += n;
    if (out_offset_ < out_.front().size()) break;
    out_.pop_front();
    out_offset_ = 0;
  }
  const std::size_t uncounted = std::min(bytes, uncounted_bytes_);
  uncounted_bytes_ -= uncounted;
  if (core_) core_->taken(bytes - uncounted);
}

void Connection::peer_gone() {
  peer_ended_ = true;
  // A whole response may still leave: many clients close their side after the last request.
  if (core_ && core_->ended()) return;
  close();
}

void Connection::begin_linger() {
  if (peer_ended_) return close();
  state_ = State::linger;
  in_.clear();
  write_by_ = Clock::time_point::max();
  // Closing at once would reset the connection if the client is still sending, and the reset would
  // take the response from it.
  read_deadline(stopping_ ? kStopSeconds / 2 : kLingerSeconds);
  if (tls_) {
    tls_->async_shutdown([self = shared_from_this()](const IoError&) { self->close(); });
  } else {
    IoError ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
  }
  read();
}

void Connection::close() {
  if (state_ == State::closed) return;
  if (!core_ && state_ == State::body) make_core(admission_.route, false);  // for its record
  state_ = State::closed;
  timer_.cancel();
  if (core_) core_->finish(false);
  core_.reset();
  IoError ignored;
  socket_.close(ignored);
  out_.clear();
  shared_->remove(this);
}

// ---- deadlines

bool Connection::watching() const {
  return core_ && !reading_ && !peer_ended_;
}

void Connection::arm() {
  Clock::time_point next = std::min(read_by_, write_by_);
  if (watching()) next = std::min(next, Clock::now() + kWatchInterval);
  // An earlier timer looks again when it fires: most deadlines are only ever moved back.
  if (next == Clock::time_point::max() || armed_ <= next) return;
  armed_ = next;
  timer_.expires_at(next);
  timer_.async_wait([self = shared_from_this()](const IoError& error) {
    if (!error && self->state_ != State::closed) self->on_timer();
  });
}

void Connection::on_timer() {
  armed_ = Clock::time_point::max();
  const Clock::time_point now = Clock::now();
  if (now >= write_by_) return close();
  if (now >= read_by_) {
    read_by_ = Clock::time_point::max();
    if (state_ != State::head && state_ != State::body) return close();
    refuse(HttpError(408, state_ == State::head ? "the request's head did not come in time"
                                                : "the request's body stopped coming"),
           false);
  }
  if (watching()) {
    pollfd poll_for{.fd = socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
    if (::poll(&poll_for, 1, 0) > 0) {
      peer_gone();
      if (state_ == State::closed) return;
    }
  }
  arm();
}

}  // namespace octet::serve
