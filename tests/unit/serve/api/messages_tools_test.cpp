// Tools that a conversation of the Messages API loads, adds and removes, as Claude Code does.
#include "dialect_test.h"
#include "serve/api/messages_request.h"

namespace octet::serve {
namespace {

using test::Refusal;
using test::refusal;
using test::RequestWorld;

MessagesRequest read(const std::string& tools, const std::string& messages,
                     const std::string& more = "") {
  const std::string body =
      R"({"max_tokens": 10, "tools": )" + tools + R"(, "messages": )" + messages + more + "}";
  return read_messages_request(parse_json(body, "body"), RequestWorld().context(), false);
}
Refusal refused(const std::string& messages) {
  return refusal([&] { read("[]", messages); });
}
std::string names(const Job& job) {
  std::string out;
  for (const Tool& tool : job.tools) out += tool.name + " ";
  return out;
}
// Those of the prompt's beginning.
std::string listed(const Job& job) {
  std::string out;
  for (const json::value& tool : job.chat->tools)
    out += std::string(tool.at("function").at("name").as_string()) + " ";
  return out;
}
std::string content(const Job& job, std::size_t message) {
  return to_json(job.chat->messages[message].at("content"));
}
std::string system_turn(const std::string& blocks) {
  return R"([{"role": "user", "content": "Hi"}, {"role": "system", "content": )" + blocks + "}]";
}

constexpr const char* kTools =
    R"([{"name": "find", "input_schema": {}},
        {"name": "late", "description": "D", "input_schema": {"type": "object"}, "defer_loading": true},
        {"name": "never", "input_schema": {}, "defer_loading": true}])";
constexpr const char* kHi = R"([{"role": "user", "content": "Hi"}])";

TEST(MessagesTools, DeferredOnesAreNotThereYet) {
  const Job job = read(kTools, kHi).job;
  EXPECT_EQ(listed(job), "find ");
  EXPECT_EQ(names(job), "find ");
}

TEST(MessagesTools, AReferenceBringsTheDefinitionOnce) {
  const Job job = read(kTools, R"([
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
          {"type": "tool_reference", "tool_name": "late"}, {"type": "tool_reference", "tool_name": "late"},
          {"type": "tool_reference", "tool_name": "gone"}]}]}])")
                      .job;
  EXPECT_EQ(
      content(job, 0),
      R"([{"type": "text", "text": "{\"type\": \"function\", \"function\": {\"name\": \"late\", )"
      R"(\"description\": \"D\", \"parameters\": {\"type\": \"object\"}}}\n"}, )"
      R"({"type": "text", "text": "late\n"}, {"type": "text", "text": "gone\n"}])");
  // What precedes the reference is as it was without it.
  EXPECT_EQ(listed(job), "find ");
  EXPECT_EQ(names(job), "find late ");
}

TEST(MessagesTools, NothingIsDeferredWhereNobodyCouldFindIt) {
  EXPECT_EQ(
      listed(read(R"([{"name": "late", "input_schema": {}, "defer_loading": true}])", kHi).job),
      "late ");
  EXPECT_EQ(names(read(R"([{"name": "a", "input_schema": {}},
                     {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
                     {"name": "late", "input_schema": {}, "defer_loading": true}])",
                       kHi)
                      .job),
            "a late ");
}

TEST(MessagesTools, AnOnlyToolIsListed) {
  const Job job = read("[]", system_turn(R"([{"type": "tool_addition", "tool": {
      "type": "tool_definition", "definition": {"name": "own", "input_schema": {}}}}])"))
                      .job;
  EXPECT_EQ(listed(job), "own ");
  EXPECT_EQ(names(job), "own ");
}

TEST(MessagesTools, AdditionsAndRemovals) {
  const Job job = read(kTools, system_turn(R"([
      {"type": "text", "text": "News."},
      {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "late"}},
      {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "find"}},
      {"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": "s"}},
      {"type": "tool_addition", "tool": {"type": "tool_definition", "definition":
          {"name": "own", "input_schema": {"type": "object"}}}}])"))
                      .job;
  EXPECT_EQ(
      content(job, 1),
      R"([{"type": "text", "text": "News."}, {"type": "text", "text": "Tool that can be called from here )"
      R"(on: {\"type\": \"function\", \"function\": {\"name\": \"late\", \"description\": \"D\", )"
      R"(\"parameters\": {\"type\": \"object\"}}}\n"}, )"
      R"({"type": "text", "text": "Tool that can no longer be called: find\n"}, )"
      R"({"type": "text", "text": "Tool that can be called from here on: {\"type\": \"function\", )"
      R"(\"function\": {\"name\": \"own\", \"parameters\": {\"type\": \"object\"}}}\n"}])");
  EXPECT_EQ(listed(job), "find ");
  EXPECT_EQ(names(job), "late own ");
}

TEST(MessagesTools, ALaterDefinitionCounts) {
  const auto definition = [](const std::string& name, const std::string& type) {
    return R"({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": ")" +
           name + R"(", "input_schema": {"type": ")" + type + R"("}}}})";
  };
  const std::string blocks = fmt::format("[{}, {}, {}]", definition("own", "object"),
                                         definition("own", "string"), definition("find", "string"));
  const Job job = read(kTools, system_turn(blocks)).job;
  EXPECT_EQ(to_json(job.chat->tools[0].at("function").at("parameters")), "{}");
  EXPECT_EQ(names(job), "own find ");
  for (const Tool& tool : job.tools) EXPECT_EQ(to_json(tool.parameters), R"({"type": "string"})");
}

