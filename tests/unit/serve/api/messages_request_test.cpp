#include "serve/api/messages_request.h"

#include "dialect_test.h"

namespace octet::serve {
namespace {

using test::Refusal;
using test::refusal;
using test::RequestWorld;

MessagesRequest read(const std::string& body, RequestWorld server = {}, bool counting = false) {
  return read_messages_request(parse_json(body, "body"), server.context(), counting);
}

// A body with these further fields.
std::string with(const std::string& fields) {
  return R"({"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}])" +
         (fields.empty() ? "" : ", " + fields) + "}";
}
std::string with_messages(const std::string& messages) {
  return R"({"max_tokens": 10, "messages": )" + messages + "}";
}
std::string user(const std::string& blocks) {
  return with_messages(R"([{"role": "user", "content": )" + blocks + "}]");
}
std::string assistant(const std::string& blocks) {
  return with_messages(R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": )" +
                       blocks + R"(}, {"role": "user", "content": "Go on"}])");
}
std::string messages_of(const std::string& body) {
  return to_json(read(body).job.chat->messages);
}
Refusal refused(const std::string& body) {
  return refusal([&] { read(body); });
}

TEST(MessagesRequest, TheLeast) {
  const MessagesRequest r = read(with(""));
  EXPECT_EQ(r.model, "claude-x");
  EXPECT_FALSE(r.stream);
  EXPECT_EQ(r.job.max_tokens, 10);
  EXPECT_EQ(to_json(r.job.chat->messages), R"([{"role": "user", "content": "Hi"}])");
  EXPECT_TRUE(r.job.chat->add_generation_prompt);
  EXPECT_FALSE(r.job.incremental);
  EXPECT_EQ(r.job.tool_choice.mode, ToolChoice::Mode::none);
  EXPECT_EQ(r.job.thinking_budget, -1);
  EXPECT_TRUE(r.unused.empty());
}

TEST(MessagesRequest, SamplingAndStops) {
  const MessagesRequest r = read(with(
      R"("stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 7, "stop_sequences": ["a", "b"])"));
  EXPECT_TRUE(r.stream);
  EXPECT_TRUE(r.job.incremental);
  EXPECT_EQ(r.job.sampling.temperature, 0.5);
  EXPECT_EQ(r.job.sampling.top_p, 0.9);
  EXPECT_EQ(r.job.sampling.top_k, 7);
  EXPECT_EQ(r.job.stop, (std::vector<std::string>{"a", "b"}));
}

TEST(MessagesRequest, DefaultsAreTheModels) {
  RequestWorld server;
  server.defaults.temperature = 0.6;
  server.defaults.top_k = 20;
  const MessagesRequest r = read(with(""), server);
  EXPECT_EQ(r.job.sampling.temperature, 0.6);
  EXPECT_EQ(r.job.sampling.top_k, 20);
}

TEST(MessagesRequest, CountingNeedsNoMaxTokens) {
  const std::string body = R"({"messages": [{"role": "user", "content": "Hi"}]})";
  EXPECT_EQ(read(body, {}, true).job.chat->messages.size(), 1u);
  EXPECT_EQ(refused(body).param, "max_tokens");
}

TEST(MessagesRequest, SystemIsJoinedInOrder) {
  const std::string blocks =
      R"("system": [{"type": "text", "text": "x-header: 1", "cache_control": {"type": "ephemeral"}},
                    {"type": "text", "text": "Be brief."}])";
  EXPECT_EQ(messages_of(with(blocks)),
            R"([{"role": "system", "content": "x-header: 1\nBe brief."}, )"
            R"({"role": "user", "content": "Hi"}])");
  EXPECT_EQ(messages_of(with(R"("system": "Be brief.")")),
            R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])");
}

// Claude Code, from its version 154 on.
TEST(MessagesRequest, SystemInTheMiddleStaysThere) {
  EXPECT_EQ(messages_of(with_messages(
                R"([{"role": "user", "content": "a"}, {"role": "system", "content": "b"},
                    {"role": "user", "content": "c"}])")),
            R"([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, )"
            R"({"role": "user", "content": "c"}])");
}

TEST(MessagesRequest, ToolResultsComeBeforeTheText) {
  const std::string body = user(
      R"([{"type": "text", "text": "And?"},
          {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
          {"type": "tool_result", "tool_use_id": "t2", "is_error": true,
           "content": [{"type": "text", "text": "two"}, {"type": "tool_reference", "tool_name": "f"}]},
          {"type": "tool_result", "tool_use_id": "t3", "is_error": true},
          {"type": "text", "text": "Well?"}])");
  EXPECT_EQ(messages_of(body), R"([{"role": "tool", "content": "one", "tool_call_id": "t1"}, )"
                               R"({"role": "tool", "content": [{"type": "text", "text": "two"}, )"
                               R"({"type": "text", "text": "f\n"}], "tool_call_id": "t2"}, )"
                               R"({"role": "tool", "content": "error", "tool_call_id": "t3"}, )"
                               R"({"role": "user", "content": [{"type": "text", "text": "And?"}, )"
                               R"({"type": "text", "text": "Well?"}]}])");
}

