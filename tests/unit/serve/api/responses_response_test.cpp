#include "serve/api/responses_response.h"

#include "dialect_test.h"

namespace octet::serve {
namespace {

using test::DialectExchange;
using test::event;
using test::events;
using test::prompt_of;
using test::RequestWorld;
using K = AnswerEvent::Kind;
using Events = std::vector<AnswerEvent>;

ResponseHead head(bool logprobs = false) {
  ResponseHead h;
  h.id = "resp_1";
  h.model = "m";
  h.created = 1790000000;
  h.echo = {{"tools", json::array()}, {"temperature", 1.0}};
  h.logprobs = logprobs;
  return h;
}

struct Streamed {
  explicit Streamed(bool logprobs = false)
      : stream(std::make_shared<SseStream>(exchange), head(logprobs),
               RequestWorld::tiny_tokenizer(), 1000) {}
  std::shared_ptr<DialectExchange> exchange = std::make_shared<DialectExchange>("/v1/responses");
  ResponseStream stream;
};

ChoiceEnd ended(std::string reason, std::int64_t calls = 0) {
  ChoiceEnd end;
  end.finish_reason = std::move(reason);
  end.calls = calls;
  return end;
}

void whole_answer(JobListener& to) {
  to.on_admitted(prompt_of(10), 100, false);
  to.on_progress({.total = 10, .cached = 4, .processed = 10});
  to.on_events(0, Events{event(K::reasoning, "Hm"), event(K::reasoning, ".")}, {});
  to.on_events(0, Events{event(K::content, "Look.")}, {});
  to.on_events(0, Events{event(K::tool_begin, "f", 0), event(K::tool_arguments, "{\"x\": ", 0)},
               {});
  to.on_events(0, Events{event(K::tool_arguments, "1}", 0), event(K::tool_end, "", 0)}, {});
  to.on_choice_end(0, ended("tool_calls", 1));
  to.on_done(
      {.prompt_tokens = 10, .cached_tokens = 4, .completion_tokens = 20, .reasoning_tokens = 5});
}

TEST(ResponseStream, OrderOfEvents) {
  Streamed s;
  whole_answer(s.stream);
  const auto got = events(s.exchange->body());
  const std::vector<std::string> expected = {"response.created",
                                             "response.in_progress",
                                             "response.output_item.added",
                                             "response.reasoning_part.added",
                                             "response.reasoning_text.delta",
                                             "response.reasoning_text.delta",
                                             "response.reasoning_text.done",
                                             "response.reasoning_part.done",
                                             "response.output_item.done",
                                             "response.output_item.added",
                                             "response.content_part.added",
                                             "response.output_text.delta",
                                             "response.output_text.done",
                                             "response.content_part.done",
                                             "response.output_item.done",
                                             "response.output_item.added",
                                             "response.function_call_arguments.delta",
                                             "response.function_call_arguments.delta",
                                             "response.function_call_arguments.done",
                                             "response.output_item.done",
                                             "response.completed"};
  ASSERT_EQ(got.size(), expected.size()) << s.exchange->body();
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].first, expected[i]);
    EXPECT_EQ(std::string(got[i].second.at("type").as_string()), expected[i]);
    EXPECT_EQ(got[i].second.at("sequence_number"), i);
  }
  EXPECT_TRUE(s.exchange->ended());
  EXPECT_EQ(got[0].second.at("response").at("status"), "in_progress");
  EXPECT_TRUE(got[0].second.at("response").at("usage").is_null());
  EXPECT_EQ(to_json(got[2].second.at("item").at("content")), "[]");
  EXPECT_EQ(to_json(got[3].second.at("part")), R"({"type": "reasoning_text", "text": ""})");
  EXPECT_EQ(got[4].second.at("delta"), "Hm");
  EXPECT_EQ(got[6].second.at("text"), "Hm.");
  EXPECT_EQ(got[11].second.at("output_index"), 1);
  EXPECT_EQ(got[15].second.at("item").at("arguments"), "");
  EXPECT_EQ(got[18].second.at("arguments"), "{\"x\": 1}");
  EXPECT_EQ(got[18].second.at("name"), "f");
  // Ids of the parts are those of their items.
  for (const auto& [from, to, of] : {std::tuple(2, 8, "rs_"), {9, 14, "msg_"}, {15, 19, "fc_"}}) {
    const json::string id =
        got[static_cast<std::size_t>(from)].second.at("item").at("id").as_string();
    EXPECT_TRUE(id.starts_with(of));
    for (int i = from + 1; i < to; ++i)
      EXPECT_EQ(got[static_cast<std::size_t>(i)].second.at("item_id"), id);
    EXPECT_EQ(got[static_cast<std::size_t>(to)].second.at("item").at("id"), id);
  }
}

// Ids differ; everything else is equal.
std::string without_ids(json::value response) {
  response.as_object()["completed_at"] = nullptr;
  for (json::value& item : response.as_object()["output"].as_array()) {
    item.as_object()["id"] = "ID";
    if (item.as_object().contains("call_id")) item.as_object()["call_id"] = "CALL";
  }
  return to_json(response);
}

