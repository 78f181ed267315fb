#include "serve/api/responses_request.h"

#include "dialect_test.h"

namespace octet::serve {
namespace {

using test::Refusal;
using test::refusal;
using test::RequestWorld;

ResponsesRequest read(const std::string& body, const RequestWorld& world = {}) {
  return read_responses_request(parse_json(body, "body"), world.context());
}
std::string with(const std::string& fields) {
  return R"({"input": "Hi", )" + fields + "}";
}
std::string messages_of(const std::string& input) {
  return to_json(read(R"({"input": )" + input + "}").job.chat->messages);
}

TEST(ResponsesRequest, TheLeast) {
  const ResponsesRequest r = read(R"({"input": "Hi"})");
  EXPECT_FALSE(r.model);
  EXPECT_FALSE(r.stream);
  EXPECT_FALSE(r.job.max_tokens);
  EXPECT_FALSE(r.job.incremental);
  EXPECT_EQ(to_json(r.job.chat->messages), R"([{"role": "user", "content": "Hi"}])");
  EXPECT_EQ(
      to_json(r.echo),
      R"({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true, )"
      R"("text": {"format": {"type": "text"}}, "reasoning": {"effort": null, "summary": null}, )"
      R"("top_logprobs": 0, "instructions": null, "max_output_tokens": null, )"
      R"("max_tool_calls": null, "metadata": {}, "temperature": 1.0, "top_p": 1.0, )"
      R"("truncation": "disabled", "user": null})");
  EXPECT_TRUE(r.unused.empty());
}

TEST(ResponsesRequest, PlainFields) {
  const ResponsesRequest r = read(with(
      R"("model": "m", "instructions": "Be brief.", "max_output_tokens": 7, "temperature": 0.2,
         "top_p": 0.5, "stream": true, "metadata": {"a": "b"}, "user": "u", "truncation": "auto",
         "max_tool_calls": 3, "seed": 5, "stop": ["x"], "top_k": 4, "min_p": 0.1)"));
  EXPECT_EQ(r.model, "m");
  EXPECT_TRUE(r.stream);
  EXPECT_TRUE(r.job.incremental);
  EXPECT_EQ(r.job.max_tokens, 7);
  EXPECT_EQ(r.job.sampling.temperature, 0.2);
  EXPECT_EQ(r.job.sampling.top_p, 0.5);
  EXPECT_EQ(r.job.sampling.top_k, 4);
  EXPECT_EQ(r.job.sampling.min_p, 0.1);
  EXPECT_EQ(r.job.sampling.seed, 5u);
  EXPECT_EQ(r.job.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(to_json(r.job.chat->messages),
            R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])");
  EXPECT_EQ(r.echo.at("truncation"), "auto");
  EXPECT_EQ(to_json(r.echo.at("metadata")), R"({"a": "b"})");
}

TEST(ResponsesRequest, OneTurnsItemsAreOneMessage) {
  EXPECT_EQ(
      messages_of(
          R"([{"role": "user", "content": [{"type": "input_text", "text": "a"}]},
              {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "no"}],
               "content": [{"type": "reasoning_text", "text": "Hm."}], "encrypted_content": ""},
              {"type": "message", "role": "assistant", "status": "completed",
               "content": [{"type": "output_text", "text": "Look.", "annotations": []}]},
              {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\": 1}"},
              {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
              {"type": "function_call_output", "call_id": "c1", "output": "one"},
              {"type": "function_call_output", "call_id": "c2",
               "output": [{"type": "input_text", "text": "two"}]},
              {"type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}]},
              {"type": "message", "role": "assistant", "content": "Done."}])"),
      R"([{"role": "user", "content": "a"}, )"
      R"({"role": "assistant", "content": "Look.", "reasoning_content": "Hm.", "tool_calls": [)"
      R"({"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}, )"
      R"({"id": "c2", "type": "function", "function": {"name": "g", "arguments": {}}}]}, )"
      R"({"role": "tool", "content": "one", "tool_call_id": "c1"}, )"
      R"({"role": "tool", "content": "two", "tool_call_id": "c2"}, )"
      R"({"role": "assistant", "content": "Done.", "reasoning_content": "S"}])");
}

TEST(ResponsesRequest, CallsAloneHaveNoContent) {
  EXPECT_EQ(
      messages_of(R"([{"role": "user", "content": "a"},
                            {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "diff"},
                            {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
                            {"type": "web_search_call", "id": "w", "status": "completed"},
                            {"role": "developer", "content": "d"}])"),
      R"([{"role": "user", "content": "a"}, )"
      R"({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", )"
      R"("function": {"name": "p", "arguments": {"input": "diff"}}}]}, )"
      R"({"role": "tool", "content": "ok", "tool_call_id": "c"}, )"
      R"({"role": "developer", "content": "d"}])");
}

