#include "serve/api/messages_response.h"

#include <random>

#include "dialect_test.h"

namespace octet::serve {
namespace {

using test::DialectExchange;
using test::event;
using test::events;
using test::prompt_of;

using K = AnswerEvent::Kind;
using Events = std::vector<AnswerEvent>;

// A stream and what it writes to.
struct Streamed {
  std::shared_ptr<DialectExchange> exchange = std::make_shared<DialectExchange>("/v1/messages");
  std::shared_ptr<SseStream> sse = std::make_shared<SseStream>(exchange);
  MessageStream stream{sse, "msg_1", "m", 1000};
};

// What comes of an answer that thinks and calls a function.
void thinking_and_call(JobListener& to) {
  to.on_admitted(prompt_of(310), 100, false);
  to.on_progress({.total = 310, .cached = 256, .processed = 300});
  to.on_progress({.total = 310, .cached = 256, .processed = 310});
  to.on_events(0, Events{event(K::reasoning, "Need weather")}, {});
  to.on_events(0, Events{event(K::tool_begin, "get_weather", 0)}, {});
  to.on_events(
      0, Events{event(K::tool_arguments, R"({"city": "Paris"})", 0), event(K::tool_end, "", 0)},
      {});
  ChoiceEnd end;
  end.finish_reason = "tool_calls";
  end.calls = 1;
  to.on_choice_end(0, end);
  to.on_done({.prompt_tokens = 310, .cached_tokens = 256, .completion_tokens = 58});
}

// serving.md §16.4; the usage at the end repeats the input's, as Anthropic's does.
TEST(MessageStream, TheSpecificationsExample) {
  Streamed s;
  thinking_and_call(s.stream);
  const auto got = events(s.exchange->body());
  std::vector<std::pair<std::string, std::string>> expected = {
      {"message_start",
       R"({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":54,"cache_creation_input_tokens":0,"cache_read_input_tokens":256,"output_tokens":0}}})"},
      {"content_block_start",
       R"({"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}})"},
      {"content_block_delta",
       R"({"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Need weather"}})"},
      {"content_block_delta",
       R"({"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":""}})"},
      {"content_block_stop", R"({"type":"content_block_stop","index":0})"},
      {"content_block_start",
       R"({"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"ID","name":"get_weather","input":{}}})"},
      {"content_block_delta",
       R"({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"city\": \"Paris\"}"}})"},
      {"content_block_stop", R"({"type":"content_block_stop","index":1})"},
      {"message_delta",
       R"({"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":54,"cache_creation_input_tokens":0,"cache_read_input_tokens":256,"output_tokens":58}})"},
      {"message_stop", R"({"type":"message_stop"})"}};
  ASSERT_EQ(got.size(), expected.size()) << s.exchange->body();
  for (std::size_t i = 0; i < got.size(); ++i) {
    json::value value = got[i].second;
    if (i == 5) {
      json::value& id = value.as_object()["content_block"].as_object()["id"];
      EXPECT_TRUE(id.as_string().starts_with("toolu_"));
      id = "ID";
    }
    EXPECT_EQ(got[i].first, expected[i].first);
    EXPECT_EQ(to_json(value), to_json(parse_json(expected[i].second, "expected")));
  }
  EXPECT_TRUE(s.exchange->ended());
  EXPECT_FALSE(s.exchange->close());
}

TEST(MessageWriter, ThinkingAndCall) {
  auto exchange = std::make_shared<DialectExchange>("/v1/messages");
  MessageWriter writer(exchange, "msg_1", "m");
  thinking_and_call(writer);
  EXPECT_EQ(exchange->status(), 200);
  json::value body = parse_json(exchange->body(), "body");
  json::value& id = body.as_object()["content"].as_array()[1].as_object()["id"];
  EXPECT_TRUE(id.as_string().starts_with("toolu_"));
  id = "ID";
  EXPECT_EQ(
      to_json(body),
      R"({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", )"
      R"("content": [{"type": "thinking", "thinking": "Need weather", "signature": ""}, )"
      R"({"type": "tool_use", "id": "ID", "name": "get_weather", "input": {"city": "Paris"}}], )"
      R"("stop_reason": "tool_use", "stop_sequence": null, )"
      R"("usage": {"input_tokens": 54, "cache_creation_input_tokens": 0, )"
      R"("cache_read_input_tokens": 256, "output_tokens": 58}})");
}

