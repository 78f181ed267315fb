#include "serve/http/server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <cerrno>
#include <cstring>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include "runtime/base/system.h"
#include "serve/http/connection.h"
#include "serve/http/http_shared.h"
#include "serve/http/listen_socket.h"
#include "serve/http/tls.h"

namespace octet::serve {
namespace asio = boost::asio;
namespace {

using IoError = boost::system::error_code;
using AnyStream = asio::generic::stream_protocol;

// Threads of the server leave signals to the program's own.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t old_{};
};

// Raises the limit of open files to what so many connections need; returns how many it allows. A
// connection that can't be accepted would wait until another ends, without a word.
int raise_file_limit(int connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return connections;
  const rlim_t wanted = static_cast<rlim_t>(std::max(connections, 0)) + 512;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = std::min(wanted, limit.rlim_max);
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  // The rest is for everything else that the process opens.
  const rlim_t rest = std::min<rlim_t>(512, limit.rlim_cur / 4);
  return static_cast<int>(
      std::min<rlim_t>(static_cast<rlim_t>(connections), limit.rlim_cur - rest));
}

void set_tcp_options(int fd) {
  const auto set = [&](int level, int name, int value) {
    setsockopt(fd, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  // A client whose machine vanished says nothing: after two minutes without an answer it is gone.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

}  // namespace

struct HttpServer::Impl {
  Impl(HttpOptions options, Router router)
      : shared(std::make_shared<HttpShared>(std::move(options), std::move(router))),
        strand(asio::make_strand(shared->io)),
        acceptor(strand),
        retry(strand),
        refresh(strand),
        next(asio::make_strand(shared->io)) {}

  void accept();
  void on_accept(const IoError& error);
  void watch_tls();
  void stop();
  const HttpOptions& options() const { return shared->options; }
  bool has_tls() const { return !options().tls.certfile.empty() || !options().tls.keyfile.empty(); }

  std::shared_ptr<HttpShared> shared;
  asio::strand<asio::io_context::executor_type> strand;  ///< accepting and the certificates
  asio::basic_socket_acceptor<AnyStream> acceptor;
  asio::steady_timer retry, refresh;
  Connection::Socket next;
  std::optional<ListenSocket> listening;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::vector<std::thread> threads;
  std::string stamp, url;
  int port = 0, max_connections = 0;
  bool tcp = true;
  bool stopping = false, handed_over = false;  ///< on the strand
};

HttpServer::HttpServer(HttpOptions options, Router router)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(router))) {}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::start() {
  Impl& impl = *impl_;
  HttpShared& shared = *impl.shared;
  OCTET_CHECK(impl.threads.empty(), "the HTTP server is started twice");
  shared.on_access = on_access;
  shared.on_error = on_error;
  if (impl.has_tls()) {
    impl.stamp = tls_file_stamp(shared.options.tls);
    shared.set_tls(make_tls_context(shared.options.tls));
  }
  impl.max_connections = raise_file_limit(shared.options.max_connections);
  if (impl.max_connections < shared.options.max_connections)
    shared.report("", fmt::format("the system's limit of open files allows {} connections, not {}",
                                  impl.max_connections, shared.options.max_connections));
  impl.listening.emplace(shared.options);
  shared.gate.set_loopback(impl.listening->loopback());
  impl.port = impl.listening->port();
  impl.tcp = impl.listening->family() != AF_UNIX;
  impl.url = impl.tcp ? fmt::format("{}://{}:{}", impl.has_tls() ? "https" : "http",
                                    impl.listening->url_host(), impl.port)
                      : "unix:" + impl.listening->url_host();
  impl.acceptor.assign(AnyStream(impl.listening->family(), 0), impl.listening->release());

  const SignalsBlocked blocked;
  shared.workers.start();
  impl.work.emplace(shared.io.get_executor());
  asio::post(impl.strand, [&impl] {
    impl.accept();
    if (impl.has_tls() && impl.options().tls.refresh) impl.watch_tls();
  });
  for (int i = 0; i < std::max(shared.options.io_threads, 1); ++i)
    impl.threads.emplace_back([&shared, i] {
      name_this_thread("octet-http-" + std::to_string(i));
      while (true) try {
          shared.io.run();
          return;
        } catch (const std::exception& e) {
          // No memory for a connection's next step: that connection is lost, the others go on.
          shared.report("", e.what());
        }
    });
}

void HttpServer::Impl::accept() {
  if (stopping || handed_over) return;
  next = Connection::Socket(asio::make_strand(shared->io));
  acceptor.async_accept(next, [this](const IoError& error) { on_accept(error); });
}

void HttpServer::Impl::on_accept(const IoError& error) {
  if (stopping) return;
  if (error) {
    if (handed_over) return;
    if (error == asio::error::connection_aborted) return accept();
    // Out of descriptors or memory: it would fail again at once, and spin.
    retry.expires_after(std::chrono::milliseconds(50));
    retry.async_wait([this](const IoError& cancelled) {
      if (!cancelled) accept();
    });
    return;
  }
  const int fd = next.native_handle();
  if (shared->connections >= max_connections) {
    constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
        "Connection: close\r\n\r\n";
    if (!has_tls()) send(fd, kFull.data(), kFull.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    IoError ignored;
    next.shutdown(Connection::Socket::shutdown_send, ignored);
    next.close(ignored);
  } else {
    if (tcp) set_tcp_options(fd);
    std::string remote = peer_name(fd);
    std::make_shared<Connection>(shared, std::move(next), std::move(remote), shared->tls())
        ->start();
  }
  accept();
}

void HttpServer::Impl::watch_tls() {
  refresh.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(options().tls.refresh_seconds)));
  refresh.async_wait([this](const IoError& cancelled) {
    if (cancelled || stopping) return;
    // Taken before the files are read: what changes meanwhile is seen next time. Files that don't
    // fit together are read again when the other one comes.
    if (std::string now = tls_file_stamp(options().tls); now != stamp) {
      stamp = std::move(now);
      try {
        shared->set_tls(make_tls_context(options().tls));
      } catch (const std::exception& e) {
        shared->report("", fmt::format("the old certificate stays: {}", e.what()));
      }
    }
    watch_tls();
  });
}

