#include "generate/answer_constraint.h"

#include <gtest/gtest.h>

#include <random>

#include "generate/grammar/sources.h"
#include "runtime/base/error.h"

namespace octet::generate {
namespace {

using grammar::CompiledGrammar;
using grammar::Rules;
using grammar::Vocabulary;

// Tokens of the tests: think_begin, think_end, tool_call_begin, a stop token, ...
enum : std::int32_t { kThink, kEndThink, kCall, kStop, kNewline, kNewlines, kA, kB, kC, kCount };

std::shared_ptr<const CompiledGrammar> grammar_of(std::string_view ebnf) {
  static const auto kVocabulary = std::make_shared<const Vocabulary>(
      std::vector<std::string>{"<think>", "</think>", "<tool_call>", "", "\n", "\n\n", "a", "b",
                               "c"},
      std::vector<std::int32_t>{kStop});
  return CompiledGrammar::compile(grammar::parse_ebnf(ebnf), kVocabulary);
}

AnswerForm form_of(bool thinking, std::string_view ebnf = "") {
  AnswerForm form;
  form.think_begin = kThink;
  form.think_end = kEndThink;
  form.tool_call_begin = kCall;
  form.thinking = thinking;
  form.newlines = {kNewline, kNewlines};
  form.stop_ids = {kStop};
  if (!ebnf.empty()) form.content = grammar_of(ebnf);
  return form;
}

/// What may come next, one letter for a token: T E C S n N a b c; "*" for everything, "!x" if x is
/// forced.
std::string next(TokenConstraint& constraint) {
  static const char kLetters[] = "TECSnNabc";
  if (const auto id = constraint.forced()) return std::string("!") + kLetters[*id];
  std::vector<std::uint32_t> mask(1, 0xFFFFFFFF);
  if (!constraint.fill_mask(mask)) {
    EXPECT_EQ(mask[0], 0xFFFFFFFF);
    return "*";
  }
  std::string out;
  for (int i = 0; i < kCount; ++i)
    if (mask[0] >> i & 1) out += kLetters[i];
  return out;
}

TEST(AnswerConstraint, NullWhereEverythingIsFree) {
  EXPECT_EQ(make_answer_constraint({}), nullptr);
  EXPECT_EQ(make_answer_constraint(form_of(true)), nullptr);
  AnswerForm budget = form_of(true);
  budget.thinking_budget = 5;
  EXPECT_NE(make_answer_constraint(budget), nullptr);
  budget.think_end = -1;  // no block that could be closed
  EXPECT_EQ(make_answer_constraint(budget), nullptr);
}

TEST(AnswerConstraint, GrammarFromTheStart) {
  const auto c = make_answer_constraint(form_of(false, R"(root ::= "a" "b")"));
  EXPECT_EQ(next(*c), "Ta");
  c->accept(kA);
  EXPECT_EQ(next(*c), "b");
  c->accept(kB);
  EXPECT_EQ(next(*c), "S");
  c->accept(kStop);
  c->rollback(3);
  EXPECT_EQ(next(*c), "Ta");
}

TEST(AnswerConstraint, ThinkingIsFreeButMayNotEndTheAnswer) {
  const auto c = make_answer_constraint(form_of(true, R"(root ::= "a")"));
  EXPECT_EQ(next(*c), "TECnNabc");
  for (int i = 0; i < 40; ++i) c->accept(kB);
  EXPECT_EQ(next(*c), "TECnNabc");
  c->accept(kEndThink);
  EXPECT_EQ(next(*c), "nNa");
  c->accept(kNewlines);
  EXPECT_EQ(next(*c), "nNa");
  c->accept(kA);
  EXPECT_EQ(next(*c), "S");
}

TEST(AnswerConstraint, LineBreaksAfterTheBlockComeToAnEnd) {
  const auto c = make_answer_constraint(form_of(true, R"(root ::= "a")"));
  c->accept(kEndThink);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(next(*c), "nNa") << i;
    c->accept(kNewline);
  }
  EXPECT_EQ(next(*c), "a");
}

TEST(AnswerConstraint, BudgetForcesTheEnd) {
  AnswerForm form = form_of(true, R"(root ::= "a")");
  form.thinking_budget = 2;
  form.before_think_end = {kC, kNewline};
  form.after_think_end = {kNewlines};
  const auto c = make_answer_constraint(form);
  EXPECT_EQ(next(*c), "TECnNabc");
  c->accept(kA);
  c->accept(kB);
  for (const auto& [shown, id] : std::vector<std::pair<std::string, std::int32_t>>{
           {"!c", kC}, {"!n", kNewline}, {"!E", kEndThink}, {"!N", kNewlines}}) {
    EXPECT_EQ(next(*c), shown);
    std::vector<std::uint32_t> mask(1, 0xFFFFFFFF);
    EXPECT_TRUE(c->fill_mask(mask));
    EXPECT_EQ(mask[0], 1u << id);  // who asks for the mask instead gets the same
    c->accept(id);
  }
  EXPECT_EQ(next(*c), "nNa");
  c->rollback(5);
  EXPECT_EQ(next(*c), "TECnNabc");
  c->accept(kEndThink);
  EXPECT_EQ(next(*c), "nNa");
}

TEST(AnswerConstraint, BudgetOfNothingClosesAtOnce) {
  AnswerForm form = form_of(true);
  form.thinking_budget = 0;
  const auto c = make_answer_constraint(form);
  EXPECT_EQ(next(*c), "!E");
  c->accept(kEndThink);
  EXPECT_EQ(next(*c), "*");
  // A block that the model opens itself has the same budget.
  form.thinking = false;
  const auto opened = make_answer_constraint(form);
  EXPECT_EQ(next(*opened), "*");
  opened->accept(kNewline);
  opened->accept(kThink);
  EXPECT_EQ(next(*opened), "!E");
  const auto later = make_answer_constraint(form);
  later->accept(kA);
  later->accept(kThink);
  EXPECT_EQ(next(*later), "*");
}

TEST(AnswerConstraint, EndedFromOutside) {
  AnswerForm form = form_of(true);
  auto flag = std::make_shared<std::atomic<bool>>(false);
  form.end_thinking = flag;
  const auto c = make_answer_constraint(form);
  c->accept(kA);
  EXPECT_EQ(next(*c), "*");
  *flag = true;
  EXPECT_EQ(next(*c), "!E");
  c->rollback(1);
  EXPECT_EQ(next(*c), "!E");
  c->accept(kEndThink);
  EXPECT_EQ(next(*c), "*");
}

TEST(AnswerConstraint, ABlockOpenedByTheModelComesBeforeTheGrammar) {
  const auto c = make_answer_constraint(form_of(false, R"(root ::= "\n"? "a")"));
  EXPECT_EQ(next(*c), "Tna");
  c->accept(kNewline);
  EXPECT_EQ(next(*c), "Ta");
  c->accept(kThink);
  EXPECT_EQ(next(*c), "TECnNabc");
  c->accept(kEndThink);
  EXPECT_EQ(next(*c), "nNa");
  c->accept(kA);
  EXPECT_EQ(next(*c), "S");
  c->rollback(2);
  EXPECT_EQ(next(*c), "TECnNabc");
  c->rollback(1);
  EXPECT_EQ(next(*c), "Ta");
  c->rollback(1);
  EXPECT_EQ(next(*c), "Tna");
  AnswerForm closed = form_of(false, R"(root ::= "a")");
  closed.think_begin = -1;
  EXPECT_EQ(next(*make_answer_constraint(closed)), "a");
}

TEST(AnswerConstraint, ACallEndsTheThinkingIfTheGrammarHasCalls) {
  const auto calls = make_answer_constraint(form_of(true, R"(root ::= "<tool_call>" "a")"));
  calls->accept(kB);
  calls->accept(kCall);
  EXPECT_EQ(next(*calls), "a");
  calls->rollback(1);
  EXPECT_EQ(next(*calls), "TECnNabc");
  calls->accept(kEndThink);
  EXPECT_EQ(next(*calls), "CnN");
  const auto json = make_answer_constraint(form_of(true, R"(root ::= "a")"));
  json->accept(kCall);
  EXPECT_EQ(next(*json), "TECnNabc");
}

TEST(AnswerConstraint, GrammarInReasoning) {
  AnswerForm form = form_of(true, R"(root ::= "a" "</think>" "b")");
  form.content_in_reasoning = true;
  const auto c = make_answer_constraint(form);
  EXPECT_EQ(next(*c), "a");
  c->accept(kA);
  EXPECT_EQ(next(*c), "E");
}

// Each letter leads to more places than the one before, until it is too many: by then the answer
// must end with an error that names the grammar, and must not have left it.
TEST(AnswerConstraint, AGrammarBeyondTheLimitsIsNamedAndNeverLeft) {
  std::string crossed = "root ::= r0\n";
  for (int i = 0; i < 200; ++i) {
    crossed += fmt::format("r{} ::= [a-c]", i);
    for (int k = 0; k < 12; ++k)
      crossed += fmt::format(" | [a-c] r{} [a-c]", (i * 7 + k * 13 + 1) % 200);
    crossed += "\n";
  }
  const auto c = make_answer_constraint(form_of(false, crossed));
  std::string error;
  try {
    for (int i = 0; i < 2000; ++i) {
      std::vector<std::uint32_t> mask(1, 0xFFFFFFFF);
      c->fill_mask(mask);
      ASSERT_NE(mask[0] & (1u << kA | 1u << kStop), 0u);
      c->accept(kA);
    }
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    error = e.what();
  }
  EXPECT_NE(error.find("the grammar"), std::string::npos);
}

TEST(AnswerConstraint, ATokenThatTheGrammarDoesNotTakeIsAnErrorButForTheEnd) {
  const auto c = make_answer_constraint(form_of(false, R"(root ::= "a" "b")"));
  c->accept(kA);
  c->accept(kStop);  // as a request that goes on after it would have it
  EXPECT_EQ(next(*c), "b");
  EXPECT_THROW(c->accept(kC), Error);
}

// Drafts: any walk, taken back by any number of steps, is as if it had not been.
TEST(AnswerConstraint, RollbackAnywhere) {
  std::mt19937 rng(3);
  const char* const grammars[]{"", R"(root ::= ("a" | "b" | "\n")* "c"?)",
                               R"(root ::= "<tool_call>" [a-c]*)", R"(root ::= "\n"* [ab] "c")"};
  for (int round = 0; round < 2000; ++round) {
    AnswerForm form = form_of(rng() % 2 == 0, grammars[rng() % 4]);
    form.thinking_budget = rng() % 2 ? static_cast<std::int64_t>(rng() % 6) : -1;
    if (rng() % 2) form.before_think_end = {kC, kNewline};
    if (rng() % 2) form.after_think_end = {kNewlines};
    const auto c = make_answer_constraint(form);
    if (!c) continue;
    std::vector<std::int32_t> taken;
    const auto step = [&](TokenConstraint& constraint) {
      std::int32_t id = static_cast<std::int32_t>(rng() % kCount);
      if (const auto forced = constraint.forced()) {
        id = *forced;
      } else {
        std::vector<std::uint32_t> mask(1, (1u << kCount) - 1);
        constraint.fill_mask(mask);
        if (mask[0] == 0) return false;
        while (!(mask[0] >> id & 1)) id = static_cast<std::int32_t>(rng() % kCount);
      }
      constraint.accept(id);
      taken.push_back(id);
      return id != kStop;
    };
    for (int i = 0; i < 12; ++i) {
      const std::size_t kept = taken.size();
      const int drafts = static_cast<int>(rng() % 17);
      int made = 0;
      while (made < drafts) {
        ++made;
        if (!step(*c)) break;
      }
      made = static_cast<int>(taken.size() - kept);
      const int back = made == 0 ? 0 : static_cast<int>(rng() % (static_cast<unsigned>(made) + 1));
      c->rollback(back);
      taken.resize(taken.size() - static_cast<std::size_t>(back));
      const auto fresh = make_answer_constraint(form);
      for (const std::int32_t id : taken) {
        fresh->forced();
        fresh->accept(id);
      }
      ASSERT_EQ(next(*c), next(*fresh)) << "round " << round;
      if (!taken.empty() && taken.back() == kStop) break;
    }
  }
}

}  // namespace
}  // namespace octet::generate
