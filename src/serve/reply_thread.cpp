#include "serve/reply_thread.h"

#include <utility>

#include "runtime/base/system.h"
#include "serve/job.h"
#include "serve/log.h"

namespace octet::serve {

namespace {

using generate::TokenOutput;

class DeferredListener : public JobListener {
 public:
  DeferredListener(ReplyThread& thread, std::shared_ptr<JobListener> listener)
      : thread_(thread), to_(std::move(listener)) {}

  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override {
    thread_.post(
        [to = to_, prompt, max_tokens, clamped] { to->on_admitted(prompt, max_tokens, clamped); });
  }
  void on_progress(const generate::PromptProgress& progress) override {
    thread_.post([to = to_, progress] { to->on_progress(progress); });
  }
  void on_prompt_logprobs(std::vector<TokenOutput> tokens) override {
    // Shared: a task is copied where it is made.
    const auto all = std::make_shared<std::vector<TokenOutput>>(std::move(tokens));
    thread_.post([to = to_, all] { to->on_prompt_logprobs(std::move(*all)); });
  }
  void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                 const std::vector<TokenOutput>& tokens) override {
    thread_.post([to = to_, choice, events, tokens] { to->on_events(choice, events, tokens); });
  }
  void on_choice_end(std::int64_t choice, const ChoiceEnd& end) override {
    thread_.post([to = to_, choice, end] { to->on_choice_end(choice, end); });
  }
  void on_done(const Usage& usage) override {
    thread_.post([to = to_, usage] { to->on_done(usage); });
  }
  void on_error(const HttpError& error) override {
    thread_.post([to = to_, error] { to->on_error(error); });
  }
  bool ready() override { return to_->ready(); }

 private:
  ReplyThread& thread_;
  const std::shared_ptr<JobListener> to_;
};

}  // namespace

ReplyThread::ReplyThread()
    : thread_([this] {
        name_this_thread("octet-replies");
        run();
      }) {}

ReplyThread::~ReplyThread() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ReplyThread::post(std::function<void()> task) {
  {
    const std::scoped_lock lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
}

void ReplyThread::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
    if (stop_) return;
    std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    try {
      task();
    } catch (const std::exception& e) {
      // The exchange is answered when its last holder lets go of it.
      log(LogLevel::error, "a reply could not be written", {{"error", std::string_view(e.what())}});
    }
    task = nullptr;  // what it holds goes without the lock
    lock.lock();
  }
}

std::shared_ptr<JobListener> deferred(ReplyThread& thread, std::shared_ptr<JobListener> listener) {
  return std::make_shared<DeferredListener>(thread, std::move(listener));
}

}  // namespace octet::serve
