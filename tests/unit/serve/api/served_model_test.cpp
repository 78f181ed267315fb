// The API from a request's body to its answer, with models/tiny and the engine.
#include "served_model.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <future>
#include <thread>

#include "generate/grammar/sources.h"

namespace octet::serve {
namespace {

using test::ServedModel;

// The model, loaded once.
ServedModel& tiny() {
  static ServedModel* const m = new ServedModel();
  return *m;
}

std::string chat(const std::string& fields, const std::string& text = "Tell me a story.") {
  return R"({"messages":[{"role":"user","content":")" + text + R"("}])" +
         (fields.empty() ? "" : "," + fields) + "}";
}

// What a stream of chat chunks adds up to, for one choice.
struct Joined {
  std::string content, reasoning, finish;
  std::vector<std::pair<std::string, std::string>> calls;
  std::size_t logprobs = 0;
  json::value usage, stop_reason;
};
Joined join(const std::vector<std::string>& frames, std::int64_t index = 0) {
  Joined j;
  EXPECT_FALSE(frames.empty());
  EXPECT_EQ(frames.back(), "[DONE]");
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) {
    const json::object chunk = parse_json(frames[i], "frame").as_object();
    if (chunk.contains("usage")) j.usage = chunk.at("usage");
    for (const json::value& c : chunk.at("choices").as_array()) {
      if (c.at("index").as_int64() != index) continue;
      const json::object& delta = c.at("delta").as_object();
      if (const auto* t = delta.if_contains("content")) j.content += t->as_string();
      if (const auto* t = delta.if_contains("reasoning")) j.reasoning += t->as_string();
      if (const auto* calls = delta.if_contains("tool_calls"))
        for (const json::value& call : calls->as_array()) {
          if (call.as_object().contains("id"))
            j.calls.emplace_back(call.at("function").at("name").as_string(), "");
          j.calls.back().second += call.at("function").at("arguments").as_string();
        }
      if (!c.at("logprobs").is_null())
        j.logprobs += c.at("logprobs").at("content").as_array().size();
      if (!c.at("finish_reason").is_null()) {
        j.finish = c.at("finish_reason").as_string();
        j.stop_reason = c.at("stop_reason");
      }
    }
  }
  return j;
}

Joined whole(const json::value& body, std::size_t index = 0) {
  Joined j;
  const json::value& c = body.at("choices").at(index);
  const json::object& m = c.at("message").as_object();
  if (!m.at("content").is_null()) j.content = m.at("content").as_string();
  if (const auto* t = m.if_contains("reasoning")) j.reasoning = t->as_string();
  if (const auto* calls = m.if_contains("tool_calls"))
    for (const json::value& call : calls->as_array())
      j.calls.emplace_back(call.at("function").at("name").as_string(),
                           call.at("function").at("arguments").as_string());
  if (!c.at("logprobs").is_null()) j.logprobs = c.at("logprobs").at("content").as_array().size();
  j.finish = c.at("finish_reason").as_string();
  j.stop_reason = c.at("stop_reason");
  j.usage = body.at("usage");
  return j;
}

void expect_same(const Joined& a, const Joined& b) {
  EXPECT_EQ(a.content, b.content);
  EXPECT_EQ(a.reasoning, b.reasoning);
  EXPECT_EQ(a.finish, b.finish);
  EXPECT_EQ(a.calls, b.calls);
  EXPECT_EQ(a.logprobs, b.logprobs);
  EXPECT_EQ(a.stop_reason, b.stop_reason);
}

const std::string kWeather =
    R"("tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object",
       "properties":{"city":{"type":"string","maxLength":8},"days":{"type":"integer"}},
       "required":["city"]},"strict":true}}])";

