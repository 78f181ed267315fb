#include "generate/grammar/matcher.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "generate/grammar/sources.h"
#include "naive_recogniser.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t n) {
  return static_cast<std::size_t>(random() % n);
}

std::shared_ptr<const CompiledGrammar> compile(Rules rules,
                                               std::shared_ptr<const Vocabulary> vocabulary) {
  return CompiledGrammar::compile(std::move(rules), std::move(vocabulary));
}

std::shared_ptr<const Vocabulary> bytes_only() {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  tokens.emplace_back();  // 256: ends a text
  return std::make_shared<Vocabulary>(std::move(tokens), std::vector<std::int32_t>{256});
}

GrammarMatcher matcher(Rules rules) {
  return GrammarMatcher(compile(std::move(rules), bytes_only()));
}

// Whether the whole text is in the language.
bool matches(const GrammarMatcher& start, std::string_view text) {
  GrammarMatcher m = start;
  return m.accept_bytes(text) && m.may_end();
}

std::vector<std::uint32_t> mask_of(GrammarMatcher& m, std::int64_t size) {
  std::vector<std::uint32_t> mask(static_cast<std::size_t>((size + 31) / 32), 0xFFFFFFFF);
  m.fill_mask(mask);
  return mask;
}

bool bit(const std::vector<std::uint32_t>& mask, std::int32_t id) {
  return (mask[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) != 0;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    return e.what();
  }
  return "no error";
}

// A random part over a, b and the two bytes of an accented letter.
NodePtr random_node(Random& random, int depth, int rules) {
  const auto child = [&] { return random_node(random, depth - 1, rules); };
  switch (below(random, depth > 0 ? 11 : 4)) {
    case 0: {
      static constexpr const char* kLiterals[] = {"", "a", "b", "ab", "aab", "\xc3\xa9", "ba"};
      return literal(kLiterals[below(random, 7)]);
    }
    case 1: {
      static const std::vector<std::pair<std::uint32_t, std::uint32_t>> kClasses[] = {
          {{'a', 'b'}}, {{'b', 'b'}}, {{'a', 'a'}, {0xE9, 0xE9}}, {{0xC0, 0xFF}}, {}};
      return char_class(kClasses[below(random, 5)]);
    }
    case 2:
    case 3:
      return rule_ref(static_cast<std::int32_t>(below(random, static_cast<std::size_t>(rules))));
    case 4:
    case 5: {
      std::vector<NodePtr> children(below(random, 4));
      for (auto& c : children) c = child();
      return sequence(std::move(children));
    }
    case 6:
    case 7: {
      std::vector<NodePtr> children(1 + below(random, 3));
      for (auto& c : children) c = child();
      return choice(std::move(children));
    }
    case 8: {
      static constexpr const char* kWithout[] = {"", "a", "ab", "aba", "bb"};
      return text_without(kWithout[below(random, 5)]);
    }
    default: {
      const auto min = static_cast<std::int64_t>(below(random, 4));
      const auto more = below(random, 5);
      return repeat(child(), min, more == 4 ? kUnbounded : min + static_cast<std::int64_t>(more));
    }
  }
}

Rules random_rules(Random& random) {
  Rules rules;
  const int count = 1 + static_cast<int>(below(random, 4));
  for (int i = 0; i < count; ++i) rules.add(fmt::format("r{}", i));
  for (auto& rule : rules.rules) rule.body = random_node(random, 3, count);
  return rules;
}

// Shared parts, as sources make them.
Rules shared_rules(Random& random) {
  Rules rules = random_rules(random);
  const auto part = rules.rules.back().body;
  rules.rules[0].body =
      choice({rules.rules[0].body, sequence({part, literal("b"), part}), repeat(part, 1, 2)});
  return rules;
}

constexpr std::string_view kAlphabet = "ab\xc3\xa9";

void compare(GrammarMatcher& m, NaiveRecogniser& naive, std::string& text, int more, int& checked) {
  ++checked;
  naive.read(text);
  ASSERT_EQ(m.may_end(), naive.accepts) << testing::PrintToString(text);
  if (more == 0) return;
  bool any = false;
  for (const char c : kAlphabet) {
    text.push_back(c);
    naive.read(text);
    GrammarMatcher next = m;
    const bool accepted = next.accept_bytes(std::string(1, c));
    ASSERT_EQ(accepted, naive.viable) << testing::PrintToString(text);
    if (accepted) {
      any = true;
      compare(next, naive, text, more - 1, checked);
      if (testing::Test::HasFatalFailure()) return;
    }
    text.pop_back();
  }
  ASSERT_FALSE(m.ended() && any);
}

