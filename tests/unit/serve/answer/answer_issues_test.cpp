// What other servers got wrong, by the reports that describe it.
#include <gtest/gtest.h>

#include "parse_pieces.h"

namespace octet::serve {
namespace {

ParsedAnswer whole(const std::string& text, bool in_reasoning = false) {
  return parse_answer(text, false, with_tools(in_reasoning));
}

std::string first_arguments(const std::string& text) {
  const ParsedAnswer a = whole(text);
  return a.calls.empty() ? "no call: " + a.content : a.calls[0].arguments;
}

const std::string kCall =
    "<tool_call>\n<function=write_file>\n<parameter=path>\na.py\n</parameter>\n<parameter=text>\n"
    "print('x')\n\nprint('y')\n</parameter>\n<parameter=overwrite>\ntrue\n</parameter>\n"
    "</function>\n</tool_call>";
const std::string kArguments =
    R"json({"path": "a.py", "text": "print('x')\n\nprint('y')", "overwrite": true})json";

// The prompt closed the think block, so the answer is none of it, whatever the request asked for.
TEST(AnswerIssues, AnswerAfterAClosedBlockIsContent_vllm_53284) {
  const auto a = whole("The answer is 4.");
  EXPECT_EQ(a.content, "The answer is 4.");
  EXPECT_EQ(a.reasoning, "");
}

TEST(AnswerIssues, ArgumentsComeAsTheyAreWritten_vllm_30439) {
  AnswerParser parser(with_tools());
  int fragments = 0;
  for (const char c : kCall) {
    std::vector<AnswerEvent> events;
    parser.push(std::string_view(&c, 1), events);
    for (const auto& e : events) fragments += e.kind == AnswerEvent::Kind::tool_arguments;
  }
  EXPECT_GT(fragments, 25);  // every character of the strings by itself
}

TEST(AnswerIssues, BurstsLoseNoFragment_vllm_40861) {
  for (std::size_t burst = 1; burst <= 64; ++burst) {
    const Streamed s = parse_pieces(kCall, false, with_tools(), [&] { return burst; });
    ASSERT_EQ(s.calls.size(), 1u);
    EXPECT_EQ(s.calls[0].arguments, kArguments) << burst;
    EXPECT_TRUE(s.calls[0].ended);
  }
}

// A call that ends has its end told, so that finish_reason can be tool_calls.
TEST(AnswerIssues, TheEndOfACallIsTold_vllm_27572) {
  for (const std::string& text : {kCall, kCall.substr(0, kCall.find("</tool_call>")),
                                  kCall.substr(0, kCall.find("</function>"))}) {
    const Streamed s = parse_pieces(text, false, with_tools(), [] { return 1; });
    ASSERT_EQ(s.calls.size(), 1u);
    EXPECT_TRUE(s.calls[0].ended) << text;
  }
}

TEST(AnswerIssues, NoCallIsCountedWhereNoneIsReturned_vllm_53255) {
  for (const char* text : {"<tool_call>\n</tool_call>", "<tool_call>", "<tool_call>\n<function=",
                           "<tool_call>{}</tool_call>"}) {
    AnswerParser parser(with_tools());
    std::vector<AnswerEvent> events;
    parser.push(text, events);
    parser.finish(false, events);
    EXPECT_EQ(parser.calls(), 0) << text;
    EXPECT_EQ(whole(text).content, text);
  }
}

// A call is announced once, by its name, before any of its arguments.
TEST(AnswerIssues, ACallIsAnnouncedOnce_vllm_16340) {
  AnswerParser parser(with_tools());
  std::vector<AnswerEvent> events;
  for (const char c : kCall + kCall) parser.push(std::string_view(&c, 1), events);
  int begun = 0, ended = 0;
  for (const auto& e : events) {
    if (e.kind == AnswerEvent::Kind::tool_begin) {
      EXPECT_EQ(e.call, begun++);
      EXPECT_EQ(e.text, "write_file");
    } else if (e.kind == AnswerEvent::Kind::tool_end) {
      EXPECT_EQ(e.call, ended++);
    } else {
      EXPECT_EQ(e.call, begun - 1);
    }
  }
  EXPECT_EQ(begun, 2);
  EXPECT_EQ(ended, 2);
}

std::string weather(const std::string& key, const std::string& value) {
  return "<tool_call>\n<function=get_weather>\n<parameter=" + key + ">\n" + value +
         "\n</parameter>\n</function>\n</tool_call>";
}

TEST(AnswerIssues, NumbersStayNumbers_vllm_23324) {
  EXPECT_EQ(first_arguments(weather("days", "3")), R"({"days": 3})");
  EXPECT_EQ(first_arguments(weather("days", "3.0")), R"({"days": 3})");
}

TEST(AnswerIssues, ListsAreNoTextOfLists_vllm_23099) {
  EXPECT_EQ(first_arguments(weather("tags", "[\"a\", \"b\"]")), R"({"tags": ["a", "b"]})");
  EXPECT_EQ(first_arguments(weather("tags", "['a', 'b']")), R"({"tags": ["a", "b"]})");
}

TEST(AnswerIssues, UnionsWithNull_vllm_37829) {
  EXPECT_EQ(first_arguments(weather("units", "null")), R"({"units": null})");
  EXPECT_EQ(first_arguments(weather("units", "metric")), R"({"units": "metric"})");
  EXPECT_EQ(first_arguments(weather("city", "null")), R"({"city": "null"})");
  EXPECT_EQ(first_arguments(weather("city", "12")), R"({"city": "12"})");
}

TEST(AnswerIssues, OneParserForStreamAndWhole_club_3090_145) {
  EXPECT_EQ(first_arguments(kCall), kArguments);
  const Streamed s = parse_pieces(kCall, false, with_tools(), [] { return 1; });
  ASSERT_EQ(s.calls.size(), 1u);
  EXPECT_EQ(s.calls[0].arguments, kArguments);
}

// Thinking is told apart from the first token on: whatever key it is sent under, it is not silence.
TEST(AnswerIssues, ThinkingIsSentWhileItLasts_club_3090_97) {
  AnswerParser parser(with_tools(true));
  for (const char* piece : {"One", " two", " three"}) {
    std::vector<AnswerEvent> events;
    parser.push(piece, events);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].kind, AnswerEvent::Kind::reasoning);
    EXPECT_EQ(events[0].text, piece);
  }
}