void until(const std::function<bool()>& done) {
  while (!done()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(ServedModel, StreamedAndWholeAnswersAreTheSame) {
  for (const std::string& fields : std::vector<std::string>{
           R"("max_tokens":40,"seed":1,"temperature":0.8)",
           R"("max_tokens":40,"seed":2,"temperature":1.5,"logprobs":true,"top_logprobs":3)",
           R"("max_tokens":60,"seed":3,"stop":["e","th"])",
           R"("max_tokens":60,"seed":3,"stop":["e"],"include_stop_str_in_output":true)",
           R"("max_tokens":60,"temperature":0,"stream_interval":7)",
           R"("max_tokens":60,"seed":4,"reasoning_effort":"none")",
           R"("max_tokens":80,"seed":5,"thinking_token_budget":5)",
           R"("max_tokens":120,"seed":6,"reasoning_effort":"none","tool_choice":"required",)" +
               kWeather,
       }) {
    const Joined a = whole(tiny().post("/v1/chat/completions", chat(fields)));
    const auto client =
        tiny().ask("POST", "/v1/chat/completions",
                   chat(fields + R"(,"stream":true,"stream_options":{"include_usage":true})"));
    const Joined b = join(client->frames());
    expect_same(a, b);
    EXPECT_EQ(a.usage.at("completion_tokens"), b.usage.at("completion_tokens")) << fields;
    EXPECT_EQ(a.usage.at("completion_tokens_details"), b.usage.at("completion_tokens_details"));
    if (fields.find("\"logprobs\":true") != std::string::npos) {
      EXPECT_EQ(static_cast<std::int64_t>(a.logprobs), a.usage.at("completion_tokens").as_int64());
    }
  }
}

TEST(ServedModel, ChoicesAreThoseOfTheirSeeds) {
  const auto body = tiny().post("/v1/chat/completions",
                                chat(R"("n":3,"seed":10,"max_tokens":20,"temperature":1.2)"));
  ASSERT_EQ(body.at("choices").as_array().size(), 3U);
  for (std::size_t k = 0; k < 3; ++k) {
    const auto alone =
        tiny().post("/v1/chat/completions",
                    chat(fmt::format(R"("seed":{},"max_tokens":20,"temperature":1.2)", 10 + k)));
    expect_same(whole(body, k), whole(alone));
  }
  EXPECT_GT(body.at("usage").at("completion_tokens").as_int64(), 20);
}

TEST(ServedModel, ABudgetEndsTheThinking) {
  const Joined j = whole(tiny().post(
      "/v1/chat/completions", chat(R"("max_tokens":60,"seed":5,"thinking_token_budget":4)")));
  // Some tokens of thought, </think> and what is forced around it.
  EXPECT_LE(j.usage.at("completion_tokens_details").at("reasoning_tokens").as_int64(), 6);
  EXPECT_FALSE(j.content.empty());
}

TEST(ServedModel, RequiredCallsAreCalls) {
  const std::string fields = R"("max_tokens":200,"seed":1,"reasoning_effort":"none",)" + kWeather;
  Joined j =
      whole(tiny().post("/v1/chat/completions",
                        chat(fields + R"(,"tool_choice":"required","parallel_tool_calls":false)")));
  EXPECT_EQ(j.finish, "tool_calls");
  ASSERT_EQ(j.calls.size(), 1U);
  EXPECT_EQ(j.calls[0].first, "get_weather");
  EXPECT_TRUE(parse_json(j.calls[0].second, "arguments").at("city").is_string());
  EXPECT_TRUE(j.content.empty());
  j = whole(tiny().post(
      "/v1/chat/completions",
      chat(fields + R"(,"tool_choice":{"type":"function","function":{"name":"get_weather"}})")));
  EXPECT_EQ(j.finish, "stop");
  EXPECT_EQ(j.calls.size(), 1U);
}

TEST(ServedModel, FormatsHold) {
  const auto content = [](const std::string& fields) {
    return whole(tiny().post(
                     "/v1/chat/completions",
                     chat(R"("max_tokens":100,"seed":3,"reasoning_effort":"none",)" + fields)))
        .content;
  };
  const std::string choice = content(R"("structured_outputs":{"choice":["apple","pear"]})");
  EXPECT_TRUE(choice == "apple" || choice == "pear") << choice;
  const std::string digits = content(R"("structured_outputs":{"regex":"[0-9]{3,5}"})");
  EXPECT_TRUE(digits.size() >= 3 && digits.size() <= 5 &&
              std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; }))
      << digits;
  const auto object =
      parse_json(content(
                     R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":
             {"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],
              "additionalProperties":false}}})"),
                 "content");
  EXPECT_TRUE(object.at("ok").is_bool());
  EXPECT_EQ(content(R"("grammar":"root ::= \"yes\"")"), "yes");
}

