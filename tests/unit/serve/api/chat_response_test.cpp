#include "serve/api/chat_response.h"

#include <gtest/gtest.h>

#include "fake_exchange.h"
#include "request_world.h"
#include "serve/api/compact_json.h"

namespace octet::serve {
namespace {

using Kind = AnswerEvent::Kind;
using generate::TokenOutput;

struct World {
  std::shared_ptr<test::FakeExchange> exchange = std::make_shared<test::FakeExchange>();
  ChatReply reply;
  ChatPrompt prompt;

  World() {
    exchange->request_.path = "/v1/chat/completions";
    exchange->request_.request_id = "r1";
    reply.envelope = {.id = "chatcmpl-a1", .created = 1790000000, .model = "m"};
    prompt.ids = {1, 2, 3};
    prompt.text = "as rendered";
  }
  std::shared_ptr<JobListener> collector() {
    return make_chat_collector(exchange, test::RequestWorld::tiny_tokenizer(), reply);
  }
  std::shared_ptr<JobListener> stream() {
    return make_chat_stream(std::make_shared<SseStream>(exchange),
                            test::RequestWorld::tiny_tokenizer(), reply);
  }
  json::object whole() const { return parse_json(exchange->body(), "body").as_object(); }
};

std::vector<TokenOutput> tokens(std::initializer_list<std::int32_t> ids) {
  std::vector<TokenOutput> out;
  for (const std::int32_t id : ids)
    out.push_back(
        {.id = id, .has_logprob = true, .chosen = {id, -0.5F, 1}, .top = {{id, -0.5F, 1}}});
  return out;
}

ChoiceEnd ended(std::string reason, json::value stop = nullptr) {
  ChoiceEnd end;
  end.finish_reason = std::move(reason);
  end.stop_reason = std::move(stop);
  end.summary.answer_tokens = 5;
  end.summary.prompt_tokens = 3;
  end.summary.prefill_seconds = 1;
  return end;
}

const Usage kUsage{
    .prompt_tokens = 310, .cached_tokens = 256, .completion_tokens = 58, .reasoning_tokens = 21};

// serving.md §6.1.
void tell_example(JobListener& l, const ChatPrompt& prompt) {
  l.on_admitted(prompt, 100, false);
  l.on_events(0, {{Kind::reasoning, "Need weather", -1}}, {});
  l.on_events(0, {{Kind::content, "Let me check.", -1}}, {});
  l.on_events(0, {{Kind::tool_begin, "get_weather", 0}}, {});
  l.on_events(0, {{Kind::tool_arguments, R"({"city": "Pa)", 0}}, {});
  l.on_events(0, {{Kind::tool_arguments, R"(ris", "days": 3})", 0}, {Kind::tool_end, "", 0}}, {});
  l.on_choice_end(0, ended("tool_calls"));
  l.on_done(kUsage);
}

// The random part of a call's id.
std::string without_ids(std::string text) {
  for (std::size_t at = 0; (at = text.find("\"call_", at)) != std::string::npos; at += 7)
    text.replace(at + 6, 24, "x");
  return text;
}

TEST(ChatStream, TheExampleOfTheSpecification) {
  World w;
  w.reply.options.stream = w.reply.options.include_usage = true;
  tell_example(*w.stream(), w.prompt);
  const std::string head =
      R"({"id":"chatcmpl-a1","object":"chat.completion.chunk","created":1790000000,"model":"m","choices":[)";
  const auto delta = [&](const std::string& d) {
    return head + R"({"index":0,"delta":)" + d + R"(,"logprobs":null,"finish_reason":null}]})";
  };
  std::vector<std::string> frames = w.exchange->frames();
  for (std::string& f : frames) f = without_ids(f);
  const std::vector<std::string> expected{
      delta(R"({"role":"assistant","content":""})"),
      delta(R"({"reasoning":"Need weather","reasoning_content":"Need weather"})"),
      delta(R"({"content":"Let me check."})"),
      delta(
          R"({"tool_calls":[{"index":0,"id":"call_x","type":"function","function":{"name":"get_weather","arguments":""}}]})"),
      delta(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"city\": \"Pa"}}]})"),
      delta(R"({"tool_calls":[{"index":0,"function":{"arguments":"ris\", \"days\": 3}"}}]})"),
      head +
          R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls","stop_reason":null}]})",
      head.substr(0, head.size() - 1) +
          R"([],"usage":{"prompt_tokens":310,"completion_tokens":58,"total_tokens":368,"prompt_tokens_details":{"cached_tokens":256,"multimodal_tokens":0},"completion_tokens_details":{"reasoning_tokens":21}}})",
      "[DONE]"};
  EXPECT_EQ(frames, expected);
  EXPECT_TRUE(w.exchange->ended());
  EXPECT_FALSE(w.exchange->close());
}

