#include "serve/api/sse.h"

#include <utility>

#include "runtime/base/system.h"

namespace octet::serve {

using Clock = std::chrono::steady_clock;

SseStream::SseStream(ExchangePtr exchange) : exchange_(std::move(exchange)), last_(Clock::now()) {}

void SseStream::set_ping(std::string frame) {
  const std::scoped_lock lock(mutex_);
  ping_ = std::move(frame);
}

void SseStream::begin(Headers headers) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(begun_, true)) return;
  last_ = Clock::now();
  exchange_->begin_stream(std::move(headers));
}

bool SseStream::begun() const {
  const std::scoped_lock lock(mutex_);
  return begun_;
}

void SseStream::write(std::string frame) {
  const std::scoped_lock lock(mutex_);
  if (ended_) return;
  last_ = Clock::now();
  exchange_->write(std::move(frame));
}

void SseStream::data(std::string_view json) {
  std::string frame;
  frame.reserve(json.size() + 8);
  frame.append("data: ").append(json).append("\n\n");
  write(std::move(frame));
}

void SseStream::event(std::string_view name, std::string_view json) {
  std::string frame;
  frame.reserve(json.size() + name.size() + 16);
  frame.append("event: ").append(name).append("\ndata: ").append(json).append("\n\n");
  write(std::move(frame));
}

void SseStream::done() {
  data("[DONE]");
  end();
}

void SseStream::end(bool close) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(ended_, true)) return;
  exchange_->end_stream(close);
}

void SseStream::fail(const HttpError& error) {
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return;
    if (!begun_) {
      begun_ = ended_ = true;
      respond_error(*exchange_, error);
      return;
    }
  }
  data(error_body(Dialect::openai, error, exchange_->request().request_id));
  data("[DONE]");
  end(true);
}

bool SseStream::ping(Clock::time_point now, double silent_seconds) {
  const std::scoped_lock lock(mutex_);
  if (ended_ || exchange_->closed()) return false;
  if (begun_ && std::chrono::duration<double>(now - last_).count() >= silent_seconds) {
    last_ = now;
    exchange_->write(ping_);
  }
  return true;
}

SsePinger::SsePinger()
    : thread_([this] {
        name_this_thread("octet-pings");
        run();
      }) {}

SsePinger::~SsePinger() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SsePinger::watch(const std::shared_ptr<SseStream>& stream, double seconds) {
  if (!(seconds > 0)) return;
  {
    const std::scoped_lock lock(mutex_);
    watched_.push_back({stream, seconds});
  }
  changed_.notify_all();
}

void SsePinger::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (watched_.empty()) {
      changed_.wait(lock);
      continue;
    }
    // Often enough for the most impatient; a quarter is what a ping may be late.
    double wait = 1;
    for (const Watched& w : watched_) wait = std::min(wait, w.seconds / 4);
    changed_.wait_for(lock, std::chrono::duration<double>(std::max(wait, 0.01)));
    // Without the lock: a stream's write may end in its owner's destructor, which may be anybody's.
    std::vector<Watched> now = std::exchange(watched_, {});
    lock.unlock();
    std::erase_if(now, [](const Watched& w) {
      const auto stream = w.stream.lock();
      return !stream || !stream->ping(Clock::now(), w.seconds);
    });
    lock.lock();
    watched_.insert(watched_.end(), std::make_move_iterator(now.begin()),
                    std::make_move_iterator(now.end()));
  }
}

}  // namespace octet::serve
