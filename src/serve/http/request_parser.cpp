#include "serve/http/request_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <utility>

#include "serve/http/target.h"

namespace octet::serve {
namespace http = boost::beast::http;
using boost::beast::error_code;

class RequestParser::Parser : public http::basic_parser<true> {
  using View = boost::beast::string_view;

 public:
  Parser(RequestParser& out, ParserLimits limits) : out_(out), limits_(limits) {
    // The limits are kept here: Beast's count a body once more, and a head only by what is left of
    // it.
    header_limit(static_cast<std::uint32_t>(limits.header_bytes));
    body_limit(boost::none);
    eager(false);
  }

  std::size_t feed(std::string_view bytes) {
    std::size_t taken = 0;
    const bool had_head = is_header_done();
    if (!had_head) check_start_line(bytes);
    while (taken < bytes.size() && !is_done() && is_header_done() == had_head) {
      error_code ec;
      const std::size_t n =
          put(boost::asio::buffer(bytes.data() + taken, bytes.size() - taken), ec);
      taken += n;
      if (!had_head) head_bytes_ += n;
      if (refusal_) throw *refusal_;
      if (ec == http::error::need_more) break;
      if (ec) refuse(ec);
    }
    const std::size_t left = bytes.size() - taken;
    if (head_bytes_ + (is_header_done() ? 0 : left) > limits_.header_bytes) too_large_head();
    // A chunk's line or the trailers: nothing but these is left untaken in a body.
    if (is_header_done() && !is_done() && had_head && left > limits_.header_bytes)
      throw HttpError(400,
                      fmt::format("a chunk's extensions or the trailers take more than {} bytes",
                                  limits_.header_bytes));
    return taken;
  }

  int version = 11;

 private:
  // Without the end of the line Beast waits for the end of the whole head.
  void check_start_line(std::string_view bytes) {
    if (start_line_seen_ || !out_.method.empty()) return;
    const std::size_t limit = limits_.uri_bytes + 64;  // the method, the version, blanks
    const std::string_view line = bytes.substr(0, limit);
    start_line_seen_ = line.find('\n') != std::string_view::npos;
    if (start_line_seen_ || line.size() < limit) return;
    throw HttpError(414, fmt::format("the request line is longer than {} bytes", limit));
  }

  [[noreturn]] void too_large_head() {
    throw HttpError(
        431, fmt::format("the request's head is larger than {} bytes", limits_.header_bytes));
  }

  [[noreturn]] void refuse(const error_code& ec) {
    if (ec == http::error::header_limit) too_large_head();
    if (ec == http::error::bad_version)
      throw HttpError(505, "not HTTP/1.1 or HTTP/1.0, or no HTTP at all");
    throw HttpError(400, fmt::format("bad HTTP request: {}", ec.message()));
  }

  void stop(error_code& ec, HttpError error) {
    refusal_ = std::make_unique<HttpError>(std::move(error));
    ec = http::error::bad_value;
  }

  void on_request_impl(http::verb, View verb, View uri, int v, error_code& ec) override {
    version = v;
    out_.method = std::string(verb.data(), verb.size());
    out_.target = std::string(uri.data(), uri.size());
    if (uri.size() > limits_.uri_bytes)
      stop(ec, HttpError(414, fmt::format("the request target has {} bytes; at most {} are read",
                                          uri.size(), limits_.uri_bytes)));
  }
  void on_response_impl(int, View, int, error_code&) override {}
  void on_field_impl(http::field, View name, View value, error_code& ec) override {
    if (is_header_done()) return;  // trailers: nobody asks for them, and they must not add to it
    if (out_.headers.size() >= limits_.fields)
      return stop(ec, HttpError(431, fmt::format("more than {} header fields", limits_.fields)));
    out_.headers.emplace_back(to_lower({name.data(), name.size()}),
                              std::string(value.data(), value.size()));
  }
  void on_header_impl(error_code& ec) override {
    for (const auto& [name, value] : out_.headers) {
      if (name != "transfer-encoding") continue;
      // Anything that a proxy before us may read otherwise would smuggle a request.
      if (version < 11) return stop(ec, HttpError(400, "Transfer-Encoding in an HTTP/1.0 request"));
      if (to_lower(trim(value)) != "chunked")
        return stop(ec, HttpError(501, "of transfer encodings only chunked is understood"));
    }
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(View piece, error_code& ec) override {
    append(piece, content_length_remaining().value_or(0), ec);
    return piece.size();
  }
  void on_chunk_header_impl(std::uint64_t size, View, error_code& ec) override {
    if (size > limits_.body_bytes - std::min(limits_.body_bytes, out_.body.size())) too_large(ec);
  }
  std::size_t on_chunk_body_impl(std::uint64_t, View piece, error_code& ec) override {
    append(piece, 0, ec);
    return piece.size();
  }
  void on_finish_impl(error_code&) override {}

  void append(View piece, std::uint64_t remaining, error_code& ec) {
    if (piece.size() > limits_.body_bytes - std::min(limits_.body_bytes, out_.body.size()))
      return too_large(ec);
    // Room for all of it only for those who have sent a good part: a length costs nothing to claim.
    constexpr std::size_t kEarnest = 4 << 20;
    if (out_.body.size() >= kEarnest && remaining <= limits_.body_bytes &&
        out_.body.capacity() < out_.body.size() + remaining)
      out_.body.reserve(out_.body.size() + remaining);
    out_.body.append(piece.data(), piece.size());
  }
  void too_large(error_code& ec) {
    stop(ec, HttpError(413, fmt::format("the request's body is larger than {} bytes",
                                        limits_.body_bytes)));
  }

  RequestParser& out_;
  ParserLimits limits_;
  std::size_t head_bytes_ = 0;
  bool start_line_seen_ = false;
  std::unique_ptr<HttpError> refusal_;
};

RequestParser::RequestParser(ParserLimits limits)
    : parser_(std::make_unique<Parser>(*this, limits)) {}
RequestParser::~RequestParser() = default;
std::size_t RequestParser::put(std::string_view bytes) {
  return parser_->feed(bytes);
}
bool RequestParser::head_done() const {
  return parser_->is_header_done();
}
bool RequestParser::complete() const {
  return parser_->is_done();
}
bool RequestParser::has_body() const {
  return parser_->chunked() || parser_->content_length().value_or(0) > 0;
}
std::optional<std::uint64_t> RequestParser::content_length() const {
  const auto n = parser_->content_length();
  return n ? std::optional<std::uint64_t>(*n) : std::nullopt;
}
bool RequestParser::keep_alive() const {
  return parser_->keep_alive();
}
int RequestParser::version() const {
  return parser_->version;
}
std::size_t RequestParser::body_bytes() const {
  return body.size();
}

}  // namespace octet::serve
