#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "serve/http/error_body.h"

namespace octet::serve {

struct ParserLimits {
  std::size_t header_bytes = 64 << 10, uri_bytes = 8 << 10, body_bytes = std::size_t{256} << 20;
  std::size_t fields = 256;
};

/// One request's frame: Beast's parser with our limits. Feed it until complete(); then take what it
/// read. Not thread-safe.
class RequestParser {
 public:
  explicit RequestParser(ParserLimits limits);
  ~RequestParser();

  /// Takes bytes and returns how many; the rest must come again, with more behind it. Stops after
  /// the head, so that a request can be refused before its body is read. Linear in what is sent,
  /// in whatever pieces it comes. Errors: HttpError 400, 413, 414, 431, 501, 505; then the parser
  /// is of no more use.
  std::size_t put(std::string_view bytes);

  bool head_done() const;
  bool complete() const;
  bool has_body() const;                                ///< after the head
  std::optional<std::uint64_t> content_length() const;  ///< after the head
  bool keep_alive() const;                              ///< after the head
  int version() const;                                  ///< 10 or 11
  std::size_t body_bytes() const;                       ///< read so far
  std::string method, target, body;
  Headers headers;  ///< names in lower case; no trailers

 private:
  class Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace octet::serve
