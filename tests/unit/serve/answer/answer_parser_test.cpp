#include "serve/answer/answer_parser.h"

#include <gtest/gtest.h>

#include "parse_pieces.h"

namespace octet::serve {
namespace {

std::string call_text(const std::string& name, const std::string& inside) {
  return "<tool_call>\n<function=" + name + ">\n" + inside + "</function>\n</tool_call>";
}
std::string parameter(const std::string& key, const std::string& value) {
  return "<parameter=" + key + ">\n" + value + "\n</parameter>\n";
}

ParsedAnswer whole(const std::string& text, bool in_reasoning = false, bool truncated = false) {
  return parse_answer(text, truncated, with_tools(in_reasoning));
}

/// The arguments of the only call.
std::string arguments(const std::string& text, bool truncated = false) {
  const ParsedAnswer a = parse_answer(text, truncated, with_tools());
  EXPECT_EQ(a.calls.size(), 1u) << text;
  EXPECT_EQ(a.content, "") << text;
  return a.calls.empty() ? "" : a.calls[0].arguments;
}

// --- reasoning, §12

TEST(Reasoning, EndsAtItsMarkerWithoutTheTemplatesNewlines) {
  const auto a = whole("\nthought\n\nmore\n</think>\n\nanswer\n", true);
  EXPECT_EQ(a.reasoning, "thought\n\nmore");
  EXPECT_EQ(a.content, "answer\n");
}

TEST(Reasoning, UnclosedIsAllReasoning) {
  const auto a = whole("thought\n", true, true);
  EXPECT_EQ(a.reasoning, "thought\n");
  EXPECT_EQ(a.content, "");
}

TEST(Reasoning, OpensOnlyAtTheVeryBeginning) {
  const auto a = whole(" \n<think>\nthought\n</think>\n\nanswer");
  EXPECT_EQ(a.reasoning, "thought");
  EXPECT_EQ(a.content, "answer");
  const auto b = whole("The tag <think> opens.");
  EXPECT_EQ(b.reasoning, "");
  EXPECT_EQ(b.content, "The tag <think> opens.");
}

TEST(Reasoning, ItsMarkerOnceMoreIsDropped) {
  EXPECT_EQ(whole("<think>once more\n</think>\nyes", true).reasoning, "once more");
  EXPECT_EQ(whole("a</think></think>\n\nb</think>c", true).content, "bc");
  EXPECT_EQ(whole("</think>\n\nb").content, "b");
}

TEST(Reasoning, RawKeepsEveryByte) {
  AnswerParserOptions o;
  o.in_reasoning = true;
  o.parse_reasoning = false;
  for (const char* text :
       {"\n thought\n</think>\n\nanswer </think> x\n", "<think>a</think>", "\n"}) {
    const auto a = parse_answer(text, false, o);
    EXPECT_EQ(a.content, text);
    EXPECT_EQ(a.reasoning, "");
  }
  AnswerParser parser(o);
  std::vector<AnswerEvent> events;
  parser.push("thought", events);
  EXPECT_TRUE(parser.in_reasoning());
  parser.push("</think>", events);
  EXPECT_FALSE(parser.in_reasoning());
}

TEST(Reasoning, ACallEndsIt) {
  const auto a = whole("I need the time.\n\n" + call_text("now", ""), true);
  EXPECT_EQ(a.reasoning, "I need the time.");
  ASSERT_EQ(a.calls.size(), 1u);
  EXPECT_EQ(a.calls[0].arguments, "{}");
}

TEST(Reasoning, ATagThatIsNoCallDoesNotEndIt) {
  const auto a =
      whole("write <tool_call> first\n<tool_call>\n{\"name\": \"now\"}\n</think>\nx", true);
  EXPECT_EQ(a.reasoning, "write <tool_call> first\n<tool_call>\n{\"name\": \"now\"}");
  EXPECT_EQ(a.content, "x");
  AnswerParserOptions o = with_tools(true);
  o.parse_tools = false;
  const std::string text = "x\n" + call_text("now", "");
  EXPECT_EQ(parse_answer(text, false, o).reasoning, text);
}

// --- calls, §13.3

TEST(ToolCall, TheModelsForm) {
  const auto a = whole("Let me check.\n\n" + call_text("get_weather", parameter("city", "Paris") +
                                                                          parameter("days", "3")));
  EXPECT_EQ(a.content, "Let me check.");
  ASSERT_EQ(a.calls.size(), 1u);
  EXPECT_EQ(a.calls[0].name, "get_weather");
  EXPECT_EQ(a.calls[0].arguments, R"({"city": "Paris", "days": 3})");
}

TEST(ToolCall, SeveralAndTextBetween) {
  const auto a = whole("\n" + call_text("now", "") + "\n" + call_text("now", "") +
                       "\n\nAnd then: " + call_text("get_weather", parameter("city", "a")) + " \n");
  ASSERT_EQ(a.calls.size(), 3u);
  EXPECT_EQ(a.calls[2].arguments, R"({"city": "a"})");
  EXPECT_EQ(a.content, "And then:");
}

TEST(ToolCall, OnlyTheFirstIfOneIsWanted) {
  AnswerParserOptions o = with_tools();
  o.parallel_tool_calls = false;
  const auto a = parse_answer(call_text("now", "") + "\ntext\n" + call_text("now", ""), false, o);
  EXPECT_EQ(a.calls.size(), 1u);
  EXPECT_EQ(a.content, "");
  EXPECT_EQ(
      parse_answer("<tool_call><function=now><function=now></tool_call>", false, o).calls.size(),
      1u);
}

TEST(ToolCall, TextIfToolsAreOff) {
  AnswerParserOptions o = with_tools();
  o.parse_tools = false;
  const std::string text = "x\n\n" + call_text("now", "");
  EXPECT_EQ(parse_answer(text, false, o).content, text);
}

TEST(ToolCall, BareOnesOfKnownToolsAtTheBeginningOfALine) {
  const auto a =
      whole("Now:\n<function=now>\n</function>\n</tool_call>\n<function=now></function>");
  EXPECT_EQ(a.calls.size(), 2u);
  EXPECT_EQ(a.content, "Now:");
  for (const char* text : {"Now: <function=now>\n</function>", "<function=never>\n</function>",
                           "<function=no\nw>", "<function=now", "<function=<function=x>"})
    EXPECT_EQ(whole(text).content, text);
}

TEST(ToolCall, NamesAreReadTolerantly) {
  EXPECT_EQ(whole(call_text(" \"get_weather\" ", "")).calls.at(0).name, "get_weather");
  EXPECT_EQ(whole(call_text("Get-Weather", "")).calls.at(0).name, "get_weather");
  EXPECT_EQ(whole(call_text("elsewhere", parameter("n", "1"))).calls.at(0).name, "elsewhere");
  EXPECT_EQ(whole(call_text("elsewhere", parameter("n", "1"))).calls.at(0).arguments,
            R"({"n": "1"})");
  AnswerParserOptions o = with_tools();
  o.tools.push_back({"Get_Weather", nullptr});
  // Two that differ by case: a third spelling is neither.
  EXPECT_EQ(parse_answer(call_text("GET_WEATHER", ""), false, o).calls.at(0).name, "GET_WEATHER");
  EXPECT_EQ(parse_answer(call_text("Get_Weather", ""), false, o).calls.at(0).name, "Get_Weather");
}

TEST(ToolCall, OfToolsWithOneNameTheLastCounts) {
  AnswerParserOptions o = with_tools();
  o.tools.push_back({"now", parse_json(R"({"properties": {"n": {"type": "integer"}}})", "")});
  EXPECT_EQ(parse_answer(call_text("now", parameter("n", "1")), false, o).calls.at(0).arguments,
            R"({"n": 1})");
}

TEST(ToolCall, AClosingTagInsideAValueIsItsText) {
  const std::string value = "<a>\n</parameter> x\n</function> y\n </tool_call>\n</parameter";
  EXPECT_EQ(arguments(call_text("write_file", parameter("text", value))),
            to_json(json::object{{"text", value}}));
  const std::string markup = "if (a) { print('</parameter>') }";
  EXPECT_EQ(arguments(call_text("write_file", parameter("text", markup))),
            to_json(json::object{{"text", markup}}));
}

TEST(ToolCall, AClosingTagMayBeMissing) {
  const std::string begin = "<tool_call>\n<function=write_file>\n<parameter=path>\na.txt\n";
  const std::string expected = R"({"path": "a.txt", "text": "b"})";
  EXPECT_EQ(arguments(begin + "<parameter=text>\nb\n</function>\n</tool_call>"), expected);
  EXPECT_EQ(arguments(begin + "<parameter=text>\nb\n</function>"), expected);
  EXPECT_EQ(arguments(begin + "</parameter>\n<parameter=text>\nb\n</parameter>\n</tool_call>"),
            expected);
  EXPECT_EQ(arguments(begin + "</parameter>\n<parameter=text>\nb\n</parameter>\n"), expected);
  EXPECT_EQ(arguments(begin + "</parameter>\n<parameter=text>\nb\n</parameter></func"), expected);
  // A parameter that the tool doesn't have, or not at the beginning of a line, is text.
  EXPECT_EQ(arguments(begin + "<parameter=other>\nb\n</parameter></function>"),
            R"({"path": "a.txt\n<parameter=other>\nb"})");
  EXPECT_EQ(arguments(begin + " <parameter=text>\nb\n</parameter></function>"),
            R"({"path": "a.txt\n <parameter=text>\nb"})");
}

TEST(ToolCall, ANewOneEndsTheLast) {
  const auto a = whole(
      "<tool_call>\n<function=get_weather>\n<parameter=city>\nA\n</parameter>\n<function=now>\n"
      "<tool_call>\n<function=now>\n</function>");
  ASSERT_EQ(a.calls.size(), 3u);
  EXPECT_EQ(a.calls[0].arguments, R"({"city": "A"})");
  EXPECT_EQ(a.calls[1].arguments, "{}");
  EXPECT_EQ(a.content, "");
}

TEST(ToolCall, ValuesLoseOneNewlineAtEachEnd) {
  EXPECT_EQ(arguments(call_text("now", "<parameter=x>\n\n  a \n\n</parameter>\n")),
            R"({"x": "\n  a \n"})");
  EXPECT_EQ(arguments(call_text("now", "<parameter=x>a</parameter>")), R"({"x": "a"})");
  EXPECT_EQ(arguments(call_text("now", "<parameter=x>\n</parameter>")), R"({"x": ""})");
  EXPECT_EQ(arguments(call_text("now", "<parameter=x>\n\n</parameter>")), R"({"x": ""})");
  EXPECT_EQ(arguments(call_text("now", "<parameter=x></parameter>")), R"({"x": ""})");
}

TEST(ToolCall, OfARepeatedParameterTheLastWins) {
  const std::string json =
      arguments(call_text("get_weather", parameter("days", "1") + parameter("days", "2")));
  EXPECT_EQ(parse_json(json, "").at("days"), 2);
}

TEST(ToolCall, StringsAreEscapedAsJson) {
  EXPECT_EQ(arguments(call_text("now", parameter("a \"key\"", "\"q\" \\ \t \x01 \xc3\xa9 \x7f/"))),
            "{\"a \\\"key\\\"\": \"\\\"q\\\" \\\\ \\t \\u0001 \xc3\xa9 \x7f/\"}");
}

TEST(ToolCall, TruncatedOnesAreContent) {
  const std::string begun = "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar";
  const auto a = whole("Well.\n" + begun, false, true);
  EXPECT_EQ(a.calls.size(), 0u);
  EXPECT_EQ(a.content, "Well.\n" + begun);
  const std::string done = call_text("now", "") + "\n";
  const auto b = whole(done + begun + "is\n</parameter>\n", false, true);
  ASSERT_EQ(b.calls.size(), 1u);
  EXPECT_EQ(b.calls[0].name, "now");
  EXPECT_EQ(b.content, begun + "is\n</parameter>\n");
  // Complete ones stay calls, whatever is missing behind them.
  EXPECT_EQ(whole(begun + "\n</parameter>\n</function>", false, true).calls.size(), 1u);
}

TEST(ToolCall, AStreamKeepsWhatItSent) {
  const Streamed s =
      parse_whole("<tool_call>\n<function=get_weather>\n<parameter=city>\nPar", with_tools(), true);
  ASSERT_EQ(s.calls.size(), 1u);
  EXPECT_EQ(s.calls[0].arguments, R"({"city": "Par)");
  EXPECT_FALSE(s.calls[0].ended);
}

// --- streaming, §13.5

TEST(ToolStream, SendsEachPartAsSoonAsItIsKnown) {
  AnswerParser parser(with_tools());
  const auto next = [&](std::string_view piece) {
    std::vector<AnswerEvent> events;
    parser.push(piece, events);
    std::string out;
    for (const AnswerEvent& e : events) {
      if (e.kind == AnswerEvent::Kind::tool_begin) out += "begin ";
      if (e.kind == AnswerEvent::Kind::tool_end) out += " end";
      out += e.text;
    }
    return out;
  };
  EXPECT_EQ(next("Yes.\n\n"), "Yes.");
  EXPECT_EQ(next("<tool_call>\n<function=get_weather"), "");
  EXPECT_EQ(next(">"), "begin get_weather");
  EXPECT_EQ(next("\n<parameter=city>"), "{\"city\": \"");
  EXPECT_EQ(next("\nNew"), "New");
  EXPECT_EQ(next(" York\n"), " York");
  EXPECT_EQ(next("</para"), "");
  EXPECT_EQ(next("meter>\n"), "");
  EXPECT_EQ(next("<parameter="), "\"");
  EXPECT_EQ(next("days>\n1"), ", \"days\": ");
  EXPECT_EQ(next("2\n</parameter>\n</function>"), "12} end");
  EXPECT_EQ(next("\n</tool_call>\n"), "");
  EXPECT_EQ(next("So"), "So");
}

TEST(ToolStream, TextIsNotHeldLongerThanItMustBe) {
  AnswerParser parser(with_tools(true));
  std::vector<AnswerEvent> events;
  parser.push("a thought", events);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].text, "a thought");
  events.clear();
  parser.push("\n", events);
  EXPECT_TRUE(events.empty());
  parser.push("more", events);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].text, "\nmore");
}

