#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "input/chat_template/value.h"

namespace octet::chat_template {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind {
  literal,  ///< value
  name,     ///< name
  list,
  tuple,
  dict,       ///< operands: key, value, key, value, ...
  attribute,  ///< operands[0].name
  subscript,  ///< operands[0][operands[1]]
  slice,      ///< operands: begin, end, step, each may be null
  call,       ///< operands[0](operands[1..], named)
  filter,     ///< operands[0] | name(operands[1..], named); operands[0] null in a filter block
  test,       ///< operands[0] is name(operands[1..])
  negate,
  plus,
  not_,
  binary,   ///< name is the operator: + - * / // % **
  concat,   ///< ~ of all operands
  compare,  ///< operands[0] names[0] operands[1] names[1] ...
  and_,
  or_,
  condition,  ///< operands[0] if operands[1] else operands[2] (may be null)
};

struct Expression {
  ExpressionKind kind = ExpressionKind::literal;
  int line = 1;
  std::string name;
  Value value;
  std::vector<ExpressionPtr> operands;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> names;
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

enum class StatementKind {
  data,
  output,
  if_,
  for_,
  set,
  set_block,
  macro,
  call_block,
  filter_block,
  with,
  break_,
  continue_
};

/// What a set or for writes to: names, or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  bool unpack = false;    ///< a, b = ...
  std::string attribute;  ///< names[0].attribute = ...
};

/// A macro, or the body of a call block.
struct MacroData {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;  ///< of the last parameters
  Block body;
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
};

struct Statement {
  StatementKind kind = StatementKind::data;
  int line = 1;
  Text text;                 ///< data
  ExpressionPtr expression;  ///< output, for: iterable, set: value, call_block, filter
  std::vector<std::pair<ExpressionPtr, Block>> branches;  ///< if: condition (null: else) and body
  std::vector<Target> targets;                            ///< for, set, with
  std::vector<ExpressionPtr> values;                      ///< with
  ExpressionPtr filter;                                   ///< for: condition
  Block body, else_body;
  bool recursive = false;
  std::shared_ptr<const MacroData> macro;
};

/// Errors: bad_data with template name and line. Nesting is bounded.
Block parse_template(const std::string& source, const std::string& name);

/// Names of built-in filters and tests: unknown ones are errors of the template, not of its use.
bool filter_exists(const std::string& name);
bool test_exists(const std::string& name);

}  // namespace octet::chat_template