TEST(ResponseStream, TheLastEventIsTheWholeResponse) {
  Streamed s;
  whole_answer(s.stream);
  auto exchange = std::make_shared<DialectExchange>("/v1/responses");
  ResponseWriter writer(exchange, head(), RequestWorld::tiny_tokenizer());
  whole_answer(writer);
  EXPECT_EQ(exchange->status(), 200);
  const json::value body = parse_json(exchange->body(), "body");
  EXPECT_EQ(without_ids(events(s.exchange->body()).back().second.at("response")),
            without_ids(body));
  EXPECT_TRUE(body.at("completed_at").is_int64());
  EXPECT_EQ(
      without_ids(body),
      R"({"id": "resp_1", "object": "response", "created_at": 1790000000, "completed_at": null, )"
      R"("status": "completed", "background": false, "incomplete_details": null, "error": null, )"
      R"("model": "m", "output": [{"id": "ID", "type": "reasoning", "summary": [], )"
      R"("content": [{"type": "reasoning_text", "text": "Hm."}], "encrypted_content": "", )"
      R"("status": "completed"}, {"id": "ID", "type": "message", "role": "assistant", )"
      R"("status": "completed", "content": [{"type": "output_text", "text": "Look.", )"
      R"("annotations": [], "logprobs": []}]}, {"id": "ID", "type": "function_call", )"
      R"("call_id": "CALL", "name": "f", "arguments": "{\"x\": 1}", "status": "completed"}], )"
      R"("previous_response_id": null, "store": false, "usage": {"input_tokens": 10, )"
      R"("input_tokens_details": {"cached_tokens": 4}, "output_tokens": 20, )"
      R"("output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 30}, )"
      R"("tools": [], "temperature": 1.0})");
}

TEST(ResponseStream, LengthIsIncomplete) {
  Streamed s;
  s.stream.on_admitted(prompt_of(1), 1, true);
  s.stream.on_events(0, Events{event(K::content, "x")}, {});
  s.stream.on_choice_end(0, ended("length"));
  s.stream.on_done({});
  const auto got = events(s.exchange->body());
  EXPECT_EQ(got.back().first, "response.incomplete");
  const json::value& response = got.back().second.at("response");
  EXPECT_EQ(response.at("status"), "incomplete");
  EXPECT_EQ(to_json(response.at("incomplete_details")), R"({"reason": "max_output_tokens"})");
  EXPECT_EQ(response.at("output").at(0).at("status"), "incomplete");
  EXPECT_EQ(s.exchange->headers().size(), 1u);
}

TEST(ResponseStream, FailuresEndIt) {
  Streamed s;
  s.stream.on_admitted(prompt_of(1), 1, false);
  s.stream.on_events(0, Events{event(K::content, "x")}, {});
  s.stream.on_choice_end(0, ended("abort"));
  s.stream.on_done({});
  const auto got = events(s.exchange->body());
  EXPECT_EQ(got.back().first, "response.failed");
  EXPECT_EQ(got.back().second.at("response").at("status"), "failed");
  EXPECT_EQ(got.back().second.at("response").at("error").at("code"), "server_error");
  EXPECT_TRUE(s.exchange->ended());
  EXPECT_TRUE(s.exchange->close());
}

// Codex looks for this event, and then makes its conversation shorter.
TEST(ResponseStream, APromptThatIsTooLongIsAnEvent) {
  Streamed s;
  s.stream.on_error(HttpError(400, "too long", "input", {{"n_prompt_tokens", 12}, {"n_ctx", 10}}));
  const auto got = events(s.exchange->body());
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(got[0].first, "response.created");
  EXPECT_EQ(got[2].first, "response.failed");
  EXPECT_EQ(got[2].second.at("response").at("error").at("code"), "context_length_exceeded");
  EXPECT_EQ(got[2].second.at("response").at("error").at("message"), "too long");
  EXPECT_TRUE(s.exchange->ended());
}

TEST(ResponseStream, ErrorsBeforeTheStreamAreResponses) {
  Streamed s;
  s.stream.on_error(HttpError(400, "too long", "messages"));
  EXPECT_EQ(s.exchange->status(), 400);
  EXPECT_EQ(parse_json(s.exchange->body(), "body").at("error").at("message"), "too long");
}

generate::TokenOutput token(std::int32_t id) {
  generate::TokenOutput t;
  t.id = id;
  t.has_logprob = true;
  t.chosen = {id, -0.5F, 1};
  t.top = {t.chosen};
  return t;
}

TEST(ResponseStream, LogprobsAreTheMessages) {
  Streamed s(true);
  s.stream.on_admitted(prompt_of(1), 1, false);
  s.stream.on_events(0, Events{event(K::reasoning, "r")}, {token(40)});
  s.stream.on_events(0, {}, {token(41)});  // the end of the thinking
  s.stream.on_events(0, Events{event(K::content, "ab")}, {token(65), token(66)});
  s.stream.on_events(0, {}, {token(67)});
  s.stream.on_events(0, Events{event(K::content, "c")}, {token(68)});
  s.stream.on_choice_end(0, ended("stop"));
  s.stream.on_done({});
  std::vector<std::size_t> in_deltas;
  std::size_t in_done = 0;
  for (const auto& [name, data] : events(s.exchange->body())) {
    if (name == "response.output_text.delta")
      in_deltas.push_back(data.at("logprobs").as_array().size());
    if (name == "response.output_text.done") in_done = data.at("logprobs").as_array().size();
  }
  EXPECT_EQ(in_deltas, (std::vector<std::size_t>{2, 2}));
  EXPECT_EQ(in_done, 4u);
  const auto got = events(s.exchange->body());
  const json::value& part = got.back().second.at("response").at("output").at(1).at("content").at(0);
  EXPECT_EQ(part.at("logprobs").as_array().size(), 4u);
  EXPECT_EQ(part.at("logprobs").at(0).at("logprob"), -0.5);
  EXPECT_EQ(part.at("logprobs").at(0).at("top_logprobs").as_array().size(), 1u);
}

}  // namespace
}  // namespace octet::serve