TEST(MessagesRequest, OnlyToolResultsMakeNoEmptyUserTurn) {
  EXPECT_EQ(messages_of(user(R"([{"type": "tool_result", "tool_use_id": "t", "content": "x"}])")),
            R"([{"role": "tool", "content": "x", "tool_call_id": "t"}])");
}

TEST(MessagesRequest, AssistantBlocks) {
  const std::string body = assistant(
      R"([{"type": "thinking", "thinking": "Hm.", "signature": ""},
          {"type": "redacted_thinking", "data": "xx"},
          {"type": "text", "text": "Look."},
          {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
          {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
          {"type": "tool_use", "id": "t1", "name": "f", "input": {"b": 1, "a": [true]}}])");
  EXPECT_EQ(messages_of(body),
            R"([{"role": "user", "content": "Hi"}, )"
            R"({"role": "assistant", "content": "Look.", "reasoning_content": "Hm.", )"
            R"("tool_calls": [{"id": "t1", "type": "function", )"
            R"("function": {"name": "f", "arguments": {"b": 1, "a": [true]}}}]}, )"
            R"({"role": "user", "content": "Go on"}])");
}

TEST(MessagesRequest, CallsAloneHaveNoContent) {
  const json::array messages =
      read(assistant(
               R"([{"type": "text", "text": ""}, {"type": "tool_use", "id": "t", "name": "f"}])"))
          .job.chat->messages;
  EXPECT_TRUE(messages[1].at("content").is_null());
  EXPECT_EQ(to_json(messages[1].at("tool_calls").at(0).at("function").at("arguments")), "{}");
}

TEST(MessagesRequest, DocumentsOfText) {
  EXPECT_EQ(messages_of(user(R"([{"type": "document", "title": "T",
                                  "source": {"type": "text", "media_type": "text/plain", "data": "D"}}])")),
            R"([{"role": "user", "content": [{"type": "text", "text": "T\n"}, )"
            R"({"type": "text", "text": "D"}]}])");
  const Refusal pdf = refused(user(
      R"([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}])"));
  EXPECT_EQ(pdf.status, 400);
  EXPECT_EQ(pdf.param, "messages[0].content[0].source.type");
}

TEST(MessagesRequest, ALastAssistantTurnIsContinued) {
  const auto last = [](const std::string& content) {
    return read(with_messages(
                    R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": )" +
                    content + "}]"))
        .job;
  };
  const Job job = last(R"("{")");
  EXPECT_TRUE(job.chat->continue_final_message);
  EXPECT_FALSE(job.chat->add_generation_prompt);
  EXPECT_FALSE(last(R"([{"type": "thinking", "thinking": "x"}])").chat->continue_final_message);
  EXPECT_FALSE(
      last(R"([{"type": "text", "text": "x"}, {"type": "tool_use", "id": "t", "name": "f"}])")
          .chat->continue_final_message);
}

constexpr const char* kTools =
    R"("tools": [{"name": "f", "description": "D", "input_schema": {"type": "object"}, "strict": true},
                 {"type": "web_search_20250305", "name": "web_search"},
                 {"type": "custom", "name": "mcp__a-b.c:d", "input_schema": {}}])";

TEST(MessagesRequest, Tools) {
  const MessagesRequest r = read(with(kTools));
  ASSERT_EQ(r.job.tools.size(), 2u);
  EXPECT_EQ(r.job.tools[0].name, "f");
  EXPECT_TRUE(r.job.tools[0].strict);
  EXPECT_FALSE(r.job.tools[1].strict);
  EXPECT_EQ(to_json(r.job.chat->tools),
            R"([{"type": "function", "function": {"name": "f", "description": "D", )"
            R"("parameters": {"type": "object"}}}, )"
            R"({"type": "function", "function": {"name": "mcp__a-b.c:d", "parameters": {}}}])");
  EXPECT_EQ(r.job.tool_choice.mode, ToolChoice::Mode::automatic);
  EXPECT_EQ(r.unused, std::vector<std::string>{"tools.web_search_20250305"});
}

