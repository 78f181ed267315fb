// Namespaces and custom tools of the Responses API, as Codex sends them.
#include "dialect_test.h"
#include "serve/api/responses_request.h"
#include "serve/api/responses_response.h"

namespace octet::serve {
namespace {

using test::DialectExchange;
using test::event;
using test::events;
using test::prompt_of;
using test::Refusal;
using test::refusal;
using test::RequestWorld;
using K = AnswerEvent::Kind;
using Events = std::vector<AnswerEvent>;

ResponsesRequest read(const std::string& fields) {
  return read_responses_request(parse_json(R"({"input": "Hi", )" + fields + "}", "body"),
                                RequestWorld().context());
}

constexpr const char* kTools = R"("tools": [
    {"type": "function", "name": "close", "parameters": {"type": "object"}},
    {"type": "namespace", "name": "mcp__files", "description": "Of files.", "tools": [
        {"type": "function", "name": "read", "description": "Reads.", "strict": false,
         "parameters": {"type": "object"}, "defer_loading": true},
        {"type": "function", "name": "close"}, {"type": "image_generation"}]},
    {"type": "namespace", "name": "agents__", "tools": [{"type": "function", "name": "spawn"}]},
    {"type": "custom", "name": "patch", "description": "Patches.",
     "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x+/"}}])";

TEST(ResponsesTools, AreFunctionsToTheModel) {
  const ResponsesRequest r = read(kTools);
  std::string names;
  for (const Tool& tool : r.job.tools) names += tool.name + " ";
  EXPECT_EQ(names, "close mcp__files__read mcp__files__close agents__spawn patch ");
  const auto description = [&](std::size_t i) {
    const json::object& f = r.job.chat->tools[i].at("function").as_object();
    return f.contains("description") ? std::string(f.at("description").as_string()) : "none";
  };
  // A namespace's own is told once.
  EXPECT_EQ(description(1), "Of files.\n\nReads.");
  EXPECT_EQ(description(2), "none");
  EXPECT_EQ(description(4), "Patches.\n\nThe input follows this Lark grammar:\nstart: /x+/");
  EXPECT_EQ(to_json(r.job.tools[4].parameters.at("properties")),
            R"({"input": {"type": "string"}})");
  EXPECT_EQ(r.unused, std::vector<std::string>{"tools.tools.image_generation"});
}

TEST(ResponsesTools, AreShownAsTheyCame) {
  const json::array shown = read(kTools).echo.at("tools").as_array();
  ASSERT_EQ(shown.size(), 4u);
  EXPECT_EQ(to_json(shown[1]),
            R"({"type": "namespace", "name": "mcp__files", "description": "Of files.", "tools": [)"
            R"({"type": "function", "name": "read", "description": "Reads.", )"
            R"("parameters": {"type": "object"}, "strict": false}, )"
            R"({"type": "function", "name": "close", "description": "", "parameters": null, )"
            R"("strict": false}]})");
  EXPECT_EQ(to_json(shown[3]),
            R"({"type": "custom", "name": "patch", "description": "Patches.", "format": )"
            R"({"type": "grammar", "syntax": "lark", "definition": "start: /x+/"}})");
}

TEST(ResponsesTools, ChoicesMeanThem) {
  const auto choice = [](const std::string& value) {
    return read(std::string(kTools) + R"(, "tool_choice": )" + value);
  };
  // A function of its own goes before one of a namespace.
  EXPECT_EQ(choice(R"({"type": "function", "name": "close"})").job.tool_choice.name, "close");
  const ResponsesRequest spawn = choice(R"({"type": "function", "name": "spawn"})");
  EXPECT_EQ(spawn.job.tool_choice.name, "agents__spawn");
  EXPECT_EQ(to_json(spawn.echo.at("tool_choice")), R"({"type": "function", "name": "spawn"})");
  EXPECT_EQ(choice(R"({"type": "custom", "name": "patch"})").job.tool_choice.name, "patch");
  const ResponsesRequest allowed = choice(
      R"({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "patch"},
          {"type": "function", "name": "read"}]})");
  EXPECT_EQ(allowed.job.tool_choice.allowed,
            (std::vector<std::string>{"patch", "mcp__files__read"}));
  EXPECT_EQ(to_json(allowed.echo.at("tool_choice").at("tools")),
            R"([{"type": "custom", "name": "patch"}, {"type": "function", "name": "read"}])");
}