TEST(ServedModel, BadFormatsAreRefusedAndHurtNobody) {
  for (const char* fields :
       {R"("grammar":"root ::= (")", R"("structured_outputs":{"regex":"("})",
        R"("response_format":{"type":"json_schema","json_schema":{"schema":{"type":"no"}}})",
        R"("grammar":"other ::= \"a\"")"}) {
    const auto body = tiny().post("/v1/chat/completions", chat(fields), 400);
    EXPECT_TRUE(body.at("error").at("param").is_string()) << fields;
    EXPECT_EQ(body.at("error").at("type"), "invalid_request_error");
  }
  tiny().post("/v1/chat/completions", chat(R"("max_tokens":2)"));
}

// What a request forbids may leave nothing of what it asks for: its own fault, told as soon as one
// of its choices comes to it.
TEST(ServedModel, ContradictionsAreTheRequestsFault) {
  const auto id = [](const char* token) {
    return test::RequestWorld::tiny_tokenizer().find(token).value();
  };
  // Choices that begin with b can't go on; those that begin with a have a long way to go.
  const std::string fields = fmt::format(
      R"("max_tokens":1900,"seed":1,"n":8,"temperature":2,"reasoning_effort":"none",
         "allowed_token_ids":[{},{}],"structured_outputs":{{"regex":"a{{1800}}|bc"}})",
      id("a"), id("b"));
  const auto before = tiny().engine().status().answer_tokens;
  const auto body = tiny().post("/v1/chat/completions", chat(fields), 400);
  EXPECT_NE(body.at("error").at("message").as_string().find("nothing is left"), json::string::npos);
  EXPECT_LT(tiny().engine().status().answer_tokens - before, 1000);
  const auto client =
      tiny().ask("POST", "/v1/chat/completions", chat(fields + R"(,"stream":true)"));
  const auto frames = client->frames();
  ASSERT_GE(frames.size(), 2U);
  EXPECT_EQ(parse_json(frames[frames.size() - 2], "frame").at("error").at("code").as_int64(), 400);
  EXPECT_TRUE(client->close());
  until([&] { return tiny().engine().idle(); });
  EXPECT_LT(tiny().engine().status().answer_tokens - before, 2000);
}

// A prompt and its answer are the beginning of the next prompt: the prefix cache needs it.
TEST(ServedModel, HistoryKeepsEmptyThinkBlocks) {
  const auto prompt = [](ServedModel& m, const std::string& messages, const char* kwargs) {
    return std::string(m.post("/apply-template", R"({"messages":[{"role":"user","content":"a"})" +
                                                     messages + R"(],"chat_template_kwargs":)" +
                                                     kwargs + "}")
                           .at("prompt")
                           .as_string());
  };
  const std::string next = R"(,{"role":"assistant","content":"b"},{"role":"user","content":"c"})";
  const char* off = R"({"enable_thinking":false})";
  ServiceOptions options;
  options.keep_history_thinking = true;
  ServedModel keeps(options);
  EXPECT_TRUE(prompt(keeps, next, off).starts_with(prompt(keeps, "", off) + "b<|im_end|>"));
  EXPECT_FALSE(prompt(tiny(), next, off).starts_with(prompt(tiny(), "", off)));
  EXPECT_EQ(prompt(keeps, next, "{}"), prompt(tiny(), next, "{}"));
  EXPECT_EQ(prompt(keeps, next, R"({"enable_thinking":false,"preserve_thinking":false})"),
            prompt(tiny(), next, off));
}

TEST(ServedModel, ContextAndClamping) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "word ";
  const auto body = tiny().post("/v1/chat/completions", chat("", text), 400);
  const std::string message(body.at("error").at("message").as_string());
  EXPECT_NE(message.find("maximum context length is 2048 tokens"), std::string::npos) << message;
  EXPECT_EQ(body.at("error").at("n_ctx").as_int64(), 2048);
  EXPECT_GT(body.at("error").at("n_prompt_tokens").as_int64(), 2048);
  const auto client =
      tiny().ask("POST", "/v1/chat/completions", chat(R"("max_tokens":1000000,"stop":["e"])"));
  EXPECT_EQ(client->status(), 200);
  ASSERT_EQ(client->headers().size(), 1U);
  EXPECT_EQ(client->headers()[0].first, "x-octet-clamped-max-tokens");
  tiny().post("/v1/chat/completions", chat(R"("truncate_prompt_tokens":100,"max_tokens":2)", text));
}

