#include "serve/http/workers.h"

#include <algorithm>
#include <string>
#include <utility>

#include "runtime/base/system.h"

namespace octet::serve {

Workers::Workers(int threads, std::size_t max_queued)
    : count_(std::max(threads, 1)), max_queued_(max_queued) {}

Workers::~Workers() {
  stop();
}

void Workers::start() {
  const std::scoped_lock lock(mutex_);
  running_ = true;
  for (int i = 0; i < count_; ++i)
    threads_.emplace_back([this, i] {
      name_this_thread("octet-work-" + std::to_string(i));
      run();
    });
}

bool Workers::submit(std::function<void()> task) {
  {
    const std::scoped_lock lock(mutex_);
    if (!running_ || queue_.size() >= max_queued_) return false;
    queue_.push_back(std::move(task));
  }
  changed_.notify_one();
  return true;
}

void Workers::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return !running_ || !queue_.empty(); });
    if (!running_) return;
    std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task();
    task = nullptr;  // what it holds goes without the lock
    lock.lock();
  }
}

void Workers::stop() {
  std::deque<std::function<void()>> dropped;
  std::vector<std::thread> threads;
  {
    const std::scoped_lock lock(mutex_);
    running_ = false;
    dropped.swap(queue_);
    threads.swap(threads_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace octet::serve
