#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace octet::serve {

// What the server reads from a request's head by itself. Pure functions, linear in their input, for
// any bytes.

/// Of every JSON response.
inline constexpr std::string_view kJsonType = "application/json; charset=utf-8";

/// A request target taken apart.
struct Target {
  std::string path, raw_path, query;  ///< as HttpRequest's
  std::string authority;              ///< of an absolute target; empty otherwise
};
/// "/path?query", "http://host/path" or "*" (path "*"). Errors: HttpError 400 for anything else,
/// for bad escapes and for a path that holds a zero byte or isn't UTF-8.
Target parse_target(std::string_view target);

/// %XX replaced. Null if an escape is cut or no hexadecimal number.
std::optional<std::string> percent_decode(std::string_view text);
bool is_utf8(std::string_view text);
/// The text with U+FFFD for every byte that isn't UTF-8.
std::string valid_utf8(std::string_view text);

std::string to_lower(std::string_view text);  ///< ASCII only
std::string_view trim(std::string_view text);

/// The host of "host", "host:port" or "[v6]:port", lower case, without brackets. Null if it is none
/// of these.
std::optional<std::string> host_of(std::string_view authority);
/// localhost, *.localhost, 127.x.y.z or ::1: a name that can't be made to mean another machine.
bool is_loopback_name(std::string_view host);
/// The host[:port] of an origin "scheme://host[:port]". Null for "null" and anything else.
std::optional<std::string> origin_authority(std::string_view origin);

/// 1 to 128 printable ASCII characters.
bool fit_request_id(std::string_view id);
/// application/json, whatever its parameters.
bool is_json_type(std::string_view content_type);
/// The key of "Bearer KEY", the word in any case. Null if the scheme is another.
std::optional<std::string> bearer_key(std::string_view authorization);
/// A comma-separated list of header names or methods, as CORS sends them.
bool is_token_list(std::string_view text);

}  // namespace octet::serve