TEST(ServedModel, Completions) {
  const auto body = tiny().post(
      "/v1/completions",
      R"({"prompt":["Once upon","There was"],"n":2,"max_tokens":5,"seed":1,"logprobs":1})");
  ASSERT_EQ(body.at("choices").as_array().size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body.at("choices").at(i).at("index").to_number<std::size_t>(), i);
    EXPECT_EQ(body.at("choices").at(i).at("logprobs").at("tokens").as_array().size(), 5U);
  }
  const auto streamed = tiny().ask(
      "POST", "/v1/completions",
      R"({"prompt":["Once upon","There was"],"n":2,"max_tokens":5,"seed":1,"stream":true})");
  std::vector<std::string> texts(4);
  const auto frames = streamed->frames();
  EXPECT_EQ(frames.back(), "[DONE]");
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) {
    const auto chunk = parse_json(frames[i], "frame");
    for (const auto& c : chunk.at("choices").as_array())
      texts[c.at("index").to_number<std::size_t>()] += c.at("text").as_string();
  }
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(body.at("choices").at(i).at("text"), texts[i].c_str());
}

// What evaluation harnesses send.
TEST(ServedModel, EchoedPromptsAreScored) {
  const auto body =
      tiny().post("/v1/completions",
                  R"({"prompt":"Once upon a time","max_tokens":0,"echo":true,"logprobs":1})");
  const auto& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "Once upon a time");
  EXPECT_EQ(choice.at("finish_reason"), "length");
  const auto& lp = choice.at("logprobs").at("token_logprobs").as_array();
  ASSERT_GT(lp.size(), 2U);
  EXPECT_TRUE(lp[0].is_null());
  for (std::size_t i = 1; i < lp.size(); ++i) EXPECT_LT(lp[i].as_double(), 0.0);
  EXPECT_EQ(body.at("usage").at("completion_tokens").as_int64(), 0);
}

TEST(ServedModel, PromptLogprobs) {
  const auto body =
      tiny().post("/v1/chat/completions",
                  chat(R"("max_tokens":1,"prompt_logprobs":2,"return_token_ids":true)"));
  const auto& lp = body.at("prompt_logprobs").as_array();
  const auto& ids = body.at("prompt_token_ids").as_array();
  ASSERT_EQ(lp.size(), ids.size());
  for (std::size_t i = 1; i < lp.size(); ++i)
    EXPECT_TRUE(lp[i].as_object().contains(std::to_string(ids[i].as_int64())));
}