TEST(MessagesRequest, ToolChoice) {
  const auto choice = [](const std::string& value) {
    return read(with(std::string(kTools) + R"(, "tool_choice": )" + value)).job;
  };
  EXPECT_EQ(choice(R"({"type": "auto"})").tool_choice.mode, ToolChoice::Mode::automatic);
  EXPECT_EQ(choice(R"({"type": "any"})").tool_choice.mode, ToolChoice::Mode::required);
  EXPECT_EQ(choice(R"({"type": "none"})").tool_choice.mode, ToolChoice::Mode::none);
  const Job named = choice(R"({"type": "tool", "name": "f", "disable_parallel_tool_use": true})");
  EXPECT_EQ(named.tool_choice.mode, ToolChoice::Mode::named);
  EXPECT_EQ(named.tool_choice.name, "f");
  EXPECT_FALSE(named.parallel_tool_calls);
  EXPECT_TRUE(choice(R"({"type": "any"})").parallel_tool_calls);
}

TEST(MessagesRequest, Thinking) {
  const auto job = [](const std::string& fields) { return read(with(fields)).job; };
  Job on = job(R"("thinking": {"type": "enabled", "budget_tokens": 2000})");
  EXPECT_EQ(on.thinking_budget, 2000);
  EXPECT_EQ(on.chat->kwargs.at("enable_thinking"), true);
  EXPECT_EQ(job(R"("thinking": {"type": "disabled"})").chat->kwargs.at("enable_thinking"), false);
  Job adaptive = job(R"("thinking": {"type": "adaptive"}, "output_config": {"effort": "max"})");
  EXPECT_FALSE(adaptive.chat->kwargs.contains("enable_thinking"));
  EXPECT_EQ(adaptive.chat->kwargs.at("reasoning_effort"), "max");
  EXPECT_EQ(adaptive.thinking_budget, -1);
}

// serving.md §12.5: the request's kwargs, then thinking, then the server's defaults.
TEST(MessagesRequest, KwargsPrecedence) {
  RequestWorld server;
  server.options.default_chat_template_kwargs = {{"enable_thinking", false}, {"x", 1}};
  const auto kwargs = [&](const std::string& fields) {
    return to_json(read(with(fields), server).job.chat->kwargs);
  };
  EXPECT_EQ(kwargs(""), R"({"enable_thinking": false, "x": 1})");
  EXPECT_EQ(kwargs(R"("thinking": {"type": "enabled"})"), R"({"enable_thinking": true, "x": 1})");
  EXPECT_EQ(kwargs(R"("thinking": {"type": "enabled"},
                      "chat_template_kwargs": {"enable_thinking": false, "messages": []})"),
            R"({"enable_thinking": false, "x": 1})");
}

TEST(MessagesRequest, Format) {
  for (const char* field :
       {R"("output_config": {"format": {"type": "json_schema", "schema": {"a": 1}}})",
        R"("output_format": {"type": "json_schema", "schema": {"a": 1}})"}) {
    const Job job = read(with(field)).job;
    EXPECT_EQ(job.format.kind, ContentFormat::Kind::json_schema);
    EXPECT_EQ(to_json(job.format.schema), R"({"a": 1})");
    EXPECT_TRUE(job.format.strict);
  }
  EXPECT_EQ(read(with(R"("output_config": {"format": {"type": "json_schema", "schema": {}}})"))
                .job.format.param,
            "output_config.format.schema");
}

