#include <gtest/gtest.h>

#include "serve/answer/chat_prompt.h"
#include "serve/http/error_body.h"
#include "support/support.h"

namespace octet::serve {
namespace {

std::string normalized(const std::string& messages, bool strict = false,
                       ContentForm form = ContentForm::text) {
  return to_json(normalize_messages(parse_json(messages, "test").as_array(), strict, form));
}
std::string in_parts(const std::string& messages) {
  return normalized(messages, false, ContentForm::parts);
}

// The path that is refused.
std::string refused(const std::string& messages, bool strict = false) {
  try {
    normalized(messages, strict);
  } catch (const HttpError& e) {
    EXPECT_EQ(e.status(), 400);
    return e.param();
  }
  return "accepted";
}

std::string refused_user(const std::string& content) {
  return refused(R"([{"role": "user", "content": )" + content + "}]");
}
std::string refused_assistant(const std::string& fields) {
  return refused(R"([{"role": "user", "content": "a"}, {"role": "assistant", )" + fields + "}]");
}

TEST(ChatMessages, NamesWhatIsWrong) {
  EXPECT_EQ(refused("[]"), "messages");
  EXPECT_EQ(refused("[1]"), "messages[0]");
  EXPECT_EQ(refused("[{}]"), "messages[0].role");
  EXPECT_EQ(refused(R"([{"role": 1}])"), "messages[0].role");
  EXPECT_EQ(refused(R"([{"role": "function", "content": ""}])"), "messages[0].role");
  EXPECT_EQ(refused(R"([{"role": "USER", "content": ""}])"), "messages[0].role");
  EXPECT_EQ(refused(R"([{"role": "user"}])"), "messages[0].content");
  EXPECT_EQ(refused(R"([{"role": "user", "content": "a"}, {"role": "tool"}])"),
            "messages[1].content");
  EXPECT_EQ(refused(R"([{"role": "user", "content": "a", "name": 3}])"), "messages[0].name");
  EXPECT_EQ(refused(R"([{"role": "user", "content": "a"},
                        {"role": "tool", "content": "a", "tool_call_id": 3}])"),
            "messages[1].tool_call_id");
  EXPECT_EQ(refused_user("3"), "messages[0].content");
  EXPECT_EQ(refused_user("{}"), "messages[0].content");
  EXPECT_EQ(refused_user(R"(["a"])"), "messages[0].content[0]");
  EXPECT_EQ(refused_user(R"([{"text": "a"}])"), "messages[0].content[0].type");
  EXPECT_EQ(refused_user(R"([{"type": "text", "text": "a"}, {"type": "file"}])"),
            "messages[0].content[1].type");
  EXPECT_EQ(refused_user(R"([{"type": "text"}])"), "messages[0].content[0].text");
  EXPECT_EQ(refused_user(R"([{"type": "text", "text": null}])"), "messages[0].content[0].text");
  EXPECT_EQ(refused_user(R"([{"type": "input_audio", "input_audio": {}}])"),
            "messages[0].content[0].type");
  EXPECT_EQ(refused_user(R"([{"type": "image_embeds", "image_embeds": ""}])"),
            "messages[0].content[0].type");
  EXPECT_EQ(refused_assistant(R"("reasoning": 3)"), "messages[1].reasoning");
  EXPECT_EQ(refused_assistant(R"("reasoning_content": [])"), "messages[1].reasoning_content");
  EXPECT_EQ(refused_assistant(R"("function_call": {"name": "f"})"), "messages[1].function_call");
  EXPECT_EQ(refused_assistant(R"("tool_calls": {})"), "messages[1].tool_calls");
  EXPECT_EQ(refused_assistant(R"("tool_calls": [1])"), "messages[1].tool_calls[0]");
  EXPECT_EQ(refused_assistant(R"("tool_calls": [{}])"), "messages[1].tool_calls[0].function");
  EXPECT_EQ(refused_assistant(R"("tool_calls": [{"id": 1}])"), "messages[1].tool_calls[0].id");
  EXPECT_EQ(refused_assistant(R"("tool_calls": [{"type": "custom"}])"),
            "messages[1].tool_calls[0].type");
  EXPECT_EQ(refused_assistant(R"("tool_calls": [{"function": {"name": ""}}])"),
            "messages[1].tool_calls[0].function.name");
  for (const char* arguments : {"[]", "3", "\"[1]\"", "\"{\"", "\"nonsense\"", "\"{} x\""})
    EXPECT_EQ(refused_assistant(
                  R"("tool_calls": [{"function": {"name": "f", "arguments": "{}"}},
                     {"function": {"name": "f", "arguments": )" +
                  std::string(arguments) + "}}]"),
              "messages[1].tool_calls[1].function.arguments");
}

TEST(ChatMessages, PicturesAreRefusedWithTheirPlace) {
  for (const char* part :
       {R"({"type": "image_url", "image_url": {"url": "data:,"}})",
        R"({"type": "image_url", "image_url": "http://x/y.png"})",
        R"({"type": "video_url", "video_url": {"url": "x"}})", R"({"type": "image"})"}) {
    try {
      normalized(R"([{"role": "user", "content": [{"type": "text", "text": "a"}, )" +
                 std::string(part) + "]}]");
      ADD_FAILURE() << part;
    } catch (const HttpError& e) {
      EXPECT_EQ(e.param(), "messages[0].content[1]");
      EXPECT_NE(std::string(e.what()).find("this server has no vision"), std::string::npos);
    }
  }
}

// What a client sent comes back shortened, however long it is.
TEST(ChatMessages, ErrorsAreShort) {
  try {
    normalized(R"([{"role": ")" + std::string(1'000'000, 'x') + "\"}]");
    ADD_FAILURE();
  } catch (const HttpError& e) {
    EXPECT_LT(std::string(e.what()).size(), 300u);
  }
}

TEST(ChatMessages, PartsAreLinesOfAString) {
  EXPECT_EQ(normalized(R"([{"role": "user", "content": [{"type": "text", "text": "a"},
                           {"type": "refusal", "refusal": "b"}, {"type": "text", "text": "c"}]}])"),
            R"([{"role": "user", "content": "a\nb\nc"}])");
  EXPECT_EQ(normalized(R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": [
                           {"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}]}])"),
            R"([{"role": "user", "content": "q"}, )"
            R"({"role": "assistant", "content": "a", "reasoning_content": "t"}])");
  EXPECT_EQ(normalized(R"([{"role": "user", "content": []}])"),
            R"([{"role": "user", "content": ""}])");
}