TEST(ServedModel, SmallEndpoints) {
  ServedModel& m = tiny();
  EXPECT_EQ(m.ask("GET", "/health")->body(), R"({"status":"ok"})");
  EXPECT_EQ(m.ask("GET", "/ping")->status(), 200);
  EXPECT_EQ(m.ask("GET", "/health/live")->status(), 200);
  EXPECT_EQ(m.ask("GET", "/load")->body(), R"({"server_load":0})");
  const auto models = parse_json(m.ask("GET", "/v1/models")->body(), "models");
  EXPECT_EQ(models.at("data").as_array().size(), 2U);
  EXPECT_EQ(models.at("data").at(0).at("max_model_len").as_int64(), 2048);
  EXPECT_EQ(m.ask("GET", "/v1/models/second/name")->status(), 200);
  EXPECT_EQ(m.ask("GET", "/v1/models/third")->status(), 404);
  EXPECT_EQ(m.ask("GET", "/props")->status(), 200);
  EXPECT_EQ(m.ask("GET", "/slots")->status(), 501);
  EXPECT_EQ(m.ask("GET", "/metrics")->status(), 200);
  EXPECT_EQ(m.ask("POST", "/v1/embeddings", R"({"input":"a"})")->status(), 501);
  m.post("/v1/chat/completions", chat(R"("model":"third")"), 404);
  EXPECT_EQ(
      m.post("/v1/chat/completions", chat(R"("model":"second/name","max_tokens":1)")).at("model"),
      "second/name");
}

TEST(ServedModel, TokenizeInBothShapes) {
  ServedModel& m = tiny();
  const auto v = m.post("/tokenize", R"({"prompt":"Hello there","return_token_strs":true})");
  const auto l = m.post("/tokenize", R"({"content":"Hello there","with_pieces":true})");
  EXPECT_EQ(v.at("count").to_number<std::size_t>(), l.at("tokens").as_array().size());
  std::string joined;
  for (const auto& t : l.at("tokens").as_array()) joined += t.at("piece").as_string();
  EXPECT_EQ(joined, "Hello there");
  const auto back = m.post("/detokenize", R"({"tokens":)" + to_json(v.at("tokens")) + "}");
  EXPECT_EQ(back.at("prompt"), "Hello there");
  EXPECT_EQ(back.at("content"), "Hello there");
  const auto messages = m.post("/tokenize", chat(""));
  const auto rendered = m.post("/v1/chat/completions/render", chat(""));
  EXPECT_EQ(messages.at("tokens"), rendered.at("prompt_token_ids"));
  EXPECT_EQ(m.post("/apply-template", chat("")).at("prompt"), rendered.at("prompt"));
  EXPECT_EQ(m.post("/v1/chat/completions/input_tokens", chat("")).at("input_tokens"),
            messages.at("count"));
}

TEST(ServedModel, TheOtherDialectsAnswer) {
  const auto message = tiny().post(
      "/v1/messages",
      R"({"model":"claude-x","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]})");
  EXPECT_EQ(message.at("type"), "message");
  const auto response = tiny().post("/v1/responses", R"({"input":"Hi","max_output_tokens":8})");
  EXPECT_EQ(response.at("object"), "response");
}

TEST(ServedModel, NothingRunsBeforeItIsLoaded) {
  ServerState state;
  Router router;
  add_routes(router, state, false);
  state.set_progress(0.25);
  const auto ask = [&](const std::string& method, const std::string& path) {
    auto client = std::make_shared<test::FakeClient>();
    client->request_.path = path;
    client->request_.headers = {{"content-type", "application/json"}};
    client->request_.body = "{}";
    std::string allow;
    router.find(method, path, client->request_.parameters, allow)->handler(client);
    return client;
  };
  const auto health = ask("GET", "/health");
  EXPECT_EQ(health->status(), 503);
  const auto body = parse_json(health->body(), "health");
  EXPECT_EQ(body.at("status"), "loading");
  EXPECT_EQ(body.at("progress").as_double(), 0.25);
  EXPECT_EQ(ask("GET", "/health/live")->status(), 200);
  for (const char* path : {"/v1/chat/completions", "/v1/completions", "/tokenize", "/v1/messages"})
    EXPECT_EQ(ask("POST", path)->status(), 503) << path;
  EXPECT_EQ(ask("GET", "/v1/models")->status(), 503);
  EXPECT_EQ(ask("GET", "/load")->status(), 200);
  state.drain();
  EXPECT_EQ(parse_json(ask("GET", "/health")->body(), "h").at("status"), "draining");
  state.fail_with("no disk");
  EXPECT_EQ(parse_json(ask("GET", "/health")->body(), "h").at("error").at("message"), "no disk");
}

