#include "serve/page/page.h"

#include <fmt/format.h>

#include <span>
#include <string>
#include <utility>

#include "runtime/base/hash.h"

namespace octet::serve {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

void serve_file(const PageFile& file, const std::string& etag, const ExchangePtr& exchange) {
  Headers headers{{"ETag", etag},
                  // The browser asks each time whether its copy is still good: a new version of
                  // the program must not run with the old one's scripts.
                  {"Cache-Control", "no-cache"},
                  {"Content-Security-Policy", std::string(kPolicy)},
                  {"X-Content-Type-Options", "nosniff"},
                  {"Referrer-Policy", "no-referrer"},
                  {"Cross-Origin-Opener-Policy", "same-origin"},
                  {"X-Frame-Options", "DENY"}};
  if (exchange->request().header("if-none-match") == etag)
    exchange->respond(304, file.content_type, {}, std::move(headers));
  else
    exchange->respond(200, file.content_type, std::string(file.bytes), std::move(headers));
}

}  // namespace

void add_page_routes(Router& router) {
  for (const PageFile& file : page_files()) {
    std::string etag = fmt::format("\"{}\"", to_hex(hash128(std::as_bytes(std::span(file.bytes)))));
    router.add({.method = "GET",
                .pattern = std::string(file.path),
                .handler = [file, etag = std::move(etag)](
                               ExchangePtr exchange) { serve_file(file, etag, exchange); },
                .is_public = true,
                .name = "page"});
  }
}

}  // namespace octet::serve
