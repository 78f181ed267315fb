#pragma once

#include <exception>
#include <string>

#include "runtime/base/error.h"
#include "runtime/base/json.h"
#include "serve/http/router.h"

namespace octet::serve {

/// A failure with its HTTP status. serving.md §9.
class HttpError : public Error {
 public:
  HttpError(int status, const std::string& message, std::string param = {},
            json::object extra = {});
  int status() const { return status_; }
  const std::string& param() const { return param_; }   ///< JSON path; empty: none
  const json::object& extra() const { return extra_; }  ///< further keys of the error object
  Headers headers;                                      ///< Retry-After, Allow, ...

 private:
  int status_;
  std::string param_;
  json::object extra_;
};

/// 503 that tells the client when to try again: Retry-After in seconds.
HttpError busy_error(const std::string& message, int retry_after, json::object extra = {});

/// Throws HttpError 400 with the path of the offending field.
template <typename... Args>
[[noreturn]] void bad_field(std::string param, fmt::format_string<Args...> format, Args&&... args) {
  throw HttpError(400, fmt::format(format, std::forward<Args>(args)...), std::move(param));
}

/// {"error": {message, type, param, code}} or Anthropic's {"type": "error", ...}: one line of JSON.
std::string error_body(Dialect dialect, const HttpError& error, std::string_view request_id);
/// What an exception is to a client. Unknown ones: 500 with the request's id and nothing of the
/// inside (no paths, no addresses).
HttpError to_http_error(std::exception_ptr error, std::string_view request_id);
/// Answers with an error, as a response or, if a stream has begun, as a frame of it.
void respond_error(Exchange& exchange, const HttpError& error);

}  // namespace octet::serve
