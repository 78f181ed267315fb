#include "serve/http/error_body.h"

#include <utility>

namespace octet::serve {

namespace {

ErrorCode code_of(int status) {
  if (status == 404) return ErrorCode::not_found;
  if (status == 429 || status == 503) return ErrorCode::overloaded;
  return status < 500 ? ErrorCode::invalid_argument : ErrorCode::internal;
}

}  // namespace

HttpError::HttpError(int status, const std::string& message, std::string param, json::object extra)
    : Error(code_of(status), message),
      status_(status),
      param_(std::move(param)),
      extra_(std::move(extra)) {}

}  // namespace octet::serve