TEST(ChatMessages, DeveloperIsSystem) {
  EXPECT_EQ(
      normalized(R"([{"role": "developer", "content": "s"}, {"role": "user", "content": "u"}])"),
      R"([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])");
}

TEST(ChatMessages, SystemMessagesAtTheBeginningBecomeOne_vllm_41114) {
  EXPECT_EQ(
      normalized(R"([{"role": "system", "content": "a"}, {"role": "developer", "content": "b"},
                           {"role": "system", "content": " "}, {"role": "user", "content": "u"}])"),
      R"([{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "u"}])");
}

// hermes-agent#20866, dify#39275, mastra#15764: agents send them anywhere.
TEST(ChatMessages, LaterSystemMessagesStayWhereTheyAre_qwen3_8_186) {
  EXPECT_EQ(normalized(R"([{"role": "system", "content": "a"}, {"role": "user", "content": "u"},
                           {"role": "system", "content": "late"}, {"role": "system", "content": ""},
                           {"role": "assistant", "content": "x"}])"),
            R"([{"role": "system", "content": "a"}, {"role": "user", "content": "u"}, )"
            R"({"role": "user", "content": "<system-reminder>\nlate\n</system-reminder>"}, )"
            R"({"role": "assistant", "content": "x"}])");
  EXPECT_EQ(normalized(R"([{"role": "user", "content": "u"}, {"role": "system", "content": "s"}])"),
            R"([{"role": "user", "content": "u"}, )"
            R"({"role": "user", "content": "<system-reminder>\ns\n</system-reminder>"}])");
}