TEST(ResponsesTools, WhatIsWrongIsNamed) {
  const auto param = [](const std::string& tools) {
    return refusal([&] { read(R"("tools": [)" + tools + "]"); }).param;
  };
  EXPECT_EQ(param(R"({"type": "namespace", "tools": []})"), "tools[0].name");
  EXPECT_EQ(param(R"({"type": "namespace", "name": "n", "tools": {}})"), "tools[0].tools");
  EXPECT_EQ(param(R"({"type": "namespace", "name": "n", "tools": [{"type": "function"}]})"),
            "tools[0].tools[0].name");
  EXPECT_EQ(param(R"({"type": "function", "name": "n__f"},
                     {"type": "namespace", "name": "n", "tools": [{"name": "f"}]})"),
            "tools[1].tools[0].name");
  EXPECT_EQ(param(R"({"type": "custom", "name": "c", "format": {"type": "grammar"}})"),
            "tools[0].format.definition");
  EXPECT_EQ(param(R"({"type": "custom", "name": "c", "format": {"type": "x"}})"),
            "tools[0].format.type");
}

TEST(ResponsesTools, ManyWithinNamespacesAreRefused) {
  std::string tools;
  for (int n = 0; n < 3; ++n) {
    tools +=
        (n ? ", " : "") + fmt::format(R"({{"type": "namespace", "name": "n{}", "tools": [)", n);
    for (int i = 0; i < 400; ++i) tools += (i ? ", " : "") + fmt::format(R"({{"name": "f{}"}})", i);
    tools += "]}";
  }
  EXPECT_EQ(refusal([&] { read(R"("tools": [)" + tools + "]"); }).param, "tools[2].tools");
}

TEST(ResponsesTools, HistoryNamesThemAsTheModelKnowsThem) {
  const json::array messages = read_responses_input(parse_json(
      R"([{"type": "function_call", "call_id": "c1", "namespace": "mcp__files", "name": "read",
           "arguments": "{}"},
          {"type": "function_call", "call_id": "c2", "namespace": "agents__", "name": "spawn",
           "arguments": "{}"}])",
      "input"));
  EXPECT_EQ(messages[0].at("tool_calls").at(0).at("function").at("name"), "mcp__files__read");
  EXPECT_EQ(messages[0].at("tool_calls").at(1).at("function").at("name"), "agents__spawn");
}

// Codex sends what was said after a call before the call's result.
TEST(ResponsesTools, TextAfterACallIsOfTheSameTurn) {
  EXPECT_EQ(to_json(read_responses_input(parse_json(
                R"([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                    {"role": "assistant", "content": "I look."},
                    {"type": "function_call_output", "call_id": "c", "output": "x"}])",
                "input"))),
            R"([{"role": "assistant", "content": "I look.", "tool_calls": [{"id": "c", )"
            R"("type": "function", "function": {"name": "f", "arguments": {}}}]}, )"
            R"({"role": "tool", "content": "x", "tool_call_id": "c"}])");
}

TEST(ResponsesTools, NotesToOpenAIsServersAreLeftOut) {
  for (const char* type : {"tool_search_call", "tool_search_output", "context_compaction",
                           "compaction_trigger", "configuration_update"}) {
    const json::array messages = read_responses_input(parse_json(
        fmt::format(R"([{{"role": "user", "content": "a"}}, {{"type": "{}", "id": "x"}}])", type),
        "input"));
    EXPECT_EQ(messages.size(), 1u) << type;
  }
}

ResponseHead head() {
  ResponseHead h;
  h.id = "resp_1";
  h.model = "m";
  h.tools = read(kTools).tools;
  return h;
}