TEST(MessageEnd, Reasons) {
  const auto of = [](std::string finish, json::value stop, std::int64_t calls,
                     bool clamped = false) {
    ChoiceEnd end;
    end.finish_reason = std::move(finish);
    end.stop_reason = std::move(stop);
    end.calls = calls;
    const MessageEnd m = message_end(end, clamped);
    return m.stop_reason + " " + to_json(m.stop_sequence);
  };
  EXPECT_EQ(of("stop", nullptr, 0), "end_turn null");
  EXPECT_EQ(of("stop", 248046, 0), "end_turn null");
  EXPECT_EQ(of("stop", "END", 0), "stop_sequence \"END\"");
  EXPECT_EQ(of("length", nullptr, 0), "max_tokens null");
  EXPECT_EQ(of("length", nullptr, 1), "max_tokens null");
  EXPECT_EQ(of("length", nullptr, 0, true), "model_context_window_exceeded null");
  EXPECT_EQ(of("stop", nullptr, 0, true), "end_turn null");
  EXPECT_EQ(of("tool_calls", nullptr, 1), "tool_use null");
  EXPECT_EQ(of("stop", nullptr, 1), "tool_use null");  // a named choice
  EXPECT_EQ(of("repetition", nullptr, 0), "end_turn null");
}

// The context was full before max_tokens: other than after max_tokens, going on would not help.
TEST(MessageEnd, AFullContextIsTold) {
  for (const bool clamped : {false, true}) {
    const json::string reason = clamped ? "model_context_window_exceeded" : "max_tokens";
    ChoiceEnd end;
    end.finish_reason = "length";
    Streamed s;
    s.stream.on_admitted(prompt_of(3), 1, clamped);
    s.stream.on_choice_end(0, end);
    s.stream.on_done({.prompt_tokens = 3, .completion_tokens = 1});
    EXPECT_EQ(events(s.exchange->body())[1].second.at("delta").at("stop_reason"), reason);
    const auto exchange = std::make_shared<DialectExchange>("/v1/messages");
    MessageWriter writer(exchange, "msg_1", "m");
    writer.on_admitted(prompt_of(3), 1, clamped);
    writer.on_choice_end(0, end);
    writer.on_done({.prompt_tokens = 3, .completion_tokens = 1});
    EXPECT_EQ(parse_json(exchange->body(), "body").at("stop_reason"), reason);
  }
}

TEST(MessageStream, AnEmptyAnswerIsStillAMessage) {
  Streamed s;
  s.stream.on_admitted(prompt_of(3), 1, true);
  ChoiceEnd end;
  end.finish_reason = "stop";
  s.stream.on_choice_end(0, end);
  s.stream.on_done({.prompt_tokens = 3, .completion_tokens = 1});
  std::string names;
  for (const auto& [name, data] : events(s.exchange->body())) names += name + " ";
  EXPECT_EQ(names, "message_start message_delta message_stop ");
  ASSERT_EQ(s.exchange->headers().size(), 1u);
  EXPECT_EQ(s.exchange->headers()[0].second, "1");
}

TEST(MessageStream, ACallThatWasCutOffIsClosed) {
  Streamed s;
  s.stream.on_admitted(prompt_of(3), 1, false);
  s.stream.on_events(0, Events{event(K::tool_begin, "f", 0), event(K::tool_arguments, "{\"a", 0)},
                     {});
  ChoiceEnd end;
  end.finish_reason = "length";
  s.stream.on_choice_end(0, end);
  s.stream.on_done({});
  const auto got = events(s.exchange->body());
  ASSERT_EQ(got.size(), 6u);
  EXPECT_EQ(got[3].first, "content_block_stop");
  EXPECT_EQ(got[4].second.at("delta").at("stop_reason"), "max_tokens");
}