TEST(Matcher, AgreesWithTheDefinitionOnRandomGrammars) {
  int compared = 0, empty = 0, checked = 0;
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const Rules rules = seed % 3 == 0 ? shared_rules(random) : random_rules(random);
    NaiveRecogniser naive(rules);
    if (naive.empty_language()) {
      ++empty;
      EXPECT_THROW(compile(rules, bytes_only()), Error);
      continue;
    }
    ++compared;
    auto m = matcher(rules);
    std::string text;
    compare(m, naive, text, 4, checked);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(compared, 300);
  EXPECT_GT(empty, 10);
  EXPECT_GT(checked, 5000);
}

// Tokens of up to five bytes, whole characters or not.
std::vector<std::string> random_tokens(Random& random, std::string_view alphabet) {
  std::vector<std::string> tokens{""};
  for (const char c : alphabet) tokens.emplace_back(1, c);
  while (tokens.size() < 150) {
    std::string token;
    const auto length = 1 + below(random, 5);
    while (token.size() < length) token += alphabet[below(random, alphabet.size())];
    tokens.push_back(token);
  }
  tokens.emplace_back("</s>");
  return tokens;
}

void compare_masks(const Rules& rules, std::string_view alphabet, Random& random, int steps) {
  const auto tokens = random_tokens(random, alphabet);
  const auto stop = static_cast<std::int32_t>(tokens.size()) - 1;
  const auto vocabulary = std::make_shared<Vocabulary>(tokens, std::vector<std::int32_t>{stop});
  const auto grammar = compile(rules, vocabulary);
  for (int walk = 0; walk < 3; ++walk) {
    GrammarMatcher m(grammar);
    for (int step = 0; step < steps; ++step) {
      const auto mask = mask_of(m, vocabulary->size());
      std::vector<std::int32_t> allowed;
      for (std::int32_t id = 0; id < vocabulary->size(); ++id) {
        GrammarMatcher other = m;
        const bool may = other.accept(id);
        ASSERT_EQ(may, bit(mask, id)) << id << " " << tokens[static_cast<std::size_t>(id)];
        ASSERT_EQ(may, id == stop ? m.may_end()
                                  : !tokens[static_cast<std::size_t>(id)].empty() &&
                                        GrammarMatcher(m).accept_bytes(
                                            tokens[static_cast<std::size_t>(id)]));
        if (may && id != stop) allowed.push_back(id);
      }
      if (allowed.empty()) break;
      ASSERT_TRUE(m.accept(allowed[below(random, allowed.size())]));
    }
  }
}

TEST(Matcher, MasksAreWhatAcceptTakes) {
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const Rules rules = random_rules(random);
    if (NaiveRecogniser(rules).empty_language()) continue;
    compare_masks(rules, kAlphabet, random, 10);
    if (HasFatalFailure()) return;
  }
}

TEST(Matcher, MasksAreWhatAcceptTakesOnDeepStacks) {
  // Many closing brackets in one token look far below the stack's top.
  const char* const grammars[] = {
      R"(root ::= value
value ::= "[" (value ("," value)*)? "]" | "{" pair? "}" | "a"
pair ::= "b:" value)",
      R"(root ::= "[" root "]" | "{" root "}" root | "a"?)",
      R"(root ::= (("[" inner){2,7} "]"){1,9} ","
inner ::= [ab{}]{2,12} root?)",
      R"(root ::= root "," item | item
item ::= item "a" | "[" root "]" | "b")",
  };
  for (const auto* text : grammars)
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      SCOPED_TRACE(text);
      SCOPED_TRACE(seed);
      Random random(seed);
      compare_masks(parse_ebnf(text), "[[[{{]]}},ab:", random, 40);
      if (HasFatalFailure()) return;
    }
}

TEST(Matcher, CountersAreExactNearTheirLimits) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    compare_masks(parse_ebnf(R"(root ::= [ab]{9,30} "[" ("a" | "bb"){20,} "]")"), "abab[]", random,
                  60);
    if (HasFatalFailure()) return;
  }
}

