#include "serve/reply_thread.h"

#include <gtest/gtest.h>

#include <future>

#include "serve/job.h"

namespace octet::serve {
namespace {

// Writes down what it hears, and on which thread.
class Witness : public JobListener {
 public:
  void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) override {
    note(fmt::format("admitted {} {} {}", prompt.ids.size(), max_tokens, clamped));
  }
  void on_progress(const generate::PromptProgress& p) override {
    note(fmt::format("progress {}", p.processed));
  }
  void on_prompt_logprobs(std::vector<generate::TokenOutput> tokens) override {
    note(fmt::format("prompt {}", tokens.size()));
  }
  void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                 const std::vector<generate::TokenOutput>& tokens) override {
    note(fmt::format("events {} {} {}", choice, events.at(0).text, tokens.at(0).id));
  }
  void on_choice_end(std::int64_t choice, const ChoiceEnd& end) override {
    note(fmt::format("end {} {}", choice, end.finish_reason));
  }
  void on_done(const Usage& usage) override {
    note(fmt::format("done {}", usage.completion_tokens));
    done_.set_value();
  }
  void on_error(const HttpError& error) override { note(fmt::format("error {}", error.status())); }
  bool ready() override { return is_ready; }

  std::vector<std::string> wait() {
    done_.get_future().wait();
    return notes_;
  }
  std::atomic<bool> is_ready = false;

 private:
  void note(std::string text) {
    EXPECT_NE(std::this_thread::get_id(), owner_);
    notes_.push_back(std::move(text));
  }
  const std::thread::id owner_ = std::this_thread::get_id();
  std::vector<std::string> notes_;
  std::promise<void> done_;
};

TEST(ReplyThread, ListenersHearEverythingInOrderElsewhere) {
  ReplyThread thread;
  const auto witness = std::make_shared<Witness>();
  const auto to = deferred(thread, witness);
  EXPECT_FALSE(to->ready());
  witness->is_ready = true;
  EXPECT_TRUE(to->ready());
  ChatPrompt prompt;
  prompt.ids = {1, 2};
  to->on_admitted(prompt, 7, true);
  to->on_progress({.processed = 2});
  to->on_prompt_logprobs(std::vector<generate::TokenOutput>(3));
  to->on_events(1, {{AnswerEvent::Kind::content, "a", -1}}, {{.id = 5}});
  ChoiceEnd end;
  end.finish_reason = "stop";
  to->on_choice_end(1, end);
  to->on_error(HttpError(418, "x"));
  to->on_done({.completion_tokens = 4});
  EXPECT_EQ(witness->wait(),
            (std::vector<std::string>{"admitted 2 7 true", "progress 2", "prompt 3", "events 1 a 5",
                                      "end 1 stop", "error 418", "done 4"}));
}

TEST(ReplyThread, WhatThrowsHurtsNoOther) {
  ReplyThread thread;
  std::promise<void> after;
  thread.post([] { throw std::bad_alloc(); });
  thread.post([&] { after.set_value(); });
  after.get_future().wait();
}

TEST(ReplyThread, EndsWithWorkLeft) {
  const auto held = std::make_shared<int>(1);
  std::promise<void> begun, go;
  {
    ReplyThread thread;
    thread.post([&] {
      begun.set_value();
      go.get_future().wait();
    });
    begun.get_future().wait();
    for (int i = 0; i < 100; ++i) thread.post([held] {});
    go.set_value();
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace octet::serve
