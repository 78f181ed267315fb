#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "serve/http/error_body.h"
#include "serve/http/exchange.h"

namespace octet::serve {

/// Server-sent events over an exchange. A frame is one write, so that what different threads write
/// never mixes. serving.md §6, §16.4. Any thread; nothing blocks.
class SseStream {
 public:
  explicit SseStream(ExchangePtr exchange);
  /// The frame that says that we live; a comment unless said otherwise.
  void set_ping(std::string frame);
  /// The response's head. Later calls do nothing.
  void begin(Headers headers = {});
  bool begun() const;
  void data(std::string_view json);                          ///< `data: json`
  void event(std::string_view name, std::string_view json);  ///< `event: name`, `data: json`
  void done();                                               ///< `data: [DONE]`, and the end
  void end(bool close = false);  ///< the end. Nothing is written after it
  /// An error: as a response if nothing has begun, else as a frame, [DONE], and the connection is
  /// closed.
  void fail(const HttpError& error);
  const ExchangePtr& exchange() const { return exchange_; }

  /// Sends the ping if the stream has been silent for so long. False if it has ended.
  bool ping(std::chrono::steady_clock::time_point now, double silent_seconds);

 private:
  void write(std::string frame);
  ExchangePtr exchange_;
  mutable std::mutex mutex_;
  std::string ping_ = ": ping\n\n";
  bool begun_ = false, ended_ = false;
  std::chrono::steady_clock::time_point last_;
};

/// Pings streams that are silent, from one thread that sleeps while there are none. A long prompt
/// says nothing for minutes, and proxies give up. Any thread.
class SsePinger {
 public:
  SsePinger();
  ~SsePinger();
  SsePinger(const SsePinger&) = delete;
  SsePinger& operator=(const SsePinger&) = delete;
  /// Pings the stream after each `seconds` of silence until it ends or is gone. 0 or less: never.
  void watch(const std::shared_ptr<SseStream>& stream, double seconds);

 private:
  void run();
  struct Watched {
    std::weak_ptr<SseStream> stream;
    double seconds;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Watched> watched_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace octet::serve