TEST(Matcher, RollbackIsReplay) {
  Random random(7);
  const auto tokens = random_tokens(random, "[[{]}],ab");
  const auto vocabulary = std::make_shared<Vocabulary>(tokens, std::vector<std::int32_t>{});
  const auto grammar =
      compile(parse_ebnf(R"(root ::= ("[" root "]" | "{" root* "}" | [ab,]{1,40})+)"), vocabulary);
  GrammarMatcher m(grammar);
  std::vector<std::int32_t> taken;
  for (int step = 0; step < 3000; ++step) {
    if (below(random, 8) == 0) {
      const std::size_t most = step % 40 == 0 ? 16 : 2;
      const auto back = below(random, std::min(taken.size(), most) + 1);
      m.rollback(static_cast<int>(back));
      taken.resize(taken.size() - back);
      GrammarMatcher replay(grammar);
      for (const auto id : taken) ASSERT_TRUE(replay.accept(id));
      ASSERT_EQ(mask_of(m, vocabulary->size()), mask_of(replay, vocabulary->size()));
      ASSERT_EQ(m.may_end(), replay.may_end());
      // The rest of the 16 may be gone; start over with the full history.
      m = replay;
    }
    const auto id = static_cast<std::int32_t>(below(random, tokens.size()));
    if (m.accept(id)) taken.push_back(id);
  }
  EXPECT_GT(taken.size(), 20U);
  EXPECT_THROW(GrammarMatcher(grammar).rollback(1), Error);
}

TEST(Matcher, ARefusedTokenChangesNothing) {
  auto m = matcher(parse_ebnf("root ::= \"abc\""));
  ASSERT_TRUE(m.accept('a'));
  EXPECT_FALSE(m.accept('c'));
  EXPECT_FALSE(m.accept(256));
  EXPECT_FALSE(m.accept(-1));
  EXPECT_FALSE(m.accept(100000));
  EXPECT_FALSE(m.accept_bytes("bd"));
  EXPECT_TRUE(m.accept_bytes("bc"));
  EXPECT_TRUE(m.ended());
  m.rollback(1);
  EXPECT_TRUE(m.accept('a'));
}

TEST(Matcher, StopTokensComeWhereTheTextMayEndAndNothingComesAfter) {
  auto m = matcher(parse_ebnf("root ::= \"a\"+"));
  EXPECT_FALSE(bit(mask_of(m, 257), 256));
  ASSERT_TRUE(m.accept('a'));
  EXPECT_TRUE(bit(mask_of(m, 257), 256));
  EXPECT_TRUE(bit(mask_of(m, 257), 'a'));
  EXPECT_FALSE(m.ended());
  ASSERT_TRUE(m.accept(256));
  EXPECT_TRUE(m.ended());
  EXPECT_FALSE(m.accept('a'));
  EXPECT_FALSE(bit(mask_of(m, 257), 'a'));
  m.rollback(1);
  EXPECT_TRUE(m.accept('a'));
}

TEST(Matcher, AMaskOnlyClearsBits) {
  auto m = matcher(parse_ebnf("root ::= [a-c]"));
  std::vector<std::uint32_t> mask(10, 0);
  mask['b' / 32] |= 1U << ('b' % 32);
  m.fill_mask(mask);
  std::vector<std::uint32_t> expected(10, 0);
  expected['b' / 32] |= 1U << ('b' % 32);
  EXPECT_EQ(mask, expected);
  std::vector<std::uint32_t> small(3, 0xFFFFFFFF);
  EXPECT_THROW(m.fill_mask(small), Error);
}

TEST(Matcher, StopIdsWithTextAreNeverText) {
  const auto vocabulary = std::make_shared<Vocabulary>(std::vector<std::string>{"a", "<end>", "b"},
                                                       std::vector<std::int32_t>{1, 1});
  GrammarMatcher m(compile(parse_ebnf("root ::= \"<end>\"? \"a\""), vocabulary));
  EXPECT_EQ(mask_of(m, 3)[0], 1U);
  EXPECT_FALSE(m.accept(1));
  EXPECT_THROW(Vocabulary({"a"}, {1}), Error);
}

