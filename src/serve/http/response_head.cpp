#include "serve/http/response_head.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

#include "serve/http/target.h"

namespace octet::serve {
namespace {

void add(std::string& out, std::string_view name, std::string_view value) {
  if (!is_token_list(name) || name.find(',') != std::string_view::npos) return;
  out += name;
  out += ": ";
  for (const char c : value) out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  out += "\r\n";
}

std::string date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  // Not strftime: its names follow the locale.
  static constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed",
                                                    "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
                     kDays[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday,
                     kMonths[static_cast<std::size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour,
                     utc.tm_min, utc.tm_sec);
}

}  // namespace

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Content";
    case 424:
      return "Failed Dependency";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 529:
      return "Overloaded";
    default:
      return status < 400 ? "OK" : status < 500 ? "Client Error" : "Server Error";
  }
}

std::string response_head(const ResponseHead& head, std::string_view request_id,
                          const Headers& headers, const Headers& more) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", head.status, reason_phrase(head.status));
  add(out, "Date", date());
  if (!head.content_type.empty()) {
    add(out, "Content-Type", head.content_type);
    add(out, "X-Content-Type-Options", "nosniff");
  }
  if (head.content_length) add(out, "Content-Length", fmt::format("{}", *head.content_length));
  if (head.chunked) add(out, "Transfer-Encoding", "chunked");
  if (!head.keep_alive)
    add(out, "Connection", "close");
  else if (head.http10)
    add(out, "Connection", "keep-alive");
  add(out, "X-Request-Id", request_id);
  for (const Headers* list : {&headers, &more})
    for (const auto& [name, value] : *list) add(out, name, value);
  out += "\r\n";
  return out;
}

}  // namespace octet::serve