TEST(ChatMessages, AHistoryWithoutAQuestionGetsAnEmptyOne) {
  EXPECT_EQ(
      normalized(R"([{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}])"),
      R"([{"role": "system", "content": "s"}, {"role": "user", "content": ""}, )"
      R"({"role": "assistant", "content": "a"}])");
  EXPECT_EQ(normalized(R"([{"role": "tool", "content": "r"}, {"role": "user", "content": "u"}])"),
            R"([{"role": "user", "content": ""}, {"role": "tool", "content": "r"}, )"
            R"({"role": "user", "content": "u"}])");
  EXPECT_EQ(
      refused(R"([{"role": "system", "content": "s"}, {"role": "developer", "content": "t"}])"),
      "messages");
}

TEST(ChatMessages, Calls) {
  EXPECT_EQ(
      normalized(R"([{"role": "user", "content": "u"}, {"role": "assistant", "content": "",
      "reasoning": "r", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [1.0]}"}},
        {"function": {"name": "g", "arguments": {"b": 2}}},
        {"function": {"name": "h", "arguments": " "}}, {"function": {"name": "i"}}]},
      {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]}])"),
      R"([{"role": "user", "content": "u"}, {"role": "assistant", "content": null, )"
      R"("reasoning": "r", "tool_calls": [)"
      R"({"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": [1.0]}}}, )"
      R"({"function": {"name": "g", "arguments": {"b": 2}}}, )"
      R"({"function": {"name": "h", "arguments": {}}}, )"
      R"({"function": {"name": "i", "arguments": {}}}], "reasoning_content": "r"}, )"
      R"({"role": "tool", "tool_call_id": "c", "content": "r"}])");
  EXPECT_EQ(normalized(R"([{"role": "user", "content": "u"},
                           {"role": "assistant", "content": null, "tool_calls": []}])"),
            R"([{"role": "user", "content": "u"}, {"role": "assistant", "content": ""}])");
}

TEST(ChatMessages, LongIntegersKeepTheirDigits) {
  const json::array messages = normalize_messages(
      parse_json(
          R"([{"role": "user", "content": "u"}, {"role": "assistant", "tool_calls": [{"function":
        {"name": "f", "arguments": "{\"n\": 123456789012345678901234567890, \"x\": 1.5}"}}]}])",
          "test")
          .as_array(),
      false);
  const auto rendered =
      chat_template::ChatTemplate::load(test::tiny_model()).render(messages, {}, {});
  EXPECT_NE(rendered.find("<parameter=n>\n123456789012345678901234567890\n</parameter>"),
            std::string::npos);
  EXPECT_NE(rendered.find("<parameter=x>\n1.5\n</parameter>"), std::string::npos);
}

TEST(ChatMessages, PartsReachATemplateThatTakesThem) {
  const std::string a = R"([{"type": "text", "text": "a"}])";
  EXPECT_EQ(in_parts(R"([{"role": "user", "content": "a"}])"),
            R"([{"role": "user", "content": )" + a + "}]");
  EXPECT_EQ(in_parts(R"([{"role": "user", "content": [{"type": "text", "text": "a", "x": 1},
                          {"type": "refusal", "refusal": "b"}]}])"),
            R"([{"role": "user", "content": [{"type": "text", "text": "a"}, )"
            R"({"type": "text", "text": "b"}]}])");
  EXPECT_EQ(in_parts(R"([{"role": "system", "content": "s"}, {"role": "developer", "content": "t"},
                         {"role": "user", "content": []}, {"role": "system", "content": "late"}])"),
            R"([{"role": "system", "content": [{"type": "text", "text": "s\n\nt"}]}, )"
            R"({"role": "user", "content": []}, {"role": "user", "content": )"
            R"([{"type": "text", "text": "<system-reminder>\nlate\n</system-reminder>"}]}])");
  EXPECT_EQ(in_parts(R"([{"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}],
                          "tool_calls": [{"function": {"name": "f"}}]},
                         {"role": "tool", "content": "a"}])"),
            R"([{"role": "user", "content": [{"type": "text", "text": ""}]}, )"
            R"({"role": "assistant", "content": [], "tool_calls": )"
            R"([{"function": {"name": "f", "arguments": {}}}], "reasoning_content": "t"}, )"
            R"({"role": "tool", "content": )" +
                a + "}]");
}