TEST(Matcher, PartsOfCharactersAreTokens) {
  const auto vocabulary = std::make_shared<Vocabulary>(
      std::vector<std::string>{
          "\xe2", "\x82", "\xac", "\x82\xac", "\xe2\x82", "\xac\xe2", "\xe2\x82\xac\xe2", "a\xe2",
          "\xac"
          "a",
          "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x98\x80"},
      std::vector<std::int32_t>{});
  // Any character: only what valid text can begin with.
  GrammarMatcher m(compile(parse_ebnf("root ::= [^b]*"), vocabulary));
  EXPECT_EQ(mask_of(m, 14)[0], 1U << 0 | 1U << 4 | 1U << 6 | 1U << 7 | 1U << 13);
  ASSERT_TRUE(m.accept(0));
  EXPECT_FALSE(m.may_end());
  EXPECT_EQ(mask_of(m, 14)[0], 1U << 1 | 1U << 2 | 1U << 3);
  ASSERT_TRUE(m.accept(1));
  EXPECT_EQ(mask_of(m, 14)[0], 1U << 1 | 1U << 2 | 1U << 5 | 1U << 8);
  ASSERT_TRUE(m.accept(5));
  EXPECT_FALSE(m.may_end());
  // The euro sign alone.
  GrammarMatcher euro(compile(parse_ebnf("root ::= [\\u20AC] \"a\""), vocabulary));
  EXPECT_EQ(mask_of(euro, 14)[0], 1U << 0 | 1U << 4);
  ASSERT_TRUE(euro.accept(4));
  EXPECT_EQ(mask_of(euro, 14)[0], 1U << 2 | 1U << 8);
}

TEST(Matcher, EveryCharacterOfAClassAndNoOther) {
  Random random(3);
  for (int round = 0; round < 12; ++round) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
    static constexpr std::uint32_t kEdges[] = {0,      0x7F,   0x80,   0x7FF,   0x800,
                                               0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF};
    for (int i = 0; i < 3; ++i) {
      const auto near = [&] {
        const auto c = kEdges[below(random, 10)] + below(random, 200);
        return static_cast<std::uint32_t>(std::min<std::size_t>(c, 0x10FFFF));
      };
      const auto a = near(), b = near();
      ranges.emplace_back(std::min(a, b), std::max(a, b));
    }
    Rules rules;
    const auto node = char_class(ranges, round % 2 == 1);
    rules.add("root", node);
    if (NaiveRecogniser(rules).empty_language()) continue;
    const auto m = matcher(rules);
    for (std::uint32_t c = 0; c <= 0x10FFFF; c += c < 0x1000 || c > 0x10F000 ? 1 : 37) {
      if (c >= 0xD800 && c <= 0xDFFF) continue;
      std::string bytes;
      tokenizer::append_utf8(bytes, c);
      const bool in = std::ranges::any_of(
          node->ranges, [&](const auto& r) { return c >= r.first && c <= r.second; });
      ASSERT_EQ(matches(m, bytes), in) << c;
    }
  }
}

TEST(Matcher, FreeTextStopsAtItsTrigger) {
  Rules rules;
  rules.add("root", sequence({text_without("<tool_call>"),
                              optional(sequence({literal("<tool_call>"), literal("x")}))}));
  const auto m = matcher(rules);
  EXPECT_TRUE(matches(m, ""));
  EXPECT_TRUE(matches(m, "a <tool <tool_cal> <<tool_call"));
  EXPECT_FALSE(matches(m, "a<tool_call>"));
  EXPECT_TRUE(matches(m, "a<<tool_call>x"));
  GrammarMatcher after = m;
  EXPECT_FALSE(after.accept_bytes("a<tool_call>y"));
  EXPECT_FALSE(after.accept_bytes("\xc3("));
  EXPECT_FALSE(after.accept_bytes("\xed\xa0\x80"));
  ASSERT_TRUE(after.accept_bytes("\xc3"));
  EXPECT_FALSE(after.may_end());
}