TEST(ServedModel, ClientsThatGoFreeTheirPlace) {
  ServedModel& m = tiny();
  for (const bool streamed : {false, true}) {
    const auto client = m.start(
        "POST", "/v1/chat/completions",
        chat(fmt::format(R"("max_tokens":2000,"ignore_eos":true,"n":4,"stream":{})", streamed)));
    until([&] { return m.engine().status().running == 4; });
    client->go();
    until([&] { return m.engine().idle(); });
    EXPECT_EQ(m.engine().status().slots_used, 0);
  }
  // Gone before the handler was done.
  const auto early = std::make_shared<test::FakeClient>();
  early->go();
  until([&] { return m.engine().idle(); });
}

// Nothing was sent before: the status tells it, to readers of streams as well.
TEST(ServedModel, WhoWaitsTooLongInTheQueueHearsThatByTheStatus) {
  ServedModel m({}, {.queue_timeout_seconds = 0.05});
  const auto all_places =
      m.start("POST", "/v1/chat/completions", chat(R"("max_tokens":2000,"ignore_eos":true,"n":8)"));
  until([&] { return m.engine().status().running == 8; });
  for (const char* path : {"/v1/chat/completions", "/v1/messages", "/v1/responses"})
    for (const bool streamed : {false, true}) {
      const std::string fields =
          fmt::format(R"("max_tokens":5,"stream":{})", streamed) +
          (std::string_view(path) == "/v1/responses" ? R"(,"input":"Hello")" : "");
      const auto client = m.ask("POST", path, chat(fields));
      EXPECT_EQ(client->status(), 503) << path << client->body();
      EXPECT_NE(client->body().find("0.05 seconds in the queue"), std::string::npos);
    }
  const auto plain =
      m.ask("POST", "/v1/completions", R"({"prompt":"a","max_tokens":2,"stream":true})");
  EXPECT_EQ(plain->status(), 503);
  all_places->go();
  until([&] { return m.engine().idle(); });
  EXPECT_EQ(
      m.ask("POST", "/v1/chat/completions", chat(R"("max_tokens":3,"stream":true)"))->status(),
      200);
}