constexpr const char* kTools =
    R"("tools": [{"type": "function", "name": "f", "description": "D",
                  "parameters": {"type": "object"}, "strict": true},
                 {"type": "web_search"},
                 {"type": "function", "name": "g", "parameters": null, "strict": null}])";

TEST(ResponsesRequest, ToolsAreFlat) {
  const ResponsesRequest r = read(with(kTools));
  ASSERT_EQ(r.job.tools.size(), 2u);
  EXPECT_TRUE(r.job.tools[0].strict);
  EXPECT_TRUE(r.job.tools[1].parameters.is_null());
  EXPECT_EQ(
      to_json(r.job.chat->tools),
      R"([{"type": "function", "function": {"name": "f", "description": "D", )"
      R"("parameters": {"type": "object"}}}, {"type": "function", "function": {"name": "g"}}])");
  EXPECT_EQ(r.unused, std::vector<std::string>{"tools.web_search"});
  EXPECT_EQ(r.echo.at("tools").as_array().size(), 2u);
  EXPECT_EQ(r.job.tool_choice.mode, ToolChoice::Mode::automatic);
}

TEST(ResponsesRequest, ToolChoice) {
  const auto choice = [](const std::string& value) {
    return read(with(std::string(kTools) + R"(, "tool_choice": )" + value)).job.tool_choice;
  };
  EXPECT_EQ(choice(R"("none")").mode, ToolChoice::Mode::none);
  EXPECT_EQ(choice(R"("required")").mode, ToolChoice::Mode::required);
  const ToolChoice named = choice(R"({"type": "function", "name": "g"})");
  EXPECT_EQ(named.mode, ToolChoice::Mode::named);
  EXPECT_EQ(named.name, "g");
  const ToolChoice allowed = choice(
      R"({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]})");
  EXPECT_EQ(allowed.mode, ToolChoice::Mode::required);
  EXPECT_EQ(allowed.allowed, std::vector<std::string>{"f"});
}

TEST(ResponsesRequest, Text) {
  const Job schema =
      read(with(R"("text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": 1},
                                       "strict": true}, "verbosity": "low"})"))
          .job;
  EXPECT_EQ(schema.format.kind, ContentFormat::Kind::json_schema);
  EXPECT_EQ(to_json(schema.format.schema), R"({"a": 1})");
  EXPECT_TRUE(schema.format.strict);
  EXPECT_EQ(schema.format.param, "text.format.schema");
  EXPECT_EQ(read(with(R"("text": {"format": {"type": "json_object"}})")).job.format.kind,
            ContentFormat::Kind::json_object);
}

// A response repeats what was read, not whatever else a client put beside it.
TEST(ResponsesRequest, TheEchoHoldsNothingElse) {
  const ResponsesRequest r = read(with(
      R"("tools": [{"type": "function", "name": "f", "junk": "x"}],
         "tool_choice": {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}], "junk": 1},
         "text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "junk": 1}, "junk": 1},
         "reasoning": {"junk": 1})"));
  EXPECT_EQ(to_json(r.echo).find("junk"), std::string::npos) << to_json(r.echo);
  EXPECT_EQ(
      to_json(r.echo.at("tool_choice")),
      R"({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]})");
}

TEST(ResponsesRequest, Reasoning) {
  const auto kwargs = [](const std::string& fields) {
    return to_json(read(with(fields)).job.chat->kwargs);
  };
  EXPECT_EQ(kwargs(R"("reasoning": {"effort": "none"})"),
            R"({"enable_thinking": false, "reasoning_effort": "none"})");
  EXPECT_EQ(kwargs(R"("reasoning": {"effort": "high", "summary": "auto"})"),
            R"({"enable_thinking": true, "reasoning_effort": "high"})");
  EXPECT_EQ(kwargs(R"("reasoning": {"effort": null})"), "{}");
  EXPECT_EQ(kwargs(R"("reasoning": null)"), "{}");
  EXPECT_EQ(read(with(R"("thinking_token_budget": 9)")).job.thinking_budget, 9);
}

