#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "input/chat_template/text.h"
#include "runtime/base/json.h"

namespace octet::chat_template {

class Value;
struct Loop;
class Evaluator;

/// Wide enough that what fits 64 bits, signed or not, never overflows unseen.
using Integer = __int128;

using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;  // in order of insertion

struct Arguments {
  List positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// A name without a value: prints nothing, loops zero times, is false; anything else is an error
/// that tells what was undefined.
struct Undefined {
  std::string what;
};
struct None {};
/// A tuple, or a view of a dict (keys, values, items), which only prints differently.
struct Tuple {
  std::shared_ptr<const List> items;
  const char* view = nullptr;  ///< "dict_items"
};
/// namespace(): the one value that a template may change.
struct Namespace {
  std::shared_ptr<Dict> fields;
};
struct Callable {
  std::string name;
  std::shared_ptr<const std::function<Value(Evaluator&, const Arguments&)>> call;
  std::shared_ptr<const List> arguments;  // a macro's names; null for other functions
};

/// A value of the template language, with Python's behaviour. Containers are shared and constant.
class Value {
 public:
  Value() : v_(Undefined{}) {}
  /// One of the alternatives below, exactly: nothing is converted.
  template <typename T>
    requires(!std::same_as<T, Value>)
  explicit Value(T v) : v_(std::in_place_type<T>, std::move(v)) {}
  static Value text(Text t) { return Value(std::make_shared<const Text>(std::move(t))); }
  static Value list(List l) { return Value(std::make_shared<const List>(std::move(l))); }
  static Value tuple(List l) { return Value(Tuple{std::make_shared<const List>(std::move(l))}); }
  static Value dict(Dict d) { return Value(std::make_shared<const Dict>(std::move(d))); }
  static Value integer(Integer i) { return Value(i); }
  static Value undefined(std::string what) { return Value(Undefined{std::move(what)}); }
  /// Strings of the JSON are marked as the user's.
  static Value from_json(const json::value& v);

  template <typename T>
  const T* get() const {
    return std::get_if<T>(&v_);
  }
  bool is_undefined() const { return get<Undefined>() != nullptr; }
  bool is_none() const { return get<None>() != nullptr; }
  bool is_bool() const { return get<bool>() != nullptr; }
  const Text* as_text() const;
  const List* as_list() const;      ///< a list
  const List* as_sequence() const;  ///< a list or a tuple
  const Dict* as_dict() const;
  const Namespace* as_namespace() const { return get<Namespace>(); }
  const Callable* as_callable() const { return get<Callable>(); }
  Loop* as_loop() const;
  /// bool and int; nullptr-like for others.
  bool to_integer(Integer& out) const;
  /// bool, int, float.
  bool to_double(double& out) const;
  bool is_number() const;
  bool is_float() const { return get<double>() != nullptr; }

  bool truth() const;
  /// What {{ value }} prints.
  Text to_text() const;
  /// Python's repr.
  Text repr() const;
  /// "int", "str", "dict object"-style names for messages.
  std::string type_name() const;
  bool equals(const Value& other) const;
  /// Identity as far as it can matter: `is sameas`.
  const Value* find(const Value& key) const;  ///< in a dict; nullptr if absent

 private:
  std::variant<Undefined, None, bool, Integer, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, Tuple, std::shared_ptr<const Dict>, Namespace, Callable,
               std::shared_ptr<Loop>>
      v_;
};

/// The state behind `loop`.
struct Loop {
  List items;
  std::size_t index = 0;
  std::int64_t depth = 1;
  Value last_changed;
  bool has_changed = false;
  Value recurse;  ///< callable of a recursive loop
};

std::string format_integer(Integer i);

}  // namespace octet::chat_template