// Each byte leads to more places than the last. (vLLM 0.20: a grammar of one user ended the
// engine.)
TEST(ServedModel, AGrammarBeyondTheLimitsIsItsOwnRequestsFault) {
  ServedModel& m = tiny();
  std::string crossed = "root ::= r0\\n";
  for (int i = 0; i < 200; ++i) {
    crossed += fmt::format("r{} ::= [a-z]", i);
    for (int k = 0; k < 12; ++k)
      crossed += fmt::format(" | [a-z] r{} [a-z]", (i * 7 + k * 13 + 1) % 200);
    crossed += "\\n";
  }
  const std::string fields = R"("max_tokens":20,"seed":9,"ignore_eos":true)";
  const Joined alone = whole(m.post("/v1/chat/completions", chat(fields)));
  const auto other = m.start("POST", "/v1/chat/completions", chat(fields + R"(,"stream":true)"));
  const json::value error = m.post(
      "/v1/chat/completions",
      chat(R"("max_tokens":400,"temperature":0,"chat_template_kwargs":{"enable_thinking":false},
              "structured_outputs":{"grammar":")" +
           crossed + "\"}"),
      400);
  EXPECT_NE(to_json(error).find("the grammar leads to more places"), std::string::npos)
      << to_json(error);
  other->wait();
  expect_same(alone, join(other->frames()));
}

TEST(ServedModel, SlowGrammarsLeaveThreadsToOthers) {
  ServedModel served({}, {}, false);
  std::promise<void> go;
  const std::shared_future<void> gone = go.get_future().share();
  std::atomic<int> begun = 0, compiled = 0;
  const auto slow = [&] {
    ++begun;
    gone.wait();
    return generate::grammar::parse_ebnf("root ::= \"a\"");
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      served.service().grammar("slow" + std::to_string(i), slow, "grammar");
      ++compiled;
    });
  while (begun < 4) std::this_thread::yield();
  const auto refusal = [&](const std::string& key) {
    try {
      served.service().grammar(key, slow, "grammar");
    } catch (const HttpError& e) {
      return e.status();
    }
    return 200;
  };
  EXPECT_EQ(refusal("one more"), 503);
  EXPECT_EQ(refusal("slow0"), 503) << "who waits for somebody's compilation holds a thread, too";
  go.set_value();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(compiled, 4);
  EXPECT_EQ(refusal("one more"), 200);
  EXPECT_EQ(begun, 5);
}

TEST(ServedModel, SlowReadersWaitAndLoseNothing) {
  ServedModel& m = tiny();
  const std::string fields = R"("max_tokens":60,"seed":9,"ignore_eos":true)";
  const Joined quick = whole(m.post("/v1/chat/completions", chat(fields)));
  const auto client = m.start("POST", "/v1/chat/completions", chat(fields + R"(,"stream":true)"));
  client->hold(true);
  // Others are not held up.
  m.post("/v1/chat/completions", chat(R"("max_tokens":3)"));
  client->hold(false);
  client->wait();
  expect_same(quick, join(client->frames()));
}

