// runtime/base: what every folder may use and what uses nothing of ours: errors, files, JSON,
// threads, progress. Knows no tensor, no model, no HTTP.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace octet {

/// Kinds of failure, by consequence for the caller (exit code of the program, HTTP status of the
/// server).
enum class ErrorCode {
  invalid_argument,  ///< the caller's fault: exit 2, HTTP 400
  not_found,         ///< model, file or resource missing: exit 3, HTTP 404
  bad_data,          ///< damaged or unsupported file: exit 3
  out_of_memory,     ///< would not fit: exit 4
  overloaded,        ///< try later: HTTP 503 or 429
  unavailable,       ///< device, disk or network failed: exit 1
  interrupted,       ///< stopped by the user: exit 130
  internal,          ///< our bug: exit 1, HTTP 500
};

/// The one exception type of the project. Thrown only for what ends the current operation.
/// The message says what, where, expected, found, remedy.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

/// Throws Error with a formatted message.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// "invalid_argument", "bad_data", ...: for logs and JSON.
std::string_view to_string(ErrorCode code);

namespace detail {
[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               const std::string& message);
}  // namespace detail

}  // namespace octet

/// An invariant of ours; on in every build. A failure is our bug (ErrorCode::internal), never the
/// user's: user input is validated with fail() before it can reach a check.
#define OCTET_CHECK(condition, ...)                                                            \
  do {                                                                                         \
    if (!(condition)) [[unlikely]]                                                             \
      ::octet::detail::check_failed(#condition, __FILE__, __LINE__, fmt::format(__VA_ARGS__)); \
  } while (false)