TEST(Matcher, UndefinedAndEmptyRulesAreNamed) {
  Rules undefined;
  undefined.add("start", sequence({literal("a"), rule_ref(1)}));
  undefined.add("missing-one");
  EXPECT_NE(error_of([&] { compile(undefined, bytes_only()); }).find("missing-one"),
            std::string::npos);
  Rules number;
  number.add("start", rule_ref(7));
  EXPECT_NE(error_of([&] { compile(number, bytes_only()); }).find("rule 7 of 1"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              compile(parse_ebnf("root ::= \"a\" endless\nendless ::= \"b\" endless"),
                      bytes_only());
            }).find("endless"),
            std::string::npos);
  Rules surrogates;
  surrogates.add("only-surrogates", char_class({{0xD800, 0xDFFF}}));
  EXPECT_NE(error_of([&] { compile(surrogates, bytes_only()); }).find("only-surrogates"),
            std::string::npos);
  EXPECT_THROW(compile(Rules{}, bytes_only()), Error);
}

TEST(Matcher, WhatCantBeCompletedIsNotBegun) {
  // A token that leads into a dead end would leave the answer without any.
  auto m = matcher(parse_ebnf("root ::= \"a\" (\"x\" endless | \"y\")\nendless ::= \"b\" endless"));
  ASSERT_TRUE(m.accept_bytes("a"));
  EXPECT_FALSE(m.accept_bytes("x"));
  EXPECT_TRUE(m.accept_bytes("y"));
}

TEST(Matcher, LeftHiddenAndMutualRecursion) {
  const auto sums = matcher(parse_ebnf(R"(root ::= root "+" root | root "*" root | [0-9]+)"));
  EXPECT_TRUE(matches(sums, "1+22*3+4"));
  EXPECT_FALSE(matches(sums, "1+"));
  EXPECT_FALSE(GrammarMatcher(sums).accept_bytes("1++"));
  const auto hidden = matcher(parse_ebnf("root ::= (\"x\"? | \"\") root \"a\" | \"b\""));
  EXPECT_TRUE(matches(hidden, "baaa"));
  EXPECT_TRUE(matches(hidden, "xxbaa"));
  EXPECT_FALSE(matches(hidden, "xxba"));
  const auto mutual =
      matcher(parse_ebnf("root ::= other \"a\" | \"c\"\nother ::= root \"b\" | root"));
  EXPECT_TRUE(matches(mutual, "cabaa"));
  EXPECT_FALSE(matches(mutual, "cb"));
  const auto circle = matcher(parse_ebnf("root ::= a\na ::= b | \"x\"\nb ::= a | b b | \"\""));
  EXPECT_TRUE(matches(circle, ""));
  EXPECT_TRUE(matches(circle, "xxx"));
}

// Long answers must cost the same per byte as short ones, in lists written either way.
TEST(Matcher, LongTextsOfAmbiguousAndRecursiveRules) {
  const std::string as(200000, 'a');
  const char* const grammars[] = {
      "root ::= (\"a\"+)+ \"b\"",
      "root ::= \"a\" root | \"b\"",
      "root ::= list \"b\"\nlist ::= list \"a\" | \"\"",
      "root ::= ((\"a\"*)*)* \"b\"",
      "root ::= (\"a\"? \"a\"? \"a\"?)* \"b\"",
      "root ::= s \"b\"\ns ::= s s | \"a\" | \"\"",
      "root ::= x{0,} \"b\"\nx ::= \"a\" | \"aa\" | x x",
  };
  for (const auto* grammar : grammars) {
    SCOPED_TRACE(grammar);
    auto m = matcher(parse_ebnf(grammar));
    ASSERT_TRUE(m.accept_bytes(as));
    EXPECT_FALSE(m.may_end());
    ASSERT_TRUE(m.accept_bytes("b"));
    EXPECT_TRUE(m.ended());
  }
}

TEST(Matcher, LongExpressionsOfAnAmbiguousGrammar) {
  auto m = matcher(parse_ebnf(
      R"g(root ::= root ("+" | "*") root | root "-" root | "-" root | "(" root ")" | [0-9]+)g"));
  std::string text = "1";
  for (int i = 0; i < 20000; ++i) text += i % 3 == 0 ? "+22" : i % 3 == 1 ? "*-(3-4)" : "-5";
  ASSERT_TRUE(m.accept_bytes(text));
  EXPECT_TRUE(m.may_end());
  EXPECT_FALSE(m.accept_bytes(")"));
  EXPECT_FALSE(m.accept_bytes("+*"));
}