TEST(ServedModel, ThinkingEndsOnRequest) {
  ServedModel& m = tiny();
  const auto client =
      m.start("POST", "/v1/chat/completions",
              chat(R"("max_tokens":1500,"ignore_eos":true,"seed":1,"stream":true,
                      "logit_bias":{")" +
                   std::to_string(*test::RequestWorld::tiny_tokenizer().find("</think>")) +
                   R"(":-100},"reasoning_control":true)"));
  const std::string id = "chatcmpl-" + client->request_.request_id;
  EXPECT_FALSE(m.post("/v1/chat/completions/control", R"({"id":"other","action":"reasoning_end"})")
                   .at("success")
                   .as_bool());
  m.post("/v1/chat/completions/control", R"({"action":"reasoning_end"})", 400);
  const auto told =
      m.post("/v1/chat/completions/control", R"({"id":")" + id + R"(","action":"reasoning_end"})");
  EXPECT_TRUE(told.at("success").as_bool());
  client->wait();
  EXPECT_FALSE(join(client->frames()).content.empty());
}

// The engine's thread hangs in somebody's listener, with all its locks; another request has the
// same listener. Whoever can be told is.
TEST(ServedModel, WhenTheEnginesThreadHangsTheOthersHearOfIt) {
  ServedModel m;
  const std::string fields = R"("max_tokens":2000,"ignore_eos":true)";
  std::vector<std::shared_ptr<test::FakeClient>> streams, plain;
  const auto both =
      m.start("POST", "/v1/completions", R"({"prompt":["a","b"],"stream":true,)" + fields + "}");
  streams.push_back(m.start("POST", "/v1/chat/completions", chat(fields + R"(,"stream":true)")));
  streams.push_back(
      m.start("POST", "/v1/chat/completions", chat(fields + R"(,"stream":true,"logprobs":true)")));
  streams.push_back(
      m.start("POST", "/v1/chat/completions", chat(fields + R"(,"n":2,"stream":true)")));
  for (const char* path : {"/v1/chat/completions", "/v1/messages"})
    for (int i = 0; i < 20; ++i) plain.push_back(m.start("POST", path, chat(fields)));
  // Clients choose ids, equal ones, too.
  const auto twin = [&] {
    auto client = std::make_shared<test::FakeClient>();
    client->request_ = plain.front()->request_;
    std::string allow;
    m.router()
        .find("POST", client->request_.path, client->request_.parameters, allow)
        ->handler(client);
    return client;
  };
  plain.push_back(twin());
  until([&] { return m.engine().status().running == 8 && m.engine().status().steps > 20; });
  both->hang(true);
  until([&] { return m.engine().status().seconds_since_step > 0.1; });

  const auto lines = m.service().describe_running(100);
  EXPECT_EQ(lines.size(), 46U);
  EXPECT_EQ(m.service().describe_running(3).size(), 3U);
  const auto count = [&](const char* part) {
    return std::ranges::count_if(
        lines, [&](const std::string& line) { return line.find(part) != std::string::npos; });
  };
  EXPECT_EQ(count("its listener is being called"), 1) << fmt::format("{}", fmt::join(lines, "\n"));
  EXPECT_GE(count("answering, "), 3);
  EXPECT_GE(count("waiting, 0 of "), 30);

  EXPECT_EQ(m.service().fail_running(HttpError(500, "it hangs"), std::chrono::seconds(2)), 2U);
  for (const auto& client : plain) {
    client->wait();
    EXPECT_EQ(client->status(), 500);
    EXPECT_NE(client->body().find("it hangs"), std::string::npos);
  }
  const auto hears = [&](const test::FakeClient& client, std::size_t errors) {
    const auto frames = client.frames();
    EXPECT_GE(frames.size(), 3U);
    EXPECT_EQ(frames.back(), "[DONE]");
    EXPECT_EQ(
        std::ranges::count_if(
            frames, [](const std::string& f) { return f.find("\"error\"") != std::string::npos; }),
        static_cast<std::ptrdiff_t>(errors));
    EXPECT_NE(frames[frames.size() - 2].find("it hangs"), std::string::npos);
  };
  for (const auto& client : streams) {
    client->wait();
    hears(*client, 1);
  }
  // Who was about to begin.
  const auto late = m.ask("POST", "/v1/chat/completions", chat(fields));
  EXPECT_EQ(late->status(), 503);
  EXPECT_EQ(late->headers().front().first, "Retry-After");

  // It was only slow: nobody hears more than that.
  std::vector<std::string> before;
  for (const auto& client : streams) before.push_back(client->body());
  EXPECT_FALSE(both->ended());
  both->hang(false);
  until([&] { return m.engine().idle(); });
  both->wait();
  hears(*both, 1);
  for (std::size_t i = 0; i < streams.size(); ++i) EXPECT_EQ(streams[i]->body(), before[i]);
  EXPECT_EQ(m.engine().status().slots_used, 0);
  EXPECT_TRUE(m.service().describe_running(100).empty());
}

TEST(ServedModel, ShutdownEndsStreamsWithAnError) {
  ServedModel m;
  const auto streamed = m.start("POST", "/v1/chat/completions",
                                chat(R"("max_tokens":2000,"ignore_eos":true,"stream":true)"));
  const auto plain =
      m.start("POST", "/v1/chat/completions", chat(R"("max_tokens":2000,"ignore_eos":true)"));
  until([&] { return m.engine().status().running == 2; });
  m.state().drain();
  m.engine().drain();
  EXPECT_EQ(m.ask("POST", "/v1/chat/completions", chat(""))->status(), 503);
  m.engine().cancel_all();
  streamed->wait();
  plain->wait();
  const auto frames = streamed->frames();
  ASSERT_GE(frames.size(), 2U);
  EXPECT_TRUE(parse_json(frames[frames.size() - 2], "f").as_object().contains("error"));
  EXPECT_EQ(plain->status(), 503);
}

}  // namespace
}  // namespace octet::serve