// For every order and cut of events: blocks one after the other, indexes that rise by one, and the
// pieces joined are what the whole answer has.
TEST(MessageStream, BlocksAreSequentialAndEqualTheWhole) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    Streamed s;
    auto exchange = std::make_shared<DialectExchange>("/v1/messages");
    MessageWriter whole(exchange, "msg_1", "m");
    const auto both = [&](const auto& f) {
      f(static_cast<JobListener&>(s.stream));
      f(static_cast<JobListener&>(whole));
    };
    both([](JobListener& l) { l.on_admitted(prompt_of(3), 9, false); });
    int calls = 0;
    std::vector<Events> batches(1);
    for (int i = 0; i < 12; ++i) {
      Events& batch = batches.back();
      switch (random() % 3) {
        case 0:
          for (unsigned k = random() % 3 + 1; k > 0; --k)
            batch.push_back(event(K::reasoning, "r\n"));
          break;
        case 1:
          for (unsigned k = random() % 3; k > 0; --k) batch.push_back(event(K::content, "t\u00e9"));
          break;
        default:
          batch.push_back(event(K::tool_begin, "f", calls));
          for (const char* piece : {"{\"k\": ", "", "\"v\"", "}"})
            batch.push_back(event(K::tool_arguments, piece, calls));
          batch.push_back(event(K::tool_end, "", calls++));
      }
      if (random() % 2) batches.emplace_back();
    }
    for (const Events& batch : batches) both([&](JobListener& l) { l.on_events(0, batch, {}); });
    ChoiceEnd end;
    end.finish_reason = calls ? "tool_calls" : "stop";
    end.calls = calls;
    both([&](JobListener& l) { l.on_choice_end(0, end); });
    both([&](JobListener& l) { l.on_done({}); });

    json::array blocks;
    bool open = false;
    for (const auto& [name, data] : events(s.exchange->body())) {
      if (name == "content_block_start") {
        ASSERT_FALSE(open);
        ASSERT_EQ(data.at("index"), blocks.size());
        open = true;
        blocks.push_back(data.at("content_block"));
        blocks.back().as_object()["joined"] = "";
      } else if (name == "content_block_delta") {
        ASSERT_TRUE(open);
        ASSERT_EQ(data.at("index"), blocks.size() - 1);
        const json::object& delta = data.at("delta").as_object();
        for (const char* key : {"thinking", "text", "partial_json"})
          if (delta.contains(key)) {
            json::string& joined = blocks.back().as_object()["joined"].as_string();
            joined += delta.at(key).as_string();
          }
      } else if (name == "content_block_stop") {
        ASSERT_TRUE(open);
        open = false;
      }
    }
    ASSERT_FALSE(open);
    const json::value body = parse_json(exchange->body(), "body");
    const json::array& expected = body.at("content").as_array();
    ASSERT_EQ(blocks.size(), expected.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const json::string& type = expected[i].at("type").as_string();
      ASSERT_EQ(blocks[i].at("type").as_string(), type);
      const json::string& joined = blocks[i].at("joined").as_string();
      if (type == "tool_use")
        ASSERT_EQ(parse_json(joined, "arguments"), expected[i].at("input"));
      else
        ASSERT_EQ(joined, expected[i].at(type).as_string());
    }
  }
}

TEST(MessageStream, ErrorsBeforeTheStreamAreResponses) {
  Streamed s;
  s.stream.on_error(HttpError(400, "the context is 100 tokens", "messages",
                              {{"n_prompt_tokens", 120}, {"n_ctx", 100}}));
  EXPECT_EQ(s.exchange->status(), 400);
  const json::value body = parse_json(s.exchange->body(), "body");
  EXPECT_EQ(body.at("type"), "error");
  EXPECT_EQ(body.at("error").at("type"), "invalid_request_error");
  EXPECT_EQ(body.at("error").at("message"), "prompt is too long: 120 tokens > 100 maximum");
  EXPECT_EQ(body.at("request_id"), "req_1");
}

