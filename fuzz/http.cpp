// Any bytes as requests, in two ways of cutting them: refused with an HTTP status, or read the same
// in both. And any bytes as the parts of a head that the server reads by itself.
#include <cstdlib>
#include <utility>
#include <vector>

#include "serve/http/request_parser.h"
#include "serve/http/target.h"

namespace {

using namespace octet::serve;

constexpr ParserLimits kLimits{
    .header_bytes = 2048, .uri_bytes = 256, .body_bytes = 1024, .fields = 20};

struct Outcome {
  int status = 0;  // 0: needs more
  std::string method, target, body;
  Headers headers;
  std::size_t taken = 0;
  bool operator==(const Outcome&) const = default;
};

Outcome read(std::string_view bytes, std::size_t step) {
  Outcome out;
  RequestParser parser(kLimits);
  std::string in;
  try {
    while (!parser.complete() && !bytes.empty()) {
      const std::string_view piece = bytes.substr(0, step);
      in += piece;
      bytes.remove_prefix(piece.size());
      while (!in.empty() && !parser.complete()) {
        const std::size_t n = parser.put(in);
        if (n > in.size()) std::abort();
        in.erase(0, n);
        out.taken += n;
        if (n == 0) break;
      }
    }
    if (!parser.complete()) return {};
    out.status = 200;
  } catch (const HttpError& e) {
    if (e.status() < 400 || e.status() > 505) std::abort();
    // Which of two faults is seen first may depend on the pieces.
    return {.status = 400};
  }
  if (parser.body.size() > kLimits.body_bytes || parser.target.size() > kLimits.uri_bytes ||
      parser.headers.size() > kLimits.fields)
    std::abort();
  out.method = parser.method;
  out.target = parser.target;
  out.body = parser.body;
  out.headers = parser.headers;
  return out;
}

void read_parts(std::string_view text) {
  try {
    const Target target = parse_target(text);
    if (!is_utf8(target.path) || target.path.find('\0') != std::string::npos) std::abort();
    if (target.path != "*" && !target.path.starts_with('/')) std::abort();
  } catch (const HttpError& e) {
    if (e.status() != 400) std::abort();
  }
  if (const auto decoded = percent_decode(text); decoded && decoded->size() > text.size())
    std::abort();
  if (!is_utf8(valid_utf8(text))) std::abort();
  if (is_utf8(text) && valid_utf8(text) != text) std::abort();
  if (const auto host = host_of(text))
    if (host->empty() || host->find_first_of("/@ \r\n") != std::string::npos) std::abort();
  if (const auto authority = origin_authority(text))
    if (!host_of(*authority)) std::abort();
  if (fit_request_id(text) && (text.size() > 128 || !is_utf8(text))) std::abort();
  (void)is_loopback_name(text);
  (void)is_json_type(text);
  (void)is_token_list(text);
  (void)bearer_key(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_parts(text);
  const Outcome whole = read(text, text.size() + 1), cut = read(text, 1);
  // A fault behind what completes a request is the next one's; before that both see it.
  if (whole.status == 200 && cut.status == 200 && !(whole == cut)) std::abort();
  if ((whole.status == 200) != (cut.status == 200)) std::abort();
  return 0;
}
