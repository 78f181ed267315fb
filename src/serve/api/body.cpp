#include "serve/api/body.h"

#include <algorithm>
#include <mutex>
#include <set>

#include "serve/api/compact_json.h"
#include "serve/log.h"
#include "serve/random_bits.h"

namespace octet::serve {

namespace {

// Value of four hexadecimal digits, -1 if they are none.
int hex4(std::string_view text) {
  if (text.size() < 4) return -1;
  int value = 0;
  for (const char c : text.substr(0, 4)) {
    const int lower = c | 0x20;
    if (c >= '0' && c <= '9')
      value = value * 16 + (c - '0');
    else if (lower >= 'a' && lower <= 'f')
      value = value * 16 + (lower - 'a' + 10);
    else
      return -1;
  }
  return value;
}

// JavaScript cuts strings between surrogates and sends the halves; JSON's grammar allows them.
std::string replace_lone_surrogates(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t i = 0;
  while (i < text.size()) {
    if (text[i] != '\\' || i + 1 >= text.size()) {
      out += text[i++];
      continue;
    }
    const int code = text[i + 1] == 'u' ? hex4(text.substr(i + 2)) : -1;
    if (code < 0xD800 || code > 0xDFFF) {
      out.append(text, i, 2);
      i += 2;
      continue;
    }
    const std::string_view next = text.substr(i + 6);
    const int low = next.starts_with("\\u") ? hex4(next.substr(2)) : -1;
    if (code < 0xDC00 && low >= 0xDC00 && low <= 0xDFFF) {
      out.append(text, i, 12);
      i += 12;
    } else {
      out += "\\ufffd";
      i += 6;
    }
  }
  return out;
}

bool is_json(std::string_view content_type) {
  std::string type(content_type.substr(0, content_type.find(';')));
  std::erase_if(type, [](char c) { return c == ' ' || c == '\t'; });
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return std::tolower(c); });
  return type == "application/json";
}

}  // namespace

json::value parse_request_json(std::string_view text) {
  try {
    if (text.find("\\u") == std::string_view::npos) return parse_json(text, "the request's body");
    return parse_json(replace_lone_surrogates(text), "the request's body");
  } catch (const Error& e) {
    throw HttpError(400, e.what());
  }
}

json::value parse_body(const HttpRequest& request) {
  // Asked for strictly: a page that a browser shows can send anything else without asking us first.
  if (!is_json(request.header("content-type")))
    throw HttpError(415, "expected the header Content-Type: application/json");
  return parse_request_json(request.body);
}

void note_unknown_fields(std::string_view endpoint, const std::vector<std::string>& fields) {
  // Bounded, because names come from outside.
  constexpr std::size_t kMaxNoted = 200, kMaxName = 64;
  static std::mutex mutex;
  static std::set<std::string, std::less<>> noted;
  std::string fresh;
  {
    const std::scoped_lock lock(mutex);
    for (const std::string& field : fields) {
      const bool fit = field.size() <= kMaxName && std::ranges::all_of(field, [](unsigned char c) {
                         return c > ' ' && c < 0x7F;
                       });
      if (!fit || noted.size() >= kMaxNoted || !noted.insert(field).second) continue;
      fresh += (fresh.empty() ? "" : ", ") + field;
    }
  }
  if (!fresh.empty())
    log(LogLevel::warning, "fields without effect",
        {{"endpoint", endpoint}, {"fields", std::string_view(fresh)}});
}

Handler guarded(std::function<void(const ExchangePtr&)> handle) {
  return [handle = std::move(handle)](ExchangePtr exchange) {
    try {
      handle(exchange);
    } catch (const HttpError& e) {
      respond_error(*exchange, e);
    } catch (const std::exception& e) {
      const std::string& id = exchange->request().request_id;
      const HttpError error = to_http_error(std::current_exception(), id);
      // The client hears nothing of our inside.
      if (error.status() == 500) log(LogLevel::error, e.what(), {{"request_id", id}});
      respond_error(*exchange, error);
    }
  };
}

void respond_json(Exchange& exchange, const json::value& value, int status, Headers headers) {
  exchange.respond(status, "application/json; charset=utf-8", compact_json(value),
                   std::move(headers));
}

std::string response_id(std::string_view prefix, const HttpRequest& request,
                        const std::string& wanted) {
  const bool fit = !wanted.empty() && wanted.size() <= 128 &&
                   std::ranges::all_of(wanted, [](unsigned char c) { return c > ' ' && c < 0x7F; });
  std::string id(prefix);
  id += fit ? wanted : request.request_id;
  return id.size() > prefix.size() ? id : id + random_hex(32);
}

std::string random_hex(int digits) {
  std::string out;
  while (static_cast<int>(out.size()) < digits) out += fmt::format("{:016x}", random_bits());
  out.resize(static_cast<std::size_t>(digits));
  return out;
}

}  // namespace octet::serve