TEST(AnswerIssues, DoubledParameterClose_llama_cpp_24807) {
  EXPECT_EQ(first_arguments("<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n"
                            "</parameter>\n</parameter>\n<parameter=days>\n3\n</parameter>"
                            "</parameter>\n</parameter>\n</function>\n</tool_call>"),
            R"({"city": "Paris", "days": 3})");
}

TEST(AnswerIssues, FormatDriftIsContent_ollama_16383) {
  for (const char* text :
       {"<function_invocation>\n<name>now</name>\n</function_invocation>",
        "<tool_call>\n<function_invocation name=\"now\">\n</function_invocation>\n</tool_call>",
        "<terminal_command>\nls -la\n</terminal_command>", "</tool_call>", "</function>\n",
        "<parameter=x>\n1\n</parameter>", "<tool_call>\n<function now>\n</function>\n</tool_call>"}) {
    const auto a = whole(text);
    EXPECT_EQ(a.content, text);
    EXPECT_TRUE(a.calls.empty());
  }
  const auto unknown = whole("<tool_call>\n<function=invented>\n</function>\n</tool_call>");
  ASSERT_EQ(unknown.calls.size(), 1u);
  EXPECT_EQ(unknown.calls[0].name, "invented");
}

TEST(AnswerIssues, CallsWithoutTheirWrapperAreNotLost_ollama_16810) {
  const auto a = whole("I'll write it.\n\n" + kCall.substr(std::string("<tool_call>\n").size()));
  ASSERT_EQ(a.calls.size(), 1u);
  EXPECT_EQ(a.calls[0].arguments, kArguments);
  EXPECT_EQ(a.content, "I'll write it.");
}

TEST(AnswerIssues, CallsInsideThinkingAreNotLost_ollama_15098) {
  const auto a = whole("I need to write the file.\n" + kCall, true);
  EXPECT_EQ(a.reasoning, "I need to write the file.");
  ASSERT_EQ(a.calls.size(), 1u);
  EXPECT_EQ(a.calls[0].arguments, kArguments);
}

TEST(AnswerIssues, OnOneLine_qwen3_coder_480) {
  EXPECT_EQ(first_arguments("<tool_call><function=get_weather><parameter=city>Paris</parameter>"
                            "<parameter=days>3</parameter></function></tool_call>"),
            R"({"city": "Paris", "days": 3})");
}

TEST(AnswerIssues, ParameterClosedByItsFunction_rkllama_168) {
  EXPECT_EQ(first_arguments("<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n"
                            "</function>\n</tool_call>"),
            R"({"city": "Paris"})");
}

TEST(AnswerIssues, HermesForm_rapid_mlx_171) {
  EXPECT_EQ(first_arguments("<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "
                            "\"Paris\", \"days\": 3}}\n</tool_call>"),
            R"({"city": "Paris", "days": 3})");
}

}  // namespace
}  // namespace octet::serve