// The model's template writes a string, and a list with the same text, alike: nothing depends on
// the form that a client chose.
TEST(ChatMessages, TheModelsTemplateMakesNoDifference) {
  const auto own = chat_template::ChatTemplate::load(test::tiny_model());
  const std::string messages = R"([{"role": "system", "content": "s"},
      {"role": "user", "content": [{"type": "text", "text": "u"}]},
      {"role": "assistant", "content": "", "reasoning": "r", "tool_calls": [
        {"function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
      {"role": "tool", "content": "t"}, {"role": "assistant", "content": null},
      {"role": "user", "content": ""}])";
  const auto rendered = [&](ContentForm form) {
    return own.render(normalize_messages(parse_json(messages, "test").as_array(), false, form), {},
                      {});
  };
  EXPECT_EQ(rendered(ContentForm::text), rendered(ContentForm::parts));
}

TEST(ContentForms, AreFoundOut) {
  const auto form = [](const std::string& source) {
    return find_content_form(chat_template::ChatTemplate::parse(source, "test"));
  };
  EXPECT_EQ(find_content_form(chat_template::ChatTemplate::load(test::tiny_model())),
            ContentForm::parts);
  const std::string each = "{% for message in messages %}<{{ message.role }}>";
  for (const char* text :
       {"{{ message['content'] }}", "{{ message.content | trim }}", "{{ message.content ~ '' }}",
        "{{ message['content'].strip() }}", "{{ message.content | tojson }}",
        "{{ 'x' + message['content'] }}", "{% for c in message.content %}{{ c }}{% endfor %}",
        "{% for c in message.content | list %}{{ c | string }}{% endfor %}", "nothing",
        "{{ raise_exception('no') }}"})
    EXPECT_EQ(form(each + text + "{% endfor %}"), ContentForm::text) << text;
  const std::string loop =
      "{% for c in content %}{% if c.type == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}";
  const std::vector<std::string> takers{
      "{% set content = message['content'] %}{% if content is string %}{{ content }}{% else %}" +
          loop + "{% endif %}",
      "{% set content = message.content %}" + loop,
      "{{ message.content | map(attribute='text') | join('') }}",
      "{{ message.content if message.content is string else message.content[0].text }}"};
  for (const std::string& parts : takers)
    EXPECT_EQ(form(each + parts + "{% endfor %}"), ContentForm::parts) << parts;
  EXPECT_EQ(form("{% macro show(content) %}" + loop + "{% endmacro %}" + each +
                 "{{ show(message.content) }}{% endfor %}"),
            ContentForm::parts);
  // Lists for users, strings for the others: a string is right for both.
  const std::string both =
      "{% if message.content is string %}{{ message.content }}{% else %}"
      "{{ message.content[0].text }}{% endif %}";
  EXPECT_EQ(form(each + "{% if message.role == 'user' %}" + both +
                 "{% else %}{{ message.content }}{% endif %}{% endfor %}"),
            ContentForm::text);
  // A role that it refuses in any form says nothing.
  EXPECT_EQ(
      form(each + "{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}" +
           both + "{% endfor %}"),
      ContentForm::parts);
  // What never ends is stopped.
  EXPECT_EQ(form("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" +
                 each + both + "{% endfor %}"),
            ContentForm::text);
}

TEST(ChatMessages, StrictRepairsNothing) {
  const std::string messages =
      R"([{"role": "user", "content": [{"type": "text", "text": "a"}]}, )"
      R"({"role": "developer", "content": "d"}, {"role": "system", "content": "s"}, )"
      R"({"role": "assistant", "content": "", "reasoning": "r"}])";
  EXPECT_EQ(normalized(messages, true, ContentForm::parts), messages);
  // Only what a template can't take.
  const std::string list = R"([{"type": "text", "text": "a"}])";
  std::string text = messages;
  EXPECT_EQ(normalized(messages, true), text.replace(text.find(list), list.size(), "\"a\""));
  EXPECT_EQ(refused(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f",
                        "arguments": {}}}]}])",
                    true),
            "messages[0].tool_calls[0].function.arguments");
  EXPECT_EQ(
      normalized(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f",
                           "arguments": "{}"}}]}])",
                 true),
      R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}])");
}

}  // namespace
}  // namespace octet::serve