TEST(ChatCollector, TheSameAnswerAsAWhole) {
  World w;
  w.reply.envelope.fingerprint = "octet-1";
  tell_example(*w.collector(), w.prompt);
  EXPECT_EQ(w.exchange->status(), 200);
  EXPECT_EQ(
      without_ids(w.exchange->body()),
      R"({"id":"chatcmpl-a1","object":"chat.completion","created":1790000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Let me check.","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[{"id":"call_x","type":"function","function":{"name":"get_weather","arguments":"{\"city\": \"Paris\", \"days\": 3}"}}],"reasoning":"Need weather","reasoning_content":"Need weather"},"logprobs":null,"finish_reason":"tool_calls","stop_reason":null,"token_ids":null}],"service_tier":null,"system_fingerprint":"octet-1","prompt_logprobs":null,"usage":{"prompt_tokens":310,"completion_tokens":58,"total_tokens":368,"prompt_tokens_details":{"cached_tokens":256,"multimodal_tokens":0},"completion_tokens_details":{"reasoning_tokens":21}},"prompt_token_ids":null,"kv_transfer_params":null})");
}

TEST(ChatCollector, ContentIsNullOnlyWhereSomethingElseIs) {
  const auto content_after = [](const std::vector<AnswerEvent>& events) {
    World w;
    const auto l = w.collector();
    l->on_admitted(w.prompt, 100, false);
    l->on_events(0, events, {});
    l->on_choice_end(0, ended("stop"));
    l->on_done(kUsage);
    return w.whole().at("choices").at(0).at("message").at("content");
  };
  EXPECT_EQ(content_after({}), "");
  EXPECT_TRUE(content_after({{Kind::reasoning, "hm", -1}}).is_null());
  EXPECT_TRUE(
      content_after({{Kind::tool_begin, "f", 0}, {Kind::tool_arguments, "{}", 0}}).is_null());
  EXPECT_EQ(content_after({{Kind::reasoning, "hm", -1}, {Kind::content, "A", -1}}), "A");
}

TEST(ChatCollector, NoKeyForCallsOrReasoningThatAreNotThere) {
  World w;
  const auto l = w.collector();
  l->on_admitted(w.prompt, 100, false);
  l->on_events(0, {{Kind::content, "A", -1}}, {});
  l->on_choice_end(0, ended("stop", "END"));
  l->on_done(kUsage);
  const json::object message = w.whole().at("choices").at(0).at("message").as_object();
  EXPECT_FALSE(message.contains("tool_calls"));
  EXPECT_FALSE(message.contains("reasoning"));
  EXPECT_FALSE(message.contains("reasoning_content"));
  EXPECT_EQ(w.whole().at("choices").at(0).at("stop_reason"), "END");
}

TEST(ChatReplies, ReasoningFieldIsTheServersChoice) {
  for (const std::string& field : {"reasoning", "reasoning_content"}) {
    World w;
    w.reply.reasoning_field = field;
    tell_example(*w.collector(), w.prompt);
    const json::object message = w.whole().at("choices").at(0).at("message").as_object();
    EXPECT_EQ(message.contains("reasoning"), field == "reasoning");
    EXPECT_EQ(message.contains("reasoning_content"), field == "reasoning_content");
  }
}

// Hidden reasoning takes its log-probabilities and ids along.
TEST(ChatReplies, HiddenReasoningLeavesNoTrace) {
  for (const bool streamed : {false, true}) {
    World w;
    w.reply.include_reasoning = false;
    w.reply.options.logprobs = w.reply.options.return_token_ids = true;
    w.reply.think_begin = 50;
    w.reply.think_end = 51;
    w.prompt.in_reasoning = true;
    const auto l = streamed ? w.stream() : w.collector();
    l->on_admitted(w.prompt, 100, false);
    l->on_events(0, {{Kind::reasoning, "secret", -1}}, tokens({60, 61}));
    l->on_events(0, {{Kind::content, "A", -1}}, tokens({51, 62}));
    l->on_choice_end(0, ended("stop"));
    l->on_done(kUsage);
    EXPECT_EQ(w.exchange->body().find("secret"), std::string::npos);
    if (streamed) {
      const auto frames = w.exchange->frames();
      ASSERT_EQ(frames.size(), 4U);  // role, A, finish, [DONE]
      const json::value chunk = parse_json(frames[1], "chunk");
      EXPECT_EQ(chunk.at("choices").at(0).at("token_ids"), (json::array{62}));
      EXPECT_EQ(chunk.at("choices").at(0).at("logprobs").at("content").as_array().size(), 1U);
    } else {
      EXPECT_EQ(w.whole().at("choices").at(0).at("token_ids"), (json::array{62}));
      EXPECT_EQ(w.whole().at("choices").at(0).at("logprobs").at("content").as_array().size(), 1U);
    }
  }
}