TEST(MessagesRequest, FieldsWithoutEffect) {
  const MessagesRequest r = read(with(
      R"("metadata": {"user_id": "u"}, "service_tier": "auto", "container": "c",
         "context_management": {}, "mcp_servers": [], "new_field": 1)"));
  EXPECT_EQ(r.unused, std::vector<std::string>{"new_field"});
}

TEST(MessagesRequest, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[]", ""},
      {"{}", "max_tokens"},
      {R"({"max_tokens": 1})", "messages"},
      {R"({"max_tokens": 1, "messages": []})", "messages"},
      {R"({"max_tokens": 1, "messages": "x"})", "messages"},
      {with_messages("[1]"), "messages[0]"},
      {with_messages(R"([{"content": "x"}])"), "messages[0].role"},
      {with_messages(R"([{"role": "tool", "content": "x"}])"), "messages[0].role"},
      {with_messages(R"([{"role": "user"}])"), "messages[0].content"},
      {with_messages(R"([{"role": "user", "content": 1}])"), "messages[0].content"},
      {user("[1]"), "messages[0].content[0]"},
      {user(R"([{}])"), "messages[0].content[0].type"},
      {user(R"([{"type": "text"}])"), "messages[0].content[0].text"},
      {user(R"([{"type": "text", "text": 1}])"), "messages[0].content[0].text"},
      {user(R"([{"type": "thinking", "thinking": "x"}])"), "messages[0].content[0].type"},
      {user(R"([{"type": "tool_use", "id": "x", "name": "y"}])"), "messages[0].content[0].type"},
      {user(R"([{"type": "image", "source": {}}])"), "messages[0].content[0].type"},
      {user(R"([{"type": "video"}])"), "messages[0].content[0].type"},
      {user(R"([{"type": "tool_result", "content": "x"}])"), "messages[0].content[0].tool_use_id"},
      {user(R"([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}])"),
       "messages[0].content[0].content[0].type"},
      {user(R"([{"type": "tool_result", "tool_use_id": "t", "content": 7}])"),
       "messages[0].content[0].content"},
      {user(R"([{"type": "document"}])"), "messages[0].content[0].source"},
      {assistant(R"([{"type": "tool_result", "tool_use_id": "t"}])"),
       "messages[1].content[0].type"},
      {assistant(R"([{"type": "tool_use", "name": "y"}])"), "messages[1].content[0].id"},
      {assistant(R"([{"type": "tool_use", "id": "x"}])"), "messages[1].content[0].name"},
      {assistant(R"([{"type": "tool_use", "id": "x", "name": "y", "input": "{}"}])"),
       "messages[1].content[0].input"},
      {with(R"("system": 1)"), "system"},
      {with(R"("system": [{"type": "image"}])"), "system[0].type"},
      {with(R"("temperature": 1.5)"), "temperature"},
      {with(R"("temperature": "1")"), "temperature"},
      {with(R"("top_k": -2)"), "top_k"},
      {with(R"("top_p": 0)"), "top_p"},
      {with(R"("n": 2)"), "n"},
      {with(R"("stream": 1)"), "stream"},
      {with(R"("stop_sequences": [""])"), "stop_sequences[0]"},
      {with(R"("stop_sequences": [1])"), "stop_sequences[0]"},
      {with(R"("tools": {})"), "tools"},
      {with(R"("tools": [{}])"), "tools[0].name"},
      {with(R"("tools": [{"name": "a b", "input_schema": {}}])"), "tools[0].name"},
      {with(R"("tools": [{"name": "f"}])"), "tools[0].input_schema"},
      {with(R"("tools": [{"name": "f", "input_schema": "x"}])"), "tools[0].input_schema"},
      {with(R"("tools": [{"name": "f", "input_schema": {}}, {"name": "f", "input_schema": {}}])"),
       "tools[1].name"},
      {with(R"("tool_choice": "auto")"), "tool_choice"},
      {with(R"("tool_choice": {"type": "required"})"), "tool_choice.type"},
      {with(R"("tool_choice": {"type": "any"})"), "tool_choice"},
      {with(R"("tool_choice": {"type": "tool"})"), "tool_choice.name"},
      {with(R"("tool_choice": {"type": "tool", "name": "g"})"), "tool_choice.name"},
      {with(R"("thinking": {"type": "on"})"), "thinking.type"},
      {with(R"("thinking": {"type": "enabled", "budget_tokens": 0})"), "thinking.budget_tokens"},
      {with(R"("output_config": {"effort": "huge"})"), "output_config.effort"},
      {with(R"("output_config": {"format": {"type": "json_schema"}})"),
       "output_config.format.schema"},
      {with(R"("output_config": {"format": {"type": "xml"}})"), "output_config.format.type"},
      {R"({"max_tokens": 0, "messages": [{"role": "user", "content": "x"}]})", "max_tokens"},
      {R"({"max_tokens": 1e300, "messages": [{"role": "user", "content": "x"}]})", "max_tokens"},
      {R"({"max_tokens": -9223372036854775808, "messages": []})", "max_tokens"},
  };
  for (const auto& [body, param] : cases) {
    const Refusal t = refused(body);
    EXPECT_EQ(t.status, 400) << body;
    EXPECT_EQ(t.param, param) << body << " -> " << t.message;
    EXPECT_NE(t.message.find(param), std::string::npos) << t.message;
  }
}

TEST(MessagesRequest, DocumentsDoNotNest) {
  std::string block = R"({"type": "text", "text": "x"})";
  for (int i = 0; i < 3; ++i)
    block = R"({"type": "document", "source": {"type": "content", "content": [)" + block + "]}}";
  EXPECT_EQ(refused(user("[" + block + "]")).status, 400);
}

TEST(MessagesRequest, Aliases) {
  EXPECT_TRUE(matches_alias("claude-opus-4", {"claude*"}));
  EXPECT_FALSE(matches_alias("gpt", {"claude*"}));
  EXPECT_TRUE(matches_alias("anything", {"x", "*"}));
  EXPECT_TRUE(matches_alias("x", {"x"}));
  EXPECT_FALSE(matches_alias("xy", {"x"}));
  EXPECT_FALSE(matches_alias("claude", {}));
}

}  // namespace
}  // namespace octet::serve
