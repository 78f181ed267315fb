#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "generate/grammar/rules.h"
#include "generate/grammar/terminals.h"

namespace octet::generate::grammar {

enum class Op : std::uint8_t {
  ret,            ///< the rule ends here
  literal,        ///< read literals[a], go on at b
  char_class,     ///< read classes[a], go on at b
  text,           ///< read texts[a], go on at b
  split,          ///< go on at each of b targets from targets[a] on
  call,           ///< read rule a, go on at b
  counted,        ///< read counts[a], go on at b
};

struct Instruction {
  Op op = Op::ret;
  std::uint32_t a = 0, b = 0;
};

/// A part repeated min to max times. Which repetition it is lies on the stack, as where a rule
/// returns to does, so it costs the same for any count.
struct Count {
  std::uint32_t body = 0;  ///< ends with ret
  std::uint32_t min = 0, max = 0;
  static constexpr std::uint32_t kUnbounded = 0xFFFFFFFF;
};

/// Rules as instructions of a pushdown automaton over bytes. What can never lead to a text of the
/// language is left out, so no state is a dead end. Constant.
struct Program {
  static constexpr std::uint32_t kRet = 0;  ///< the only ret: going on there is a tail call

  struct RuleEntry {
    std::uint32_t pc = kRet;
    bool nullable = false;
  };
  std::vector<Instruction> code;
  std::vector<std::uint32_t> targets;
  std::vector<RuleEntry> rules;
  std::vector<Count> counts;
  std::vector<std::string> literals;
  std::vector<CharClassAutomaton> classes;
  std::vector<TextAutomaton> texts;
  std::uint32_t root = 0;
  /// Bytes that no terminal tells apart have the same class; and one byte of each class.
  std::array<std::uint8_t, 256> byte_class{};
  std::vector<std::uint8_t> class_byte;
  std::size_t bytes = 0;
};

/// What compilation may take. Checked as it goes.
class CompileBudget {
 public:
  CompileBudget(std::chrono::milliseconds time, std::size_t memory);
  /// Counts memory that stays. Throws invalid_argument if that's too much, or it took too long.
  void take(std::size_t bytes);
  std::size_t taken() const { return taken_; }

 private:
  std::chrono::steady_clock::time_point end_;
  std::chrono::milliseconds time_;
  std::size_t memory_, taken_ = 0;
  std::uint64_t calls_ = 0;
};

/// Errors: invalid_argument (undefined rules, an empty language, nesting, budget).
Program make_program(const Rules& rules, CompileBudget& budget);

}  // namespace octet::generate::grammar