TEST(ToolStream, WithoutToolsWhiteSpaceDoesNotWait) {
  AnswerParser parser({});
  std::vector<AnswerEvent> events;
  parser.push("text \n", events);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].text, "text \n");
}

// --- other dialects, §13.6

TEST(HermesCall, IsACall) {
  const auto a = whole(
      "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"P} <x\", "
      "\"days\": \"3\", \"big\": 123456789012345678901234567890}}\n</tool_call>\n");
  ASSERT_EQ(a.calls.size(), 1u);
  EXPECT_EQ(a.calls[0].name, "get_weather");
  EXPECT_EQ(a.calls[0].arguments,
            R"({"city": "P} <x", "days": 3, "big": 123456789012345678901234567890})");
  EXPECT_EQ(a.content, "");
}

TEST(HermesCall, TakesArgumentsAsTextAndPythonsSpelling) {
  EXPECT_EQ(arguments(R"(<tool_call>{"name": "now", "arguments": "{\"x\": 1}"}</tool_call>)"),
            R"({"x": 1})");
  EXPECT_EQ(arguments("<tool_call>{'name': 'now', 'arguments': {'x': None}}</tool_call>"),
            R"({"x": null})");
  EXPECT_EQ(arguments(R"(<tool_call>{"name": "now"})"), "{}");
}