TEST(MessagesTools, AToolChoiceMayNameWhatWasLoaded) {
  const std::string choice = R"(, "tool_choice": {"type": "tool", "name": "late"})";
  const std::string loaded = system_turn(
      R"([{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "late"}}])");
  EXPECT_EQ(read(kTools, loaded, choice).job.tool_choice.name, "late");
  EXPECT_EQ(refusal([&] { read(kTools, kHi, choice); }).param, "tool_choice.name");
}

TEST(MessagesTools, WhatIsWrongIsNamed) {
  const std::string at = "messages[1].content[0].";
  EXPECT_EQ(refused(system_turn(R"([{"type": "tool_addition"}])")).param, at + "tool");
  EXPECT_EQ(refused(system_turn(R"([{"type": "tool_removal", "tool": {"type": "x"}}])")).param,
            at + "tool.type");
  EXPECT_EQ(
      refused(system_turn(R"([{"type": "tool_addition", "tool": {"type": "tool_reference"}}])"))
          .param,
      at + "tool.name");
  EXPECT_EQ(
      refused(system_turn(R"([{"type": "tool_addition", "tool": {"type": "tool_definition"}}])"))
          .param,
      at + "tool.definition");
  EXPECT_EQ(refused(system_turn(R"([{"type": "tool_addition", "tool": {"type": "tool_definition",
                                     "definition": {"name": "a b", "input_schema": {}}}}])"))
                .param,
            at + "tool.definition.name");
  EXPECT_EQ(refused(system_turn(R"([{"type": "thinking", "thinking": "x"}])")).param, at + "type");
  EXPECT_EQ(refused(R"([{"role": "system"}])").param, "messages[0].content");
}

TEST(MessagesTools, NamesMustDiffer) {
  const Refusal r = refusal([&] {
    read(
        R"([{"name": "f", "input_schema": {}}, {"name": "f", "input_schema": {}, "defer_loading": true}])",
        kHi);
  });
  EXPECT_EQ(r.param, "tools[1].name");
}

// Claude Code's first block; it changes from session to session.
TEST(MessagesSystem, TheBillingLineIsLeftOut) {
  const auto system = [](const std::string& value) {
    const json::array messages = read("[]", kHi, R"(, "system": )" + value).job.chat->messages;
    return messages.size() == 1 ? "none" : to_json(messages[0].at("content"));
  };
  const std::string line = "x-anthropic-billing-header: cc_version=2.1.0.abc; cch=12345;";
  EXPECT_EQ(system(R"([{"type": "text", "text": ")" + line +
                   R"("}, {"type": "text", "text": "Be brief."}])"),
            R"("Be brief.")");
  EXPECT_EQ(system(fmt::format(R"("{}\nBe brief.")", line)), R"("Be brief.")");
  EXPECT_EQ(system(fmt::format(R"("{}")", line)), "none");
  EXPECT_EQ(system(R"("Of x-anthropic-billing-header: nothing.")"),
            R"("Of x-anthropic-billing-header: nothing.")");
}

TEST(MessagesSystem, ATurnMayBringItsOwnEffort) {
  const auto effort = [](const std::string& messages) {
    const Job job = read("[]", messages, R"(, "output_config": {"effort": "low"})").job;
    return std::string(job.chat->kwargs.at("reasoning_effort").as_string());
  };
  EXPECT_EQ(effort(kHi), "low");
  EXPECT_EQ(effort(R"([{"role": "user", "content": "Hi"},
                       {"role": "system", "output_config": {"effort": "high"}}])"),
            "high");
  // That of an earlier turn is over.
  EXPECT_EQ(effort(R"([{"role": "user", "content": "Hi"},
                       {"role": "system", "content": "x", "output_config": {"effort": "high"}},
                       {"role": "assistant", "content": "Ho"}, {"role": "user", "content": "Hi"}])"),
            "low");
}

TEST(MessagesSystem, ATurnThatIsForNowOnly) {
  const auto messages = [](const std::string& rest) {
    return to_json(read("[]", R"([{"role": "user", "content": "a"},
                                  {"role": "system", "content": "b", "clear_at": "next_user_message"})" +
                                  rest + "]")
                       .job.chat->messages);
  };
  const std::string before = R"([{"role": "user", "content": "a"}, )";
  EXPECT_EQ(messages(""), before + R"({"role": "system", "content": "b"}])");
  EXPECT_EQ(messages(R"(, {"role": "user", "content": "c"})"),
            before + R"({"role": "user", "content": "c"}])");
  // Its changes of tools stay.
  const Job job = read(kTools, R"([{"role": "user", "content": "a"},
      {"role": "system", "clear_at": "next_user_message", "content": [{"type": "text", "text": "b"},
          {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "find"}}]},
      {"role": "user", "content": "c"}])")
                      .job;
  EXPECT_EQ(content(job, 1), R"("Tool that can no longer be called: find\n")");
  EXPECT_EQ(names(job), "");
}

}  // namespace
}  // namespace octet::serve
