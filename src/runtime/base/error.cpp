#include "runtime/base/error.h"

namespace octet {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::bad_data:
      return "bad_data";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::overloaded:
      return "overloaded";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::interrupted:
      return "interrupted";
    case ErrorCode::internal:
      return "internal";
  }
  return "internal";
}

namespace detail {
void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  throw Error(ErrorCode::internal, fmt::format("internal error: {} ({}:{}, check `{}`)", message,
                                               file, line, condition));
}
}  // namespace detail

}  // namespace octet
