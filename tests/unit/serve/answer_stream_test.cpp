#include "serve/answer_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "support/support.h"

namespace octet::serve {
namespace {

using Kind = AnswerEvent::Kind;
using generate::TokenOutput;

const tokenizer::Tokenizer& tiny() {
  static const auto t = tokenizer::Tokenizer::load(test::tiny_model());
  return t;
}

AnswerStreamOptions options() {
  AnswerStreamOptions o;
  o.think_begin = tiny().find("<think>").value();
  o.think_end = tiny().find("</think>").value();
  o.eos_ids = {4040, 4042};
  return o;
}

// What a listener would have heard.
struct Heard {
  std::string reasoning, content;
  std::vector<std::pair<std::string, std::string>> calls;
  std::vector<std::int32_t> ids;
  std::vector<std::size_t> sizes;  // tokens of each piece
  bool mixed = false;

  AnswerStream::Emit emit() {
    return [this](const std::vector<AnswerEvent>& events, const std::vector<TokenOutput>& tokens) {
      bool thought = false, said = false;
      for (const AnswerEvent& e : events) {
        (e.kind == Kind::reasoning ? thought : said) = true;
        if (e.kind == Kind::reasoning) reasoning += e.text;
        if (e.kind == Kind::content) content += e.text;
        if (e.kind == Kind::tool_begin) calls.emplace_back(e.text, "");
        if (e.kind == Kind::tool_arguments) calls.back().second += e.text;
      }
      mixed = mixed || (thought && said);
      for (const TokenOutput& t : tokens) ids.push_back(t.id);
      sizes.push_back(tokens.size());
    };
  }
};

// Runs an answer through; returns how many tokens were taken before a stop string ended it.
struct Outcome {
  Heard heard;
  std::size_t taken = 0;
  std::int64_t reasoning_tokens = 0, calls = 0;
  std::optional<std::string> matched;
};
Outcome run(const std::vector<std::int32_t>& ids, AnswerStreamOptions o, bool truncated = false) {
  Outcome r;
  AnswerStream stream(tiny(), std::move(o), r.heard.emit());
  for (const std::int32_t id : ids) {
    ++r.taken;
    if (!stream.push({.id = id})) break;
  }
  stream.finish(truncated);
  r.reasoning_tokens = stream.reasoning_tokens();
  r.calls = stream.calls();
  r.matched = stream.matched();
  EXPECT_EQ(stream.tokens(), static_cast<std::int64_t>(r.taken));
  return r;
}

TEST(AnswerStream, PlainTextCarriesEveryToken) {
  AnswerStreamOptions o = options();
  o.parse = false;
  const auto ids = tiny().encode("Hello \xF0\x9F\xA6\x99 world");
  const Outcome r = run(ids, o);
  EXPECT_EQ(r.heard.content, "Hello \xF0\x9F\xA6\x99 world");
  EXPECT_EQ(r.heard.ids, ids);
}

TEST(AnswerStream, ThinkingThenContent) {
  AnswerStreamOptions o = options();
  o.parser.in_reasoning = true;
  const auto ids = tiny().encode("Hm, well\n</think>\n\nHello");
  const auto end = std::ranges::find(ids, o.think_end) - ids.begin();
  const Outcome r = run(ids, o);
  EXPECT_EQ(r.heard.reasoning, "Hm, well");
  EXPECT_EQ(r.heard.content, "Hello");
  EXPECT_FALSE(r.heard.mixed);
  EXPECT_EQ(r.heard.ids, ids);
  EXPECT_EQ(r.reasoning_tokens, end + 1);  // </think> included
}

TEST(AnswerStream, StopStringsCutTextAndTokens) {
  AnswerStreamOptions o = options();
  o.parse = false;
  o.stop = {"wor"};
  const auto ids = tiny().encode("Hello world and more");
  Outcome r = run(ids, o);
  EXPECT_EQ(r.heard.content, "Hello ");
  EXPECT_EQ(r.matched, "wor");
  EXPECT_LT(r.taken, ids.size());
  o.include_stop = true;
  EXPECT_EQ(run(ids, o).heard.content, "Hello wor");
  o.min_tokens = 1000;
  EXPECT_EQ(run(ids, o).heard.content, "Hello world and more");
}

TEST(AnswerStream, StopStringsInTheThinking) {
  AnswerStreamOptions o = options();
  o.parser.in_reasoning = true;
  o.stop = {"END"};
  const auto ids = tiny().encode("I say END now</think>\n\nYes END no");
  EXPECT_EQ(run(ids, o).heard.reasoning, "I say ");
  o.stop_in_reasoning = false;
  const Outcome r = run(ids, o);
  EXPECT_EQ(r.heard.reasoning, "I say END now");
  EXPECT_EQ(r.heard.content, "Yes ");
  EXPECT_EQ(r.matched, "END");
}

TEST(AnswerStream, StopTokensAreNoText) {
  AnswerStreamOptions o = options();
  o.parse = false;
  o.skip_special_tokens = false;
  auto ids = tiny().encode("Hello");
  const std::int32_t word = ids.back();
  ids.push_back(word);
  o.stop_token_ids = {word};
  o.ignore_eos = true;
  ids.insert(ids.begin(), 4042);
  const Outcome r = run(ids, o);

  EXPECT_EQ(r.heard.content.find("<|im_end|>"), std::string::npos);
  EXPECT_EQ(r.heard.ids, ids);
  o.include_stop = true;
  EXPECT_NE(run(ids, o).heard.content, r.heard.content);
}

constexpr const char* kCall =
    "Let me look.\n<tool_call>\n<function=f>\n<parameter=city>\nParis\n</parameter>\n"
    "</function>\n</tool_call>";

AnswerStreamOptions with_tool() {
  AnswerStreamOptions o = options();
  o.parser.parse_tools = true;
  o.parser.tools = {
      {"f", parse_json(R"({"type":"object","properties":{"city":{"type":"string"}}})", "t"),
       false}};
  return o;
}

TEST(AnswerStream, CallsAreTheSameAtOnceAndAsTheyCome) {
  for (const bool incremental : {true, false}) {
    AnswerStreamOptions o = with_tool();
    o.incremental = incremental;
    const auto ids = tiny().encode(kCall);
    const Outcome r = run(ids, o);
    EXPECT_EQ(r.heard.content, "Let me look.");
    ASSERT_EQ(r.heard.calls.size(), 1U);
    EXPECT_EQ(r.heard.calls[0].first, "f");
    EXPECT_EQ(r.heard.calls[0].second, R"({"city": "Paris"})");
    EXPECT_EQ(r.calls, 1);
    EXPECT_EQ(r.heard.ids, ids);
  }
}

// Nobody has seen it yet, so that a call that was cut off is text (serving.md §13.3 rule 9).
TEST(AnswerStream, ACallThatWasCutOffIsContentOfAWholeAnswer) {
  AnswerStreamOptions o = with_tool();
  o.incremental = false;
  auto ids = tiny().encode(kCall);
  ids.resize(ids.size() - 8);
  const Outcome r = run(ids, o, true);
  EXPECT_TRUE(r.heard.calls.empty());
  EXPECT_EQ(r.calls, 0);
  EXPECT_NE(r.heard.content.find("<function=f>"), std::string::npos);
}

// A call in the thinking ends it; what comes later is not thinking (serving.md §12.2).
// Messages and items follow each other: what is said after a call comes after it, at once, too.
TEST(AnswerStream, EventsKeepTheirOrderInAWholeAnswer) {
  AnswerStreamOptions o = options();
  o.parser.parse_tools = true;
  o.parser.tools = {{"f", nullptr, false}};
  o.incremental = false;
  std::string kinds;
  AnswerStream stream(tiny(), o, [&](const std::vector<AnswerEvent>& events, const auto&) {
    for (const AnswerEvent& e : events)
      kinds += e.kind == Kind::content ? 'c' : e.kind == Kind::tool_begin ? 'b' : '.';
  });
  for (const std::int32_t id :
       tiny().encode("Look:\n<tool_call>\n<function=f>\n</function>\n</tool_call>\nThat was it."))
    EXPECT_TRUE(stream.push({.id = id}));
  EXPECT_EQ(kinds, "");
  stream.finish(false);
  EXPECT_EQ(kinds, "cb..c");
}

TEST(AnswerStream, ACallWithoutTheEndOfThinking) {
  AnswerStreamOptions o = with_tool();
  o.parser.in_reasoning = true;
  const auto ids = tiny().encode(std::string("Hm. ") + kCall);
  const Outcome r = run(ids, o);
  EXPECT_EQ(r.calls, 1);
  EXPECT_LT(r.reasoning_tokens, static_cast<std::int64_t>(ids.size()));
  EXPECT_GT(r.reasoning_tokens, 0);
}

TEST(AnswerStream, IntervalGathersButFirstAndLastComeAtOnce) {
  AnswerStreamOptions o = options();
  o.parse = false;
  const auto ids = tiny().encode("one two three four five six seven eight nine ten");
  o.interval = 4;
  const Outcome r = run(ids, o);
  ASSERT_GE(r.heard.sizes.size(), 3U);
  EXPECT_EQ(r.heard.sizes.front(), 1U);
  for (std::size_t i = 1; i + 1 < r.heard.sizes.size(); ++i) EXPECT_EQ(r.heard.sizes[i], 4U);
  EXPECT_EQ(r.heard.ids, ids);
  EXPECT_EQ(r.heard.content, "one two three four five six seven eight nine ten");
}

// Whatever the tokens are: each comes out once and in order, nothing mixes, and the text is the
// same as it comes and at once.
TEST(AnswerStream, RandomTokens) {
  std::mt19937 random(7);
  const auto special = {tiny().find("<think>").value(), tiny().find("</think>").value(),
                        tiny().find("<tool_call>").value(), tiny().find("</tool_call>").value()};
  const auto pieces =
      tiny().encode("<function=f>\n<parameter=city>\nx\n</parameter>\n</function>\n");
  for (int round = 0; round < 400; ++round) {
    std::vector<std::int32_t> ids;
    while (ids.size() < 40) {
      const auto kind = random() % 4;
      if (kind == 0) ids.push_back(*(special.begin() + random() % 4));
      if (kind == 1) ids.push_back(static_cast<std::int32_t>(random() % 4000));
      if (kind == 2) ids.push_back(pieces[random() % pieces.size()]);
      if (kind == 3) ids.insert(ids.end(), pieces.begin(), pieces.end());
    }
    AnswerStreamOptions o = with_tool();
    o.parser.in_reasoning = random() % 2 == 0;
    o.interval = 1 + random() % 5;
    const Outcome steps = run(ids, o);
    EXPECT_EQ(steps.heard.ids, ids);
    EXPECT_FALSE(steps.heard.mixed);
    o.incremental = false;
    const Outcome whole = run(ids, o);
    EXPECT_EQ(whole.heard.ids, ids);
    EXPECT_EQ(whole.heard.reasoning, steps.heard.reasoning) << round;
    EXPECT_EQ(whole.heard.content, steps.heard.content) << round;
    EXPECT_EQ(whole.heard.calls, steps.heard.calls) << round;
    EXPECT_EQ(whole.reasoning_tokens, steps.reasoning_tokens);
  }
}

}  // namespace
}  // namespace octet::serve