TEST(ChatReplies, LogprobsCoverEachTokenOnce) {
  for (const bool streamed : {false, true}) {
    World w;
    w.reply.options.logprobs = true;
    const auto l = streamed ? w.stream() : w.collector();
    l->on_admitted(w.prompt, 100, false);
    // Two events of one piece: its tokens must not appear twice.
    l->on_events(0, {{Kind::content, "A", -1}, {Kind::tool_begin, "f", 0}}, tokens({60, 61}));
    l->on_events(0, {}, tokens({62}));  // nothing to show but its log-probability
    l->on_choice_end(0, ended("stop"));
    l->on_done(kUsage);
    std::size_t count = 0;
    if (streamed) {
      for (const std::string& frame : w.exchange->frames()) {
        if (frame == "[DONE]") continue;
        const json::value logprobs = parse_json(frame, "f").at("choices").at(0).at("logprobs");
        if (!logprobs.is_null()) count += logprobs.at("content").as_array().size();
      }
    } else {
      count = w.whole().at("choices").at(0).at("logprobs").at("content").as_array().size();
    }
    EXPECT_EQ(count, 3U);
  }
}

TEST(ChatReplies, PiecesWithNothingToShowAreNotSent) {
  World w;
  const auto l = w.stream();
  l->on_admitted(w.prompt, 100, false);
  l->on_events(0, {{Kind::content, "A", -1}}, tokens({60}));
  l->on_events(0, {}, tokens({61}));
  l->on_events(0, {{Kind::tool_end, "", 0}}, tokens({62}));
  l->on_choice_end(0, ended("stop"));
  l->on_done(kUsage);
  EXPECT_EQ(w.exchange->frames().size(), 4U);  // role, A, finish, [DONE]
}

TEST(ChatStream, ChoicesInterleave) {
  World w;
  w.reply.n = 2;
  const auto l = w.stream();
  l->on_admitted(w.prompt, 100, false);
  l->on_events(1, {{Kind::content, "B", -1}}, {});
  l->on_events(0, {{Kind::content, "A", -1}}, {});
  l->on_choice_end(1, ended("length"));
  l->on_choice_end(0, ended("stop"));
  l->on_done(kUsage);
  std::vector<std::int64_t> indices;
  const auto frames = w.exchange->frames();
  for (std::size_t i = 0; i + 1 < frames.size(); ++i)
    indices.push_back(parse_json(frames[i], "f").at("choices").at(0).at("index").as_int64());
  EXPECT_EQ(indices, (std::vector<std::int64_t>{1, 1, 0, 0, 1, 0}));
}

TEST(ChatStream, AdmissionErrorsAreResponses) {
  World w;
  w.stream()->on_error(HttpError(400, "too long", "messages", {{"n_ctx", 10}}));
  EXPECT_EQ(w.exchange->status(), 400);
  EXPECT_EQ(parse_json(w.exchange->body(), "b").at("error").at("n_ctx").as_int64(), 10);
}

TEST(ChatStream, FailuresAreFramesAndCloseTheConnection) {
  for (const char* reason : {"error", "abort"}) {
    World w;
    const auto l = w.stream();
    l->on_admitted(w.prompt, 100, false);
    l->on_events(0, {{Kind::content, "A", -1}}, {});
    l->on_choice_end(0, ended(reason));
    l->on_done(kUsage);
    const auto frames = w.exchange->frames();
    ASSERT_GE(frames.size(), 2U);
    EXPECT_EQ(frames.back(), "[DONE]");
    EXPECT_TRUE(parse_json(frames[frames.size() - 2], "f").as_object().contains("error"));
    EXPECT_TRUE(w.exchange->close());
  }
}

