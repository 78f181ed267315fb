#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace octet::serve {

class JobListener;

/// One thread for what would hold up the engine's: log-probabilities are up to a thousand times the
/// bytes of the text that they belong to. Any thread.
class ReplyThread {
 public:
  ReplyThread();
  ~ReplyThread();  // drops what waits
  ReplyThread(const ReplyThread&) = delete;
  ReplyThread& operator=(const ReplyThread&) = delete;
  /// In the order of the calls. What a task throws goes to the log.
  void post(std::function<void()> task);

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::thread thread_;
};

/// A listener that has the thread make its calls, but for ready(). The thread outlives it.
std::shared_ptr<JobListener> deferred(ReplyThread& thread, std::shared_ptr<JobListener> listener);

}  // namespace octet::serve
