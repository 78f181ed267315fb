#include "serve/http/error_body.h"

#include <new>
#include <utility>

#include "serve/http/target.h"

namespace octet::serve {
namespace {

ErrorCode code_of(int status) {
  if (status == 404) return ErrorCode::not_found;
  if (status == 429 || status == 503 || status == 529) return ErrorCode::overloaded;
  return status < 500 ? ErrorCode::invalid_argument : ErrorCode::internal;
}

std::string_view openai_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 501:  // the request must change, not the server
      return "invalid_request_error";
    case 503:
    case 529:
      return "unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 501:
      return "invalid_request_error";
    case 503:
    case 529:
      return "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : "api_error";
  }
}

HttpError inside(std::string_view request_id) {
  return {500, fmt::format("internal error; the server's log tells more under request id {}",
                           request_id)};
}

}  // namespace

HttpError::HttpError(int status, const std::string& message, std::string param, json::object extra)
    : Error(code_of(status), message),
      status_(status),
      param_(std::move(param)),
      extra_(std::move(extra)) {}

std::string error_body(Dialect dialect, const HttpError& error, std::string_view request_id) {
  json::object inner;
  // A message may quote what a client sent: JSON holds UTF-8 only.
  const std::string message = valid_utf8(error.what());
  if (dialect == Dialect::anthropic) {
    inner["type"] = anthropic_type(error.status());
    inner["message"] = message;
    for (const auto& [key, value] : error.extra()) inner[key] = value;
    return to_json(json::object{
        {"type", "error"}, {"error", std::move(inner)}, {"request_id", valid_utf8(request_id)}});
  }
  inner["message"] = message;
  inner["type"] = openai_type(error.status());
  inner["param"] = error.param().empty() ? json::value() : json::value(valid_utf8(error.param()));
  inner["code"] = error.status();
  for (const auto& [key, value] : error.extra()) inner[key] = value;
  return to_json(json::object{{"error", std::move(inner)}});
}

HttpError busy_error(const std::string& message, int retry_after, json::object extra) {
  HttpError error(503, message, {}, std::move(extra));
  error.headers.emplace_back("Retry-After", std::to_string(retry_after));
  return error;
}

HttpError to_http_error(std::exception_ptr error, std::string_view request_id) {
  if (!error) return inside(request_id);
  try {
    std::rethrow_exception(std::move(error));
  } catch (const HttpError& e) {
    return e;
  } catch (const Error& e) {
    switch (e.code()) {
      case ErrorCode::invalid_argument:
        return {400, e.what()};
      case ErrorCode::not_found:
        return {404, e.what()};
      case ErrorCode::overloaded:
        return busy_error(e.what(), 1);
      default:
        return inside(request_id);
    }
  } catch (...) {
    return inside(request_id);
  }
}

void respond_error(Exchange& exchange, const HttpError& error) {
  const HttpRequest& request = exchange.request();
  const Dialect dialect = dialect_of(request.path);
  const std::string body = error_body(dialect, error, request.request_id);
  // The exchange itself knows which of the two counts: a begun stream ignores respond(), a response
  // ignores write() and end_stream(). Asking first would be a race with another thread's answer.
  exchange.respond(error.status(), kJsonType, body, error.headers);
  exchange.write(dialect == Dialect::anthropic ? fmt::format("event: error\ndata: {}\n\n", body)
                                               : fmt::format("data: {}\n\ndata: [DONE]\n\n", body));
  exchange.end_stream(true);
}

}  // namespace octet::serve
