#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "serve/http/router.h"

namespace octet::serve {

struct TlsOptions {
  std::string keyfile, certfile, ca_certs, ciphers;
  int cert_reqs = 0;     ///< 0 none, 1 optional, 2 required
  bool refresh = false;  ///< read again when the files change
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 8000;  ///< 0: any free one
  std::string uds;  ///< path of a Unix socket, instead of host and port
  TlsOptions tls;
  std::vector<std::string> api_keys;  ///< empty: no key is asked for
  std::string api_key_file;           ///< one a line, read again by reload()
  std::string root_path;
  std::vector<std::string> allowed_origins, allowed_methods,
      allowed_headers;  ///< CORS; empty: none
  bool allow_credentials = false;
  std::size_t max_body_bytes = std::size_t{256} << 20, max_header_bytes = 64 << 10,
              max_uri_bytes = 8 << 10, stream_queue_bytes = 1 << 20;
  int max_connections = 4096, io_threads = 1, workers = 2;
  double keep_alive_seconds = 75, header_seconds = 10, body_idle_seconds = 30,
         write_stall_seconds = 300, handshake_seconds = 10;
};

/// Numbers for metrics and for the leak tests.
struct HttpStatus {
  std::int64_t connections = 0, exchanges = 0;
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
  HttpServer(HttpOptions options, Router router);
  ~HttpServer();  // stop()
  /// Binds and begins to accept. Errors: unavailable with errno's text; AddressInUse.
  void start();
  /// "http://127.0.0.1:8000", "unix:/run/octet.sock".
  std::string url() const;
  int port() const;
  /// No new connections; requests that arrive on open ones get 503.
  void drain();
  /// Reads keys and certificates again. Errors: as start; the old ones stay then.
  void reload();
  /// Closes everything and joins the threads.
  void stop();
  HttpStatus status() const;
  std::function<void(const AccessRecord&)> on_access;  ///< set before start()

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet::serve
