#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace octet::serve {

/// A few threads for handlers that parse, render or tokenize, with a bounded queue. Thread-safe.
class Workers {
 public:
  Workers(int threads, std::size_t max_queued);
  ~Workers();  // stop()
  void start();
  /// False if the queue is full or the workers have stopped. Tasks don't throw.
  bool submit(std::function<void()> task);
  /// Ends after the running tasks; what waits is dropped.
  void stop();

 private:
  void run();
  int count_;
  std::size_t max_queued_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool running_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace octet::serve
