// Whatever the pieces that an answer comes in, what a client has at the end is the same: as a
// stream, and as a whole.
#include <random>

#include "answer_corpus.h"
#include "parse_pieces.h"

namespace octet::serve {
namespace {

std::vector<AnswerParserOptions> variants() {
  std::vector<AnswerParserOptions> out;
  for (int bits = 0; bits < 16; ++bits) {
    AnswerParserOptions o = with_tools((bits & 1) != 0);
    o.parse_reasoning = (bits & 2) == 0;
    o.parse_tools = (bits & 4) == 0;
    o.parallel_tool_calls = (bits & 8) == 0;
    out.push_back(o);
  }
  return out;
}

void expect_same_for_any_cut(const std::string& text, const AnswerParserOptions& options,
                             std::mt19937& random, int rounds) {
  for (const bool truncated : {false, true}) {
    const Streamed whole = parse_whole(text, options, truncated);
    ASSERT_EQ(parse_pieces(text, truncated, options, [] { return 1; }), whole) << text;
    for (int i = 0; i < rounds; ++i) {
      const std::size_t most = 1 + random() % 12;
      ASSERT_EQ(parse_pieces(text, truncated, options, [&] { return 1 + random() % most; }), whole)
          << text;
    }
    // As a whole: the same, but that an open call is content.
    const ParsedAnswer parsed = parse_answer(text, truncated, options);
    EXPECT_EQ(parsed.reasoning, whole.reasoning);
    ASSERT_EQ(parsed.calls.size(), whole.calls.size() - (whole.open.empty() ? 0 : 1)) << text;
    for (std::size_t i = 0; i < parsed.calls.size(); ++i) {
      EXPECT_TRUE(whole.calls[i].ended) << text;
      EXPECT_EQ(parsed.calls[i].name, whole.calls[i].name);
      EXPECT_EQ(parsed.calls[i].arguments, whole.calls[i].arguments);
      EXPECT_TRUE(parse_json(parsed.calls[i].arguments, text).is_object()) << text;
    }
    EXPECT_TRUE(parsed.content.starts_with(whole.content)) << text;
    EXPECT_EQ(parsed.content.size() > whole.content.size(), !whole.open.empty()) << text;
  }
}

TEST(AnswerCuts, CorpusInAnyPieces) {
  std::mt19937 random(3);
  for (const AnswerParserOptions& options : variants())
    for (const std::string& text : answer_corpus())
      expect_same_for_any_cut(text, options, random, 12);
}

TEST(AnswerCuts, EveryPrefixOfTheCorpus) {
  std::mt19937 random(4);
  for (const bool thinking : {false, true})
    for (const std::string& text : answer_corpus())
      for (std::size_t n = 0; n < text.size(); ++n)
        if ((static_cast<unsigned char>(text[n]) & 0xC0) != 0x80)
          expect_same_for_any_cut(text.substr(0, n), with_tools(thinking), random, 1);
}

// What a client has got stays true: a stream's text only grows, for every answer that goes on.
TEST(AnswerCuts, WhatWasSentStays) {
  for (const std::string& text : answer_corpus()) {
    AnswerParser parser(with_tools());
    Streamed before;
    for (std::size_t i = 0; i < text.size(); ++i) {
      std::vector<AnswerEvent> events;
      parser.push(text.substr(i, 1), events);
      add_events(before, events);
    }
    const Streamed whole = parse_whole(text, with_tools());
    EXPECT_TRUE(whole.content.starts_with(before.content)) << text;
    EXPECT_LE(before.calls.size(), whole.calls.size()) << text;
    for (std::size_t i = 0; i < before.calls.size(); ++i)
      EXPECT_TRUE(whole.calls[i].arguments.starts_with(before.calls[i].arguments)) << text;
  }
}

// Tags, their parts and text in any order.
TEST(AnswerCuts, RandomMixtures) {
  static const char* const kParts[] = {"<tool_call>",
                                       "</tool_call>",
                                       "<function=now>",
                                       "<function=get_weather>",
                                       "<function=",
                                       "</function>",
                                       "<parameter=city>",
                                       "<parameter=days>",
                                       "<parameter=x>",
                                       "</parameter>",
                                       "<think>",
                                       "</think>",
                                       "\n",
                                       "\n",
                                       " ",
                                       "text",
                                       "3",
                                       "<",
                                       ">",
                                       "/",
                                       "{\"name\": \"now\"}",
                                       "{",
                                       "}",
                                       "\"",
                                       "\\",
                                       "\xc3\xa9"};
  std::mt19937 random(5);
  const auto options = variants();
  for (int round = 0; round < 4000; ++round) {
    std::string text;
    for (std::size_t n = random() % 40; n > 0; --n) text += kParts[random() % std::size(kParts)];
    expect_same_for_any_cut(text, options[random() % options.size()], random, 2);
  }
}

}  // namespace
}  // namespace octet::serve