TEST(Matcher, CountsOfTensOfThousands) {
  auto m = matcher(parse_ebnf("root ::= [a-z]{10000} \"!\""));
  ASSERT_TRUE(m.accept_bytes(std::string(9999, 'x')));
  EXPECT_FALSE(m.accept_bytes("!"));
  ASSERT_TRUE(m.accept_bytes("x"));
  EXPECT_FALSE(m.accept_bytes("x"));
  EXPECT_TRUE(m.accept_bytes("!"));
  // Nested: a thousand times as much as could be written out.
  const auto nested = matcher(parse_ebnf("root ::= (([ab]{3,10000}){2,10000} \"c\"){1,10000}"));
  EXPECT_TRUE(matches(nested, std::string(6, 'a') + "c" + std::string(20, 'b') + "c"));
  EXPECT_FALSE(matches(nested, std::string(5, 'a') + "c"));
  // Both lengths at once: how often is not certain, but within a range.
  const auto loose = matcher(parse_ebnf("root ::= (\"a\" | \"aa\"){3000,10000}"));
  EXPECT_FALSE(matches(loose, std::string(2999, 'a')));
  EXPECT_TRUE(matches(loose, std::string(3000, 'a')));
  EXPECT_TRUE(matches(loose, std::string(20000, 'a')));
  EXPECT_FALSE(GrammarMatcher(loose).accept_bytes(std::string(20001, 'a')));
}

TEST(Matcher, TextsNestAsDeepAsTheLimitAndThenMustClose) {
  auto m = matcher(parse_ebnf("root ::= \"[\" root \"]\" | \"a\""));
  EXPECT_FALSE(m.accept_bytes(std::string(100000, '[')));
  ASSERT_TRUE(m.accept_bytes(std::string(10000, '[')));
  while (m.accept_bytes("[")) {
  }
  EXPECT_TRUE(bit(mask_of(m, 257), 'a'));
  EXPECT_FALSE(bit(mask_of(m, 257), '['));
  ASSERT_TRUE(m.accept_bytes("a"));
  while (m.accept_bytes("]")) {
  }
  EXPECT_TRUE(m.ended());
}

// Each byte would cost more than the last: beyond a bound, texts are refused.
TEST(Matcher, UnboundedAmbiguityIsRefusedNotFollowed) {
  const auto start = matcher(parse_ebnf("root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"\""));
  EXPECT_TRUE(matches(start, "abbaabba"));
  EXPECT_FALSE(matches(start, "abbaabbb"));
  GrammarMatcher m = start;
  int taken = 0;
  while (taken < 20000 && m.accept_bytes("a")) ++taken;
  EXPECT_GT(taken, 300);
  EXPECT_LT(taken, 20000);
}

// Hundreds of optional members in any selection: each stands behind a tail call of the one before.
TEST(Matcher, LongChainsOfOptionalParts) {
  std::string text = "root ::= \"{\" r0 \"}\"\n";
  constexpr int kParts = 4000;
  for (int i = 0; i < kParts; ++i)
    text += fmt::format("r{} ::= \"{}.\" r{} | r{}\n", i, i, i + 1, i + 1);
  text += fmt::format("r{} ::= \"\"", kParts);
  const auto m = matcher(parse_ebnf(text));
  EXPECT_TRUE(matches(m, "{}"));
  EXPECT_TRUE(matches(m, "{0.1.2.777.3998.3999.}"));
  EXPECT_FALSE(GrammarMatcher(m).accept_bytes("{3999.3998."));
}

// One call may not hold up those who use other grammars, nor may many calls of one text. (The
// limits count places, not time, so that this is the same on every machine.)
TEST(Matcher, WorkOfATextIsLimited) {
  std::string crossed = "root ::= r0\n";
  for (int i = 0; i < 300; ++i) {
    crossed += fmt::format("r{} ::= [a-z]", i);
    for (int k = 0; k < 12; ++k)
      crossed += fmt::format(" | [a-z] r{} [a-z]", (i * 7 + k * 13 + 1) % 300);
    crossed += "\n";
  }
  std::vector<std::string> tokens;
  for (char c = 'a'; c <= 'z'; ++c)
    for (std::size_t n = 1; n <= 16; ++n) tokens.emplace_back(n, c);
  const auto vocabulary = std::make_shared<Vocabulary>(tokens, std::vector<std::int32_t>{});
  const auto grammar = compile(parse_ebnf(crossed), vocabulary);
  GrammarMatcher m(grammar);
  const auto error = error_of([&] {
    for (int i = 0; i < 1000; ++i) {
      mask_of(m, vocabulary->size());
      ASSERT_TRUE(m.accept(static_cast<std::int32_t>(i % 26 * 16)));
    }
  });
  EXPECT_NE(error.find("the grammar leads to more places"), std::string::npos) << error;
  // The grammar is as good as before to others, and so are other grammars.
  EXPECT_TRUE(GrammarMatcher(grammar).accept_bytes("a"));
  GrammarMatcher easy(compile(parse_ebnf("root ::= [a-z]+"), vocabulary));
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(easy.accept(i % 400));
}

