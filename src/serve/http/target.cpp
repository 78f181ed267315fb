#include "serve/http/target.h"

#include <algorithm>
#include <cstdint>

#include "serve/http/error_body.h"

namespace octet::serve {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Bytes of the UTF-8 character that begins `text`; 0 if none does.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const auto follows = [&](std::size_t i, int low = 0x80, int high = 0xBF) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const int first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF)
    return follows(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3
                                                                                              : 0;
  if (first >= 0xF0 && first <= 0xF4)
    return follows(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) &&
                   follows(3)
               ? 4
               : 0;
  return 0;
}

// 1 to 5 digits, or nothing, after a colon.
bool is_port(std::string_view text) {
  return text.size() <= 5 && std::all_of(text.begin(), text.end(), is_digit);
}

bool is_host_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
}

bool is_token_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t n = utf8_length(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t n = utf8_length(text);
    if (n == 0)
      out += "\xEF\xBF\xBD";
    else
      out += text.substr(0, n);
    text.remove_prefix(std::max<std::size_t>(n, 1));
  }
  return out;
}

Target parse_target(std::string_view target) {
  Target out;
  const auto refuse = [](std::string_view what) {
    throw HttpError(400, fmt::format("the request target {}; expected /path?query", what));
  };
  if (target == "*") {
    out.path = out.raw_path = target;
    return out;
  }
  const std::string scheme = to_lower(target.substr(0, 8));
  for (const std::string_view prefix : {"http://", "https://"})
    if (scheme.starts_with(prefix)) {
      target.remove_prefix(prefix.size());
      const std::size_t end = std::min(target.find_first_of("/?"), target.size());
      out.authority = target.substr(0, end);
      if (out.authority.empty()) refuse("names no host");
      target.remove_prefix(end);
      break;
    }
  if (const std::size_t fragment = target.find('#'); fragment != std::string_view::npos)
    refuse("holds a fragment (#)");
  const std::size_t mark = std::min(target.find('?'), target.size());
  out.raw_path = target.substr(0, mark);
  if (mark < target.size()) out.query = target.substr(mark + 1);
  if (out.raw_path.empty() && !out.authority.empty()) out.raw_path.push_back('/');
  if (!out.raw_path.starts_with('/')) refuse("does not begin with /");
  const auto path = percent_decode(out.raw_path);
  if (!path) refuse("holds a bad percent escape");
  if (path->find('\0') != std::string::npos) refuse("holds a zero byte");
  if (!is_utf8(*path)) refuse("is not UTF-8");
  out.path = *path;
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::string> host_of(std::string_view authority) {
  std::string host;
  std::string_view rest;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    host = to_lower(authority.substr(1, end - 1));
    rest = authority.substr(end + 1);
    if (host.empty() || host.find_first_not_of("0123456789abcdef:.%") != std::string::npos)
      return std::nullopt;
  } else {
    const std::size_t colon = std::min(authority.find(':'), authority.size());
    host = to_lower(authority.substr(0, colon));
    rest = authority.substr(colon);
    if (host.empty() || !std::all_of(host.begin(), host.end(), is_host_character))
      return std::nullopt;
    // A full stop at the end names the same host.
    if (host.size() > 1 && host.ends_with('.')) host.pop_back();
  }
  if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1)))) return std::nullopt;
  return host;
}

bool is_loopback_name(std::string_view host) {
  if (host == "localhost" || host.ends_with(".localhost") || host == "::1") return true;
  if (!host.starts_with("127.")) return false;
  // Four numbers: "127.evil.example" is a name of somebody's.
  int numbers = 0;
  while (true) {
    const std::size_t end = std::min(host.find('.'), host.size());
    const std::string_view number = host.substr(0, end);
    if (number.empty() || number.size() > 3 || !std::all_of(number.begin(), number.end(), is_digit))
      return false;
    ++numbers;
    if (end == host.size()) break;
    host.remove_prefix(end + 1);
  }
  return numbers == 4;
}

std::optional<std::string> origin_authority(std::string_view origin) {
  const std::size_t colon = origin.find("://");
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  const std::string_view authority = origin.substr(colon + 3);
  if (!host_of(authority)) return std::nullopt;
  return to_lower(authority);
}

bool fit_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 &&
         std::all_of(id.begin(), id.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
}

bool is_json_type(std::string_view content_type) {
  const std::string_view type =
      trim(content_type.substr(0, std::min(content_type.find(';'), content_type.size())));
  return to_lower(type) == "application/json";
}

std::optional<std::string> bearer_key(std::string_view authorization) {
  authorization = trim(authorization);
  constexpr std::size_t kScheme = 6;
  if (authorization.size() <= kScheme || to_lower(authorization.substr(0, kScheme)) != "bearer" ||
      (authorization[kScheme] != ' ' && authorization[kScheme] != '\t'))
    return std::nullopt;
  return std::string(trim(authorization.substr(kScheme)));
}

bool is_token_list(std::string_view text) {
  while (true) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view token = trim(text.substr(0, end));
    if (token.empty() || !std::all_of(token.begin(), token.end(), is_token_character)) return false;
    if (end == text.size()) return true;
    text.remove_prefix(end + 1);
  }
}

}  // namespace octet::serve