TEST(ChatCollector, FailuresAreResponses) {
  World w;
  const auto l = w.collector();
  l->on_admitted(w.prompt, 100, false);
  ChoiceEnd end = ended("error");
  end.error = "what happened";
  l->on_choice_end(0, end);
  l->on_done(kUsage);
  EXPECT_EQ(w.exchange->status(), 500);
  World late;
  const auto m = late.collector();
  m->on_admitted(late.prompt, 100, false);
  ChoiceEnd queued;
  queued.finish_reason = "error";
  queued.error = "waited too long";
  queued.summary.failure = generate::Failure::busy;
  m->on_choice_end(0, queued);
  m->on_done(kUsage);
  EXPECT_EQ(late.exchange->status(), 503);
  World wrong;
  const auto n = wrong.collector();
  n->on_admitted(wrong.prompt, 100, false);
  ChoiceEnd grammar = queued;
  grammar.summary.failure = generate::Failure::request;
  n->on_choice_end(0, grammar);
  n->on_done(kUsage);
  EXPECT_EQ(wrong.exchange->status(), 400);
}

TEST(ChatReplies, ExtrasOnRequest) {
  World w;
  w.reply.options.return_token_ids = w.reply.options.return_prompt_text = true;
  w.reply.options.timings = true;
  w.reply.per_request_metrics = true;
  const auto l = w.collector();
  l->on_admitted(w.prompt, 77, true);
  l->on_prompt_logprobs(tokens({2, 3}));
  l->on_events(0, {{Kind::content, "A", -1}}, tokens({60}));
  l->on_choice_end(0, ended("stop"));
  l->on_done(kUsage);
  const json::object body = w.whole();
  EXPECT_EQ(w.exchange->headers(), (Headers{{"x-octet-clamped-max-tokens", "77"}}));
  EXPECT_EQ(body.at("prompt_token_ids"), (json::array{1, 2, 3}));
  EXPECT_EQ(body.at("prompt_text"), "as rendered");
  EXPECT_EQ(body.at("timings").at("prompt_n").as_int64(), 3);
  EXPECT_TRUE(body.contains("metrics"));
  const json::array& logprobs = body.at("prompt_logprobs").as_array();
  ASSERT_EQ(logprobs.size(), 3U);
  EXPECT_TRUE(logprobs[0].is_null());
  EXPECT_EQ(logprobs[1].at("2").at("rank").as_int64(), 1);
}

TEST(ChatStream, ProgressUsageAndEcho) {
  World w;
  w.reply.options.return_progress = w.reply.options.continuous_usage = true;
  w.reply.echo = "Well";
  const auto l = w.stream();
  l->on_admitted(w.prompt, 100, false);
  l->on_progress({.total = 3, .cached = 1, .processed = 2, .seconds = 0.25});
  l->on_events(0, {{Kind::content, ", hi", -1}}, tokens({60, 61}));
  l->on_choice_end(0, ended("stop"));
  l->on_done(kUsage);
  const auto frames = w.exchange->frames();
  ASSERT_EQ(frames.size(), 6U);
  EXPECT_EQ(compact_json(parse_json(frames[0], "f").at("prompt_progress")),
            R"({"total":3,"cache":1,"processed":2,"time_ms":250})");
  EXPECT_EQ(parse_json(frames[1], "f").at("usage").at("completion_tokens").as_int64(), 0);
  EXPECT_EQ(parse_json(frames[2], "f").at("choices").at(0).at("delta").at("content"), "Well");
  EXPECT_EQ(parse_json(frames[3], "f").at("usage").at("completion_tokens").as_int64(), 2);
}

TEST(TokenText, PartsOfCharactersAndIds) {
  const auto& t = test::RequestWorld::tiny_tokenizer();
  const auto ids = t.encode("\xF0\x9F\xA6\x99");  // no token of its own
  const TokenText text(t, false), as_ids(t, true);
  ASSERT_GT(ids.size(), 1U);
  const auto item =
      text.chat_item({.id = ids[0], .has_logprob = true, .chosen = {ids[0], -1e30F, 1}});
  EXPECT_NE(std::string(item.at("token").as_string()).find("\xEF\xBF\xBD"), std::string::npos);
  EXPECT_EQ(item.at("bytes").at(0).to_number<int>(), 0xF0);
  EXPECT_EQ(item.at("logprob").as_double(), -9999.0);
  EXPECT_EQ(as_ids.text(12), "token_id:12");
}

}  // namespace
}  // namespace octet::serve