std::string HttpServer::url() const {
  return impl_->url;
}

int HttpServer::port() const {
  return impl_->port;
}

void HttpServer::drain() {
  impl_->shared->draining = true;
}

void HttpServer::reload() {
  HttpShared& shared = *impl_->shared;
  std::shared_ptr<asio::ssl::context> context;
  if (impl_->has_tls()) context = make_tls_context(shared.options.tls);
  shared.gate.keys().reload();
  if (context) shared.set_tls(std::move(context));
}

int HttpServer::hand_over() {
  Impl& impl = *impl_;
  OCTET_CHECK(!impl.threads.empty(), "a server hands its socket over that has none");
  const int fd = fcntl(impl.acceptor.native_handle(), F_DUPFD_CLOEXEC, 3);
  if (fd < 0) fail(ErrorCode::unavailable, "the listening socket: {}", std::strerror(errno));
  impl.listening->keep_path();
  const auto done = std::make_shared<std::promise<void>>();
  auto released = done->get_future();
  asio::post(impl.strand, [&impl, done] {
    impl.handed_over = true;
    IoError ignored;
    // Not close(): a copy is open, and the descriptor would stay in the reactor.
    if (impl.acceptor.is_open()) close(impl.acceptor.release(ignored));
    impl.retry.cancel();
    done->set_value();
  });
  // The process may be ending because a thread hangs: this one must not.
  released.wait_for(std::chrono::seconds(1));
  return fd;
}

bool HttpServer::is_local() const {
  return !impl_->tcp || impl_->listening->loopback();
}

void HttpServer::Impl::stop() {
  if (threads.empty()) return;
  asio::post(strand, [this] {
    stopping = true;
    IoError ignored;
    acceptor.close(ignored);
    retry.cancel();
    refresh.cancel();
    // After this no connection starts, and those that have are told.
    for (const auto& [key, pointer] : shared->stop())
      if (const auto connection = pointer.lock()) connection->stop();
    work.reset();
  });
  // The threads end when nothing is pending any more: every connection has been closed then, and no
  // handler is left that would hold one.
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  shared->workers.stop();
  listening.reset();
}

void HttpServer::stop() {
  impl_->stop();
}

HttpStatus HttpServer::status() const {
  return {.connections = impl_->shared->connections,
          .exchanges = impl_->shared->exchanges,
          .unanswered = impl_->shared->unanswered};
}

}  // namespace octet::serve
