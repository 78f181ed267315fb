#pragma once

#include <string>

#include "serve/http/api_keys.h"
#include "serve/http/error_body.h"
#include "serve/http/server.h"

namespace octet::serve {

/// What a request's head must pass before its body is read: hosts, origins, the route, the key, the
/// types. Constant but for the keys; thread-safe.
class Gate {
 public:
  /// Errors: invalid_argument, not_found (ApiKeys).
  Gate(const HttpOptions& options, const Router& router);

  /// The server listens on loopback only (or not): set once, before requests come.
  void set_loopback(bool loopback) { loopback_ = loopback; }
  ApiKeys& keys() { return keys_; }

  struct Admission {
    const Route* route = nullptr;  ///< null: OPTIONS, answered with 204 and the headers
    Headers headers;
  };
  /// Fills path (root path taken off), parameters and key of the request. has_body: it brings one.
  /// Errors: HttpError 400, 401, 403, 404, 405, 415.
  Admission admit(HttpRequest& request, const std::string& authority, int version,
                  bool has_body) const;
  /// CORS headers of a response to this request.
  Headers cors_headers(const HttpRequest& request) const;

 private:
  void check_host(const HttpRequest& request, const std::string& authority, int version) const;
  bool allowed_origin(std::string_view origin) const;
  Headers options_answer(const HttpRequest& request, const std::string& allow) const;
  void check_key(HttpRequest& request) const;

  const HttpOptions& options_;
  const Router& router_;
  ApiKeys keys_;
  bool loopback_ = false;
};

}  // namespace octet::serve