TEST(ResponsesRequest, Logprobs) {
  const ResponsesRequest r =
      read(with(R"("include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
                   "top_logprobs": 3)"));
  EXPECT_TRUE(r.logprobs);
  EXPECT_EQ(r.job.sampling.num_logprobs, 3);
  EXPECT_TRUE(r.job.incremental);
  EXPECT_EQ(read(with(R"("include": ["reasoning.encrypted_content"])")).job.sampling.num_logprobs,
            -1);
}

TEST(ResponsesRequest, FieldsWithoutEffect) {
  const ResponsesRequest r = read(with(
      R"("store": true, "service_tier": "auto", "prompt_cache_key": "k", "previous_response_id": null,
              "background": false, "conversation": null, "shiny": 1)"));
  EXPECT_EQ(r.unused, std::vector<std::string>{"shiny"});
}

TEST(ResponsesRequest, WhatIsWrongIsNamed) {
  const auto items = [](const std::string& item) { return R"({"input": [)" + item + "]}"; };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"1", ""},
      {"{}", "input"},
      {R"({"input": 1})", "input"},
      {R"({"input": []})", "input"},
      {items("1"), "input[0]"},
      {items("{}"), "input[0].type"},
      {items(R"({"type": "dream"})"), "input[0].type"},
      {items(R"({"type": "item_reference", "id": "x"})"), "input[0].type"},
      {items(R"({"role": "tool", "content": "x"})"), "input[0].role"},
      {items(R"({"type": "message", "content": "x"})"), "input[0].role"},
      {items(R"({"role": "user"})"), "input[0].content"},
      {items(R"({"role": "user", "content": 1})"), "input[0].content"},
      {items(R"({"role": "user", "content": [1]})"), "input[0].content[0]"},
      {items(R"({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]})"),
       "input[0].content[0].type"},
      {items(R"({"role": "user", "content": [{"type": "input_text"}]})"),
       "input[0].content[0].text"},
      {items(R"({"type": "function_call", "name": "f", "arguments": "{}"})"), "input[0].call_id"},
      {items(R"({"type": "function_call", "call_id": "c", "arguments": "{}"})"), "input[0].name"},
      {items(R"({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{"})"),
       "input[0].arguments"},
      {items(R"({"type": "function_call", "call_id": "c", "name": "f", "arguments": "[]"})"),
       "input[0].arguments"},
      {items(R"({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}})"),
       "input[0].arguments"},
      {items(R"({"type": "function_call_output", "output": "x"})"), "input[0].call_id"},
      {items(R"({"type": "function_call_output", "call_id": "c", "output": 1})"),
       "input[0].output"},
      {with(R"("previous_response_id": "resp_1")"), "previous_response_id"},
      {with(R"("conversation": "conv_1")"), "conversation"},
      {with(R"("prompt": {"id": "p"})"), "prompt"},
      {with(R"("background": true)"), "background"},
      {with(R"("max_output_tokens": 0)"), "max_output_tokens"},
      {with(R"("temperature": 3)"), "temperature"},
      {with(R"("top_logprobs": 21)"), "top_logprobs"},
      {with(R"("top_logprobs": -1)"), "top_logprobs"},
      {with(R"("include": [1])"), "include[0]"},
      {with(R"("truncation": "some")"), "truncation"},
      {with(R"("metadata": [])"), "metadata"},
      {with(R"("metadata": {"a": 1})"), "metadata"},
      {with(R"("instructions": 1)"), "instructions"},
      {with(R"("reasoning": {"effort": "much"})"), "reasoning.effort"},
      {with(R"("text": {"format": {"type": "json_schema"}})"), "text.format.schema"},
      {with(R"("text": {"format": {"type": "yaml"}})"), "text.format.type"},
      {with(R"("text": {"format": {}})"), "text.format.type"},
      {with(R"("tools": [{"name": "f"}])"), "tools[0].type"},
      {with(R"("tools": [{"type": "function"}])"), "tools[0].name"},
      {with(R"("tools": [{"type": "function", "name": "f", "parameters": 1}])"),
       "tools[0].parameters"},
      {with(R"("tool_choice": "required")"), "tool_choice"},
      {with(R"("tool_choice": "any")"), "tool_choice"},
      {with(R"("tool_choice": {"type": "web_search"})"), "tool_choice.type"},
      {with(R"("tool_choice": {"type": "function", "name": "f"})"), "tool_choice.name"},
      {with(R"("tool_choice": {"type": "allowed_tools", "tools": []})"), "tool_choice.tools"},
      {with(R"("n": 2)"), "n"},
  };
  for (const auto& [body, param] : cases) {
    const Refusal r = refusal([&] { read(body); });
    EXPECT_EQ(r.status, 400) << body;
    EXPECT_EQ(r.param, param) << body << " -> " << r.message;
    EXPECT_NE(r.message.find(param), std::string::npos) << r.message;
  }
}

}  // namespace
}  // namespace octet::serve
