// serve: the server. http/ speaks HTTP and knows nothing of models; answer/ turns tokens' text into
// reasoning, content and calls; api/ are the dialects of clients; service.h is what they share.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octet::serve {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// A request as it came. Immutable.
struct HttpRequest {
  std::string method;    ///< "GET"
  std::string path;      ///< percent-decoded, without the query; valid UTF-8
  std::string raw_path;  ///< as sent, without the query
  std::string query;
  Headers headers;  ///< names in lower case
  std::string body;
  std::string remote;      ///< "127.0.0.1:5312", "unix"
  std::string request_id;  ///< X-Request-Id if it was fit (<= 128 printable ASCII), else made here
  std::vector<std::string> parameters;  ///< what the route's {} matched
  std::string key;  ///< the client's key if it was checked; empty otherwise. Never logged
  /// Null view if absent.
  std::string_view header(std::string_view lower_case_name) const;
};

/// One request and its response, shared between the connection and whoever answers. The first of
/// respond() and begin_stream() decides; later calls of them are ignored. Dropping the last
/// reference unanswered responds 500. All members may be called from any thread; nothing blocks.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const HttpRequest& request() const = 0;

  /// The whole response. Content-Length is set here.
  virtual void respond(int status, std::string_view content_type, std::string body,
                       Headers headers = {}) = 0;
  /// A response of unknown length (chunked), status 200, text/event-stream and the headers that
  /// streams need.
  virtual void begin_stream(Headers headers = {}) = 0;
  /// A piece of the stream, sent as soon as the socket takes it. Ignored without a begun stream,
  /// as end_stream() is.
  virtual void write(std::string piece) = 0;
  /// The stream is complete. close: the connection as well (after an error).
  virtual void end_stream(bool close = false) = 0;
  /// Bytes written and not yet taken by the socket: a slow reader's queue.
  virtual std::size_t queued_bytes() const = 0;

  /// The client is gone or the response is out; nothing that is written arrives.
  virtual bool closed() const = 0;
  /// Called once when the client goes before the response is out, within 100 ms, from an I/O
  /// thread; at once, by this call, if it is gone already. Forgotten when the response is out.
  virtual void on_disconnect(std::function<void()> f) = 0;
  /// Called from an I/O thread whenever queued_bytes() has fallen below half of
  /// HttpOptions::stream_queue_bytes after having been above it.
  virtual void on_writable(std::function<void()> f) = 0;
};
using ExchangePtr = std::shared_ptr<Exchange>;

}  // namespace octet::serve