TEST(Matcher, CompilingHasLimits) {
  Rules rules;
  NodePtr node = literal("ab");
  for (int i = 0; i < 60; ++i) node = sequence({node, choice({node, literal("c")})});
  rules.add("root", node);  // 2^60 parts if written out
  EXPECT_TRUE(GrammarMatcher(compile(rules, bytes_only())).accept_bytes("abab"));
  std::vector<NodePtr> many;
  for (std::uint32_t i = 0; i < 100000; ++i)
    many.push_back(char_class({{i + 1, i + 1}, {i + 9, i + 9}}));
  Rules large;
  large.add("root", sequence(std::move(many)));
  EXPECT_NE(error_of([&] {
              CompiledGrammar::compile(large, bytes_only(), std::chrono::seconds(5), 1 << 20);
            }).find("1 MiB"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              CompiledGrammar::compile(large, bytes_only(), std::chrono::milliseconds(0));
            }).find("0 ms"),
            std::string::npos);
  NodePtr deep = literal("a");
  std::vector<NodePtr> alive;  // so that none is destroyed from within another
  for (int i = 0; i < 100000; ++i) alive.push_back(deep = optional(deep));
  Rules nested;
  nested.add("deep-one", deep);
  EXPECT_NE(error_of([&] { compile(nested, bytes_only()); }).find("deep-one"), std::string::npos);
  nested.rules.clear();
  deep.reset();
  while (!alive.empty()) alive.pop_back();
}

TEST(Matcher, AnEnumerationOfThousands) {
  std::vector<NodePtr> names;
  for (int i = 0; i < 30000; ++i) names.push_back(literal("name-" + std::to_string(i * 7)));
  Rules rules;
  rules.add("root", choice(std::move(names)));
  const auto m = matcher(rules);
  EXPECT_TRUE(matches(m, "name-7"));
  EXPECT_TRUE(matches(m, "name-77"));
  EXPECT_TRUE(matches(m, "name-209993"));
  EXPECT_FALSE(matches(m, "name-8"));
  EXPECT_FALSE(GrammarMatcher(m).accept_bytes("name-2099931"));
}

// A failure of one grammar must leave the others alone (vLLM 0.20: a bad one ended the engine).
TEST(Matcher, BadGrammarsBetweenGoodOnes) {
  const auto vocabulary = bytes_only();
  GrammarMatcher good(compile(parse_ebnf("root ::= \"[\" root* \"]\""), vocabulary));
  const char* const bad[] = {"root ::= (",         "root ::= root",        "x ::= \"a\"",
                             "root ::= \"a\" | b", "root ::= [z-a]",       "root ::= \"a\"{9,1}",
                             "\xff\xfe",           "root ::= \"\\ud800\"", ""};
  for (const auto* text : bad) {
    ASSERT_TRUE(good.accept('['));
    EXPECT_NE(error_of([&] { compile(parse_ebnf(text), vocabulary); }), "no error") << text;
    auto mask = mask_of(good, 257);
    EXPECT_TRUE(bit(mask, '[') && bit(mask, ']') && !bit(mask, 'a'));
    GrammarMatcher other(compile(parse_ebnf("root ::= \"a\""), vocabulary));
    EXPECT_TRUE(other.accept('a'));
  }
  ASSERT_TRUE(good.accept_bytes(std::string(std::size(bad), ']')));
  EXPECT_TRUE(good.ended());
}

