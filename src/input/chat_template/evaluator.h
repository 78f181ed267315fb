#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <unordered_map>

#include "input/chat_template/ast.h"
#include "runtime/base/error.h"

namespace octet::chat_template {

/// What a rendering may use up. A template comes with a checkpoint and may be hostile.
struct Limits {
  std::int64_t max_steps = 20'000'000;            ///< expressions and statements evaluated
  std::size_t max_bytes = std::size_t{64} << 20;  ///< of output, and of any one string
  int max_depth = 200;                            ///< nested macro calls and loops
};

/// Variables of a scope, inside an outer one.
struct Frame {
  std::unordered_map<std::string, Value> names;
  std::shared_ptr<Frame> outer;
};

/// Runs a parsed template once.
class Evaluator {
 public:
  Evaluator(const std::string& template_name, const Limits& limits, std::time_t now)
      : name_(template_name), limits_(limits), now_(now) {}

  Text render(const Block& block, const json::object& context);

  // For built-in functions, filters, tests and methods:
  /// An evaluation error: invalid_argument with template name and the current line.
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::invalid_argument, "{}, line {}: {}", name_, line_,
         fmt::format(format, std::forward<Args>(args)...));
  }
  /// Counts work of a built-in that is not one step.
  void spend(std::int64_t steps);
  /// Refuses strings that are too long before they are made.
  void check_size(std::size_t bytes) const;
  /// The items that a loop over the value sees; errors if it can't be looped over.
  List items(const Value& v);
  Value call(const Value& function, const Arguments& arguments);
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);
  Value binary(const std::string& op, const Value& a, const Value& b);
  bool compare(const std::string& op, const Value& a, const Value& b);
  bool contains(const Value& container, const Value& item);
  /// Less than, as Python orders; errors for kinds that have no order.
  bool less(const Value& a, const Value& b) const;
  /// Errors if the value is undefined: it is used where only a value will do.
  void require(const Value& v) const;
  std::time_t now() const { return now_; }
  const std::string& template_name() const { return name_; }

 private:
  enum class Flow { go_on, break_, continue_ };
  struct DepthGuard;
  Flow run(const Block& block, Text& out);
  Flow run(const Statement& s, Text& out);
  Flow run_loop(const Statement& s, const Value& iterable, std::int64_t depth, Text& out);
  void assign(const Target& target, Value value);
  Value evaluate(const Expression& e);
  Value evaluate_call(const Expression& e);
  Arguments evaluate_arguments(const Expression& e);
  Value make_macro(const std::shared_ptr<const MacroData>& macro);
  Value call_macro(const MacroData& macro, const std::shared_ptr<Frame>& frame,
                   const Arguments& arguments);
  Value slice(const Value& object, const Expression& range);
  void append(Text& out, const Text& more);
  const Value* lookup(const std::string& name) const;
  void define_globals(Frame& frame);

  const std::string& name_;
  Limits limits_;
  std::time_t now_;
  std::shared_ptr<Frame> frame_;
  std::int64_t steps_ = 0;
  int depth_ = 0, line_ = 1;
};

/// Built-in methods of strings, lists and dicts; undefined-valued if the object has none so named.
Value find_method(Evaluator& e, const Value& object, const std::string& name);
/// json.dumps of a value, as transformers' tojson filter does it.
Text to_json_text(Evaluator& e, const Value& value, const Arguments& arguments);
/// The largest string filters and methods that take options: argument number i or named.
const Value* argument(const Arguments& arguments, std::size_t i, const char* name);

}  // namespace octet::chat_template