TEST(MessageStream, ErrorsWithinTheStreamAreEventsAndTheLast) {
  for (const char* reason : {"error", "abort"}) {
    Streamed s;
    s.stream.on_admitted(prompt_of(3), 1, false);
    s.stream.on_events(0, Events{event(K::content, "x")}, {});
    ChoiceEnd end;
    end.finish_reason = reason;
    end.error = "broken";
    end.summary.prefill_seconds = 1;
    s.stream.on_choice_end(0, end);
    s.stream.on_done({});
    const auto got = events(s.exchange->body());
    EXPECT_EQ(got.back().first, "error");
    EXPECT_EQ(got.back().second.at("error").at("type"),
              std::string(reason) == "error" ? "api_error" : "overloaded_error");
    EXPECT_TRUE(s.exchange->ended());
    EXPECT_TRUE(s.exchange->close());
  }
}

TEST(MessageWriter, AFailedAnswerIsAnError) {
  auto exchange = std::make_shared<DialectExchange>("/v1/messages");
  MessageWriter writer(exchange, "msg_1", "m");
  ChoiceEnd end;
  end.finish_reason = "abort";
  writer.on_choice_end(0, end);
  writer.on_done({});
  EXPECT_EQ(exchange->status(), 503);
  EXPECT_EQ(parse_json(exchange->body(), "body").at("error").at("type"), "overloaded_error");
}

// serving.md §13.4: no rounding through a double.
TEST(MessageWriter, LongIntegersKeepTheirDigits) {
  auto exchange = std::make_shared<DialectExchange>("/v1/messages");
  MessageWriter writer(exchange, "msg_1", "m");
  writer.on_admitted(prompt_of(3), 1, false);
  writer.on_events(0,
                   Events{event(K::tool_begin, "f", 0),
                          event(K::tool_arguments, R"({"n": 123456789012345678901234567890})", 0),
                          event(K::tool_end, "", 0), event(K::content, "after")},
                   {});
  ChoiceEnd end;
  end.finish_reason = "tool_calls";
  end.calls = 1;
  writer.on_choice_end(0, end);
  writer.on_done({});
  EXPECT_NE(
      exchange->body().find(R"("input":{"n": 123456789012345678901234567890}},{"type":"text")"),
      std::string::npos)
      << exchange->body();
  EXPECT_EQ(parse_json(exchange->body(), "body").at("stop_reason"), "tool_use");
}

TEST(MessageStream, PingsAreEventsAfterTheFirst) {
  Streamed s;
  s.stream.on_admitted(prompt_of(3), 1, false);
  const auto now = std::chrono::steady_clock::now();
  EXPECT_TRUE(s.sse->ping(now + std::chrono::seconds(1), 15));
  EXPECT_EQ(s.exchange->body(), "");
  EXPECT_TRUE(s.sse->ping(now + std::chrono::seconds(20), 15));
  // An event before message_start would be out of its order.
  EXPECT_EQ(s.exchange->body(), ": ping\n\n");
  s.stream.on_progress({.total = 3, .processed = 3});
  EXPECT_TRUE(s.sse->ping(now + std::chrono::seconds(40), 15));
  const auto got = events(s.exchange->body().substr(8));
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].first, "message_start");
  EXPECT_EQ(got[1].first, "ping");
  EXPECT_EQ(to_json(got[1].second), R"({"type": "ping"})");
}

TEST(MessageStream, WaitsForASlowReader) {
  Streamed s;
  s.exchange->queued = 1000;
  EXPECT_TRUE(s.stream.ready());
  s.exchange->queued = 1001;
  EXPECT_FALSE(s.stream.ready());
  s.exchange->gone = true;  // nobody will ever read: the answer must not wait for that
  EXPECT_TRUE(s.stream.ready());
}

}  // namespace
}  // namespace octet::serve
