#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/base/json.h"
#include "serve/api/sse.h"
#include "serve/service.h"

namespace octet::serve {

/// The server before, while and after there is a model: what its routes hold. The port is open
/// while weights are still read; requests get 503 then (serving.md §8, §19.1). Any thread.
class ServerState {
 public:
  ServerState() = default;

  /// Errors: HttpError 503 with Retry-After while loading or draining, and after a failure.
  Service& service() const;
  /// Null while loading. Valid until the server's end.
  Service* find_service() const { return service_.load(std::memory_order_acquire); }

  /// Share of the loading that is done, 0..1.
  void set_progress(double progress) { progress_.store(progress, std::memory_order_relaxed); }
  /// Ready from here on; the service outlives the HTTP server.
  void serve(Service& service);
  /// No new requests.
  void drain();
  /// Loading or the engine failed; the message is fit for a client.
  void fail_with(std::string message);

  Service::State state() const;
  /// {"status": "ok"}, or what is missing with "progress" and an error object.
  json::object health() const;
  SsePinger& pinger() { return pinger_; }
  /// Of the HTTP server, for the metrics. Set before it starts; may be empty.
  std::function<HttpStatus()> http_status;

 private:
  HttpError unavailable(Service::State now) const;
  std::atomic<Service*> service_ = nullptr;
  std::atomic<double> progress_ = 0;
  std::atomic<bool> draining_ = false, failed_ = false;
  mutable std::mutex mutex_;
  std::string message_;
  SsePinger pinger_;
};

}  // namespace octet::serve
