#include "serve/api/completion_response.h"

#include <gtest/gtest.h>

#include <thread>

#include "fake_exchange.h"
#include "request_world.h"

namespace octet::serve {
namespace {

using Kind = AnswerEvent::Kind;
using generate::TokenOutput;

struct World {
  std::shared_ptr<test::FakeExchange> exchange = std::make_shared<test::FakeExchange>();
  CompletionReply reply;
  int cancelled = 0;
  World() {
    exchange->request_.path = "/v1/completions";
    reply.envelope = {.id = "cmpl-1", .created = 5, .model = "m"};
    reply.cancel = [this] { ++cancelled; };
  }
  std::vector<std::shared_ptr<JobListener>> listeners(bool stream) {
    return make_completion_listeners(exchange,
                                     stream ? std::make_shared<SseStream>(exchange) : nullptr,
                                     test::RequestWorld::tiny_tokenizer(), reply);
  }
};

ChatPrompt prompt_of(std::vector<std::int32_t> ids) {
  ChatPrompt p;
  p.ids = std::move(ids);
  return p;
}

ChoiceEnd ended(std::string reason) {
  ChoiceEnd end;
  end.finish_reason = std::move(reason);
  return end;
}

const Usage kUsage{.prompt_tokens = 2, .completion_tokens = 3};

TEST(CompletionResponse, ChoicesOfAllPrompts) {
  World w;
  w.reply.prompts = 2;
  w.reply.n = 2;
  const auto ls = w.listeners(false);
  ls[0]->on_admitted(prompt_of({1, 2}), 9, false);
  ls[1]->on_admitted(prompt_of({3, 4}), 9, false);
  for (std::int64_t k = 0; k < 2; ++k)
    for (std::size_t p = 0; p < 2; ++p)
      ls[p]->on_events(k, {{Kind::content, fmt::format("{}{}", p, k), -1}}, {});
  for (std::size_t p : {1, 0}) {
    ls[p]->on_choice_end(0, ended("stop"));
    ls[p]->on_choice_end(1, ended("length"));
    EXPECT_EQ(w.exchange->status(), 0);  // not before the last
    ls[p]->on_done(kUsage);
  }
  const json::value body = parse_json(w.exchange->body(), "b");
  EXPECT_EQ(body.at("object"), "text_completion");
  const json::array& choices = body.at("choices").as_array();
  ASSERT_EQ(choices.size(), 4U);
  const std::vector<std::string> texts{"00", "01", "10", "11"};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(choices[i].at("index").to_number<std::size_t>(), i);
    EXPECT_EQ(choices[i].at("text"), texts[i].c_str());
    EXPECT_EQ(choices[i].at("finish_reason"), i % 2 == 0 ? "stop" : "length");
  }
  EXPECT_EQ(body.at("usage").at("prompt_tokens").as_int64(), 4);
  EXPECT_EQ(body.at("usage").at("completion_tokens").as_int64(), 6);
}

TEST(CompletionResponse, EchoWithLogprobsCoversPromptAndAnswer) {
  const auto& t = test::RequestWorld::tiny_tokenizer();
  const auto ids = t.encode("one two");
  ASSERT_GE(ids.size(), 2U);
  for (const bool streamed : {false, true}) {
    World w;
    w.reply.echo = true;
    w.reply.options.logprobs = true;
    const auto l = w.listeners(streamed)[0];
    l->on_admitted(prompt_of(ids), 9, false);
    std::vector<TokenOutput> scored;
    for (std::size_t i = 1; i < ids.size(); ++i)
      scored.push_back({.id = ids[i], .has_logprob = true, .chosen = {ids[i], -2.0F, 3}});
    l->on_prompt_logprobs(scored);
    l->on_events(0, {{Kind::content, " x", -1}},
                 {{.id = 60, .has_logprob = true, .chosen = {60, -1.0F, 1}}});
    l->on_choice_end(0, ended("stop"));
    l->on_done(kUsage);
    const json::value body =
        parse_json(streamed ? w.exchange->frames().front() : w.exchange->body(), "b");
    const json::value& choice = body.at("choices").at(0);
    EXPECT_EQ(choice.at("text"), "one two x");
    const json::value& lp = choice.at("logprobs");
    ASSERT_EQ(lp.at("tokens").as_array().size(), ids.size() + 1);
    EXPECT_TRUE(lp.at("token_logprobs").at(0).is_null());
    EXPECT_TRUE(lp.at("top_logprobs").at(0).is_null());
    EXPECT_EQ(lp.at("token_logprobs").at(1).as_double(), -2.0);
    EXPECT_EQ(lp.at("token_logprobs").as_array().back().as_double(), -1.0);
    EXPECT_EQ(lp.at("text_offset").at(0).as_int64(), 0);
    EXPECT_EQ(lp.at("text_offset").as_array().back().as_int64(), 7);
  }
}

TEST(CompletionResponse, StreamEndsOnceAfterTheLastPrompt) {
  World w;
  w.reply.prompts = 2;
  w.reply.options.include_usage = true;
  const auto ls = w.listeners(true);
  for (std::size_t p = 0; p < 2; ++p) {
    ls[p]->on_admitted(prompt_of({1}), 9, false);
    ls[p]->on_events(0, {{Kind::content, "x", -1}}, {});
    ls[p]->on_choice_end(0, ended("stop"));
    ls[p]->on_done(kUsage);
  }
  const auto frames = w.exchange->frames();
  ASSERT_EQ(frames.size(), 6U);  // text and end of each, usage, [DONE]
  EXPECT_EQ(parse_json(frames[4], "f").at("usage").at("total_tokens").as_int64(), 10);
  EXPECT_EQ(frames[5], "[DONE]");
  EXPECT_EQ(w.cancelled, 0);
}

TEST(CompletionResponse, OneFailureEndsAll) {
  World w;
  w.reply.prompts = 2;
  const auto ls = w.listeners(false);
  ls[0]->on_admitted(prompt_of({1}), 9, false);
  ls[1]->on_error(HttpError(400, "bad", "prompt"));
  EXPECT_EQ(w.exchange->status(), 400);
  EXPECT_EQ(w.cancelled, 1);
  ls[0]->on_choice_end(0, ended("abort"));
  ls[0]->on_done(kUsage);
  EXPECT_EQ(w.cancelled, 1);
}

TEST(CompletionResponse, PromptsMayBeToldOfByDifferentThreads) {
  World w;
  w.reply.prompts = 8;
  const auto ls = w.listeners(true);
  std::vector<std::thread> threads;
  for (const auto& l : ls)
    threads.emplace_back([l] {
      l->on_admitted(prompt_of({1}), 9, false);
      for (int i = 0; i < 50; ++i) l->on_events(0, {{Kind::content, "x", -1}}, {});
      l->on_choice_end(0, ended("stop"));
      l->on_done(kUsage);
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(w.exchange->frames().size(), 8U * 51 + 1);
}

}  // namespace
}  // namespace octet::serve