// Caches that fill up start afresh; who is under way keeps his place and his history.
TEST(Matcher, MemoryIsBoundedWhileTextsGoOn) {
  const auto vocabulary = bytes_only();
  const auto grammar = compile(parse_ebnf("root ::= (a | b)*\na ::= \"[\" root \"]\"\nb ::= \"{\" "
                                          "root \"}\" | [a-z]{1,9000} \";\""),
                               vocabulary);
  GrammarMatcher waits(grammar);
  ASSERT_TRUE(waits.accept_bytes("[{[ab"));
  ASSERT_TRUE(waits.accept('c'));
  ASSERT_TRUE(waits.accept(';'));
  Random random(5);
  for (int text = 0; text < 40; ++text) {
    GrammarMatcher m(grammar);
    std::string open;
    for (int i = 0; i < 4000; ++i) {
      const char c = "[{x"[below(random, 3)];
      ASSERT_TRUE(m.accept_bytes(c == 'x' ? std::string("x;") : std::string(1, c)));
      if (c != 'x') open += c;
      if (i % 16 == 0) mask_of(m, 257);
    }
    ASSERT_LT(grammar->bytes(), std::size_t{100} << 20);
    while (!open.empty()) {
      ASSERT_FALSE(m.accept_bytes(open.back() == '[' ? "}" : "]"));
      ASSERT_TRUE(m.accept_bytes(open.back() == '[' ? "]" : "}"));
      open.pop_back();
    }
    ASSERT_TRUE(m.may_end());
  }
  waits.rollback(1);
  EXPECT_FALSE(waits.accept_bytes("]"));
  EXPECT_TRUE(waits.accept(';'));
  ASSERT_TRUE(waits.accept_bytes("]}]"));
  EXPECT_TRUE(waits.may_end());
}

// Each of many grammars may keep masks and places, all of them together only so much.
TEST(Matcher, MemoryOfManyGrammarsIsBounded) {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  const auto vocabulary = std::make_shared<Vocabulary>(
      std::move(tokens), std::vector<std::int32_t>{}, std::size_t{64} << 20);
  std::vector<std::shared_ptr<const CompiledGrammar>> grammars;
  std::vector<GrammarMatcher> texts;
  for (int i = 0; i < 12; ++i) {
    grammars.push_back(compile(
        parse_ebnf("root ::= (a | b)*\na ::= \"[\" root \"]\"\nb ::= \"{\" root \"}\" | [a-z]"),
        vocabulary));
    texts.emplace_back(grammars.back());
  }
  std::string open;
  Random random(5);
  for (int round = 0; round < 6; ++round) {
    open.clear();
    for (int i = 0; i < 8000; ++i) open += "[{"[below(random, 2)];
    std::size_t bytes = 0;
    for (std::size_t g = 0; g < grammars.size(); ++g) {
      texts[g] = GrammarMatcher(grammars[g]);
      ASSERT_TRUE(texts[g].accept_bytes(open));
      ASSERT_TRUE(texts[g].accept_bytes("x"));
      bytes += grammars[g]->bytes();
    }
    // Each: 8 MiB, and what one call may add.
    EXPECT_LT(bytes, std::size_t{64 + 12 * 14} << 20) << round;
  }
  std::string close;
  for (auto c = open.rbegin(); c != open.rend(); ++c) close += *c == '[' ? ']' : '}';
  for (auto& m : texts) {
    ASSERT_TRUE(m.accept_bytes(close));
    EXPECT_TRUE(m.may_end());
  }
}

TEST(Matcher, ThreadsShareAGrammar) {
  Random random(1);
  const auto tokens = random_tokens(random, "[[{]}],ab");
  const auto vocabulary = std::make_shared<Vocabulary>(tokens, std::vector<std::int32_t>{});
  const auto grammar =
      compile(parse_ebnf(R"(root ::= ("[" root "]" | "{" root* "}" | [ab,]{1,40})+)"), vocabulary);
  std::vector<std::vector<std::uint32_t>> masks(4);
  std::vector<std::thread> threads;
  for (auto& mask : masks)
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        Random own(round);
        GrammarMatcher m(grammar);
        for (int i = 0; i < 30; ++i) {
          mask = mask_of(m, vocabulary->size());
          m.accept(static_cast<std::int32_t>(below(own, tokens.size())));
        }
      }
    });
  for (auto& t : threads) t.join();
  for (const auto& mask : masks) EXPECT_EQ(mask, masks[0]);
}

}  // namespace
}  // namespace octet::generate::grammar
