#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "serve/http/router.h"

namespace octet::serve {

struct TlsOptions {
  std::string keyfile, certfile, ca_certs, ciphers;
  int cert_reqs = 0;           ///< 0 none, 1 optional, 2 required
  bool refresh = false;        ///< read again when the files change
  double refresh_seconds = 1;  ///< how often they are looked at
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  ///< 0: any free one
  std::string uds;  ///< path of a Unix socket, instead of host and port
  /// A socket that listens already, TCP or Unix, instead of all three; -1: none. The server's from
  /// here on.
  int listen_fd = -1;
  bool remove_listen_path = false;  ///< at the end its file goes, as that of uds does
  TlsOptions tls;
  std::vector<std::string> api_keys;  ///< empty: no key is asked for
  std::string api_key_file;           ///< one a line, read again by reload()
  std::string root_path;
  std::vector<std::string> allowed_origins, allowed_methods,
      allowed_headers;  ///< CORS; empty: none
  bool allow_credentials = false;
  std::size_t max_body_bytes = std::size_t{256} << 20, max_header_bytes = 64 << 10,
              max_uri_bytes = 8 << 10, stream_queue_bytes = 1 << 20;
  int max_connections = 4096, io_threads = 1, workers = 8;
  double keep_alive_seconds = 75, header_seconds = 10, body_idle_seconds = 30,
         write_stall_seconds = 300, handshake_seconds = 10;
  /// Requests that wait for a worker; more get 503.
  std::size_t max_worker_queue = 1024;
  /// Bodies of all requests together, read or being read; more get 503. A client can't fill the
  /// memory by many bodies that are each allowed.
  std::size_t max_held_body_bytes = std::size_t{2} << 30;
};

/// Somebody listens there already.
class AddressInUse : public Error {
 public:
  explicit AddressInUse(const std::string& message) : Error(ErrorCode::unavailable, message) {}
};

/// Numbers for metrics and for the leak tests.
struct HttpStatus {
  std::int64_t connections = 0, exchanges = 0;
  std::int64_t unanswered = 0;  ///< of the exchanges: their response is not out
};

/// Told of every finished request (I/O thread): for logs and metrics.
struct AccessRecord {
  std::string remote, method, path, route, request_id;
  int status = 0;  ///< 499: the client went
  double seconds = 0;
  std::size_t request_bytes = 0, response_bytes = 0;
};

/// HTTP/1.1 with TLS, keys, CORS and limits, over Boost.Beast. Errors that it finds itself (bad
/// frames, too large, no key, unknown path) are answered in the dialect of the path
/// (error_body.h).
class HttpServer {
 public:
  /// Errors: invalid_argument (empty keys), not_found (the file of keys).
  HttpServer(HttpOptions options, Router router);
  ~HttpServer();  // stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  /// Binds and begins to accept; raises the process's limit of open files to what max_connections
  /// needs, as far as it may, and takes fewer connections if it may not. Errors: unavailable with
  /// errno's text; AddressInUse; invalid_argument for bad TLS files, ciphers or socket paths.
  void start();
  /// "http://127.0.0.1:8000", "unix:/run/octet.sock". Of the last start(), as port() is.
  std::string url() const;
  int port() const;
  /// From now on requests get 503 with Retry-After and their connection ends, on old and on new
  /// connections; public routes are still answered (health checks must hear `draining`), and what
  /// was begun goes on.
  void drain();
  /// Reads keys and certificates again. Errors: as start; the old ones stay then.
  void reload();
  /// Accepts no more connections, and leaves the socket open: who connects waits in its backlog
  /// for whoever takes it over. What was begun goes on. Returns a descriptor of the socket, the
  /// caller's. Errors: unavailable.
  int hand_over();
  /// "unix:" or TCP that only this machine reaches. Of the last start().
  bool is_local() const;
  /// Closes everything and joins the threads. Responses that are complete have a second to leave;
  /// the others are cut off (on_disconnect). Waits for handlers that a worker is in.
  void stop();
  HttpStatus status() const;
  std::function<void(const AccessRecord&)> on_access;  ///< set before start()
  /// Told, with a request's id or an empty one, what exceptions said that clients got 500 for, of
  /// certificates that could not be read again, and of a lower limit of connections. Any thread;
  /// set before start().
  std::function<void(const std::string& request_id, const std::string& what)> on_error;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet::serve