TEST(HermesCall, WhatIsNoneIsContent) {
  for (const char* text :
       {"<tool_call>{\"name\": 3}</tool_call>",
        "<tool_call>{\"name\": \"now\", \"arguments\": [1]}", "<tool_call>{\"name\": \"now\"",
        "<tool_call>{oops</tool_call>", "<tool_call>[1]</tool_call>",
        "<tool_call>\n<terminal_command>\nls\n</terminal_command>\n</tool_call>"})
    EXPECT_EQ(whole(text).content, text);
}

// --- hostile answers

TEST(HostileAnswer, NothingIsEvaluated) {
  for (const char* value : {"__import__('os').system('id')", "[__import__('os')]", "{1: open('x')}",
                            "(lambda: 1)()", "[1 for _ in '12']"})
    EXPECT_EQ(arguments(call_text("get_weather", parameter("tags", value))),
              to_json(json::object{{"tags", value}}));
}

TEST(HostileAnswer, LongOnesOfEveryKindAreRead) {
  // Each would take a quadratic parser minutes.
  const std::string begin = "<tool_call>\n<function=get_weather>\n<parameter=city>\n";
  for (const std::string& part :
       {std::string("<"), std::string("</parameter>"), std::string("</parameter>\n"),
        std::string("\n</function>\n"), std::string("<tool_call>"), std::string("<tool_call>{"),
        std::string("\n<function="), std::string("\n<parameter="), std::string("\n"),
        std::string("</think>"), std::string("<tool_call>\n<function=now>"),
        std::string("<tool_call>{\"name\":\""), std::string("[")}) {
    std::string text;
    while (text.size() < 300'000) text += part;
    for (const std::string& head :
         {std::string(), begin, begin + "</parameter>\n<parameter=tags>\n"}) {
      const Streamed one = parse_pieces(head + text, false, with_tools(), [] { return 1; });
      EXPECT_EQ(one, parse_whole(head + text, with_tools())) << part;
    }
  }
}

}  // namespace
}  // namespace octet::serve