// A call of a function in a namespace, one of a custom tool.
void answer(JobListener& to, bool truncated = false) {
  ChoiceEnd end;
  end.finish_reason = truncated ? "length" : "tool_calls";
  end.calls = 2;
  to.on_admitted(prompt_of(1), 100, false);
  to.on_events(
      0,
      Events{event(K::tool_begin, "mcp__files__read", 0), event(K::tool_arguments, "{\"a\": 1}", 0),
             event(K::tool_end, "", 0), event(K::tool_begin, "patch", 1),
             event(K::tool_arguments, "{\"input\": \"a", 1)},
      {});
  if (!truncated)
    to.on_events(0, Events{event(K::tool_arguments, "\\nb\"}", 1), event(K::tool_end, "", 1)}, {});
  to.on_choice_end(0, end);
  to.on_done({.prompt_tokens = 1, .completion_tokens = 9});
}

void expect_items(const json::array& items) {
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].at("type"), "function_call");
  EXPECT_EQ(items[0].at("namespace"), "mcp__files");
  EXPECT_EQ(items[0].at("name"), "read");
  EXPECT_EQ(items[0].at("arguments"), "{\"a\": 1}");
  EXPECT_EQ(items[1].at("type"), "custom_tool_call");
  EXPECT_FALSE(items[1].as_object().contains("namespace"));
  EXPECT_FALSE(items[1].as_object().contains("arguments"));
  EXPECT_EQ(items[1].at("name"), "patch");
  EXPECT_EQ(items[1].at("input"), "a\nb");
  EXPECT_EQ(items[1].at("status"), "completed");
  const std::string id(items[1].at("id").as_string());
  EXPECT_TRUE(id.starts_with("ctc_"));
  EXPECT_EQ(items[1].at("call_id"), json::string("call_" + id.substr(4)));
}

TEST(ResponsesTools, CallsAreToldInTheClientsForm) {
  const auto exchange = std::make_shared<DialectExchange>("/v1/responses");
  ResponseWriter writer(exchange, head(), RequestWorld::tiny_tokenizer());
  answer(writer);
  expect_items(parse_json(exchange->body(), "body").at("output").as_array());
}

TEST(ResponsesTools, StreamedCallsAreToldInTheClientsForm) {
  const auto exchange = std::make_shared<DialectExchange>("/v1/responses");
  ResponseStream stream(std::make_shared<SseStream>(exchange), head(),
                        RequestWorld::tiny_tokenizer(), 1000);
  answer(stream);
  const auto got = events(exchange->body());
  std::string names;
  for (const auto& [name, data] : got) names += name.substr(9) + " ";
  EXPECT_EQ(names,
            "created in_progress output_item.added function_call_arguments.delta "
            "function_call_arguments.done output_item.done output_item.added "
            "custom_tool_call_input.delta custom_tool_call_input.done output_item.done completed ");
  EXPECT_EQ(got[2].second.at("item").at("namespace"), "mcp__files");
  EXPECT_EQ(got[4].second.at("name"), "read");
  EXPECT_EQ(got[6].second.at("item").at("input"), "");
  EXPECT_EQ(got[7].second.at("delta"), "a\nb");
  EXPECT_EQ(got[8].second.at("input"), "a\nb");
  EXPECT_EQ(got[8].second.at("item_id"), got[6].second.at("item").at("id"));
  expect_items(got.back().second.at("response").at("output").as_array());
}

// Nobody may take the beginning of a patch for a patch.
TEST(ResponsesTools, ACustomCallThatWasCutOffIsNoInput) {
  const auto exchange = std::make_shared<DialectExchange>("/v1/responses");
  ResponseWriter writer(exchange, head(), RequestWorld::tiny_tokenizer());
  answer(writer, true);
  const json::value item = parse_json(exchange->body(), "body").at("output").at(1);
  EXPECT_EQ(item.at("status"), "incomplete");
  EXPECT_EQ(item.at("input"), "{\"input\": \"a");
}

}  // namespace
}  // namespace octet::serve
