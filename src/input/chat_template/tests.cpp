// What stands behind `is`.

#include <functional>
#include <map>

#include "input/chat_template/evaluator.h"

namespace octet::chat_template {

namespace {

using Test = std::function<bool(Evaluator&, const Value&, const Arguments&)>;

bool is_integer(const Value& v) {
  return v.get<Integer>() != nullptr;
}

Integer whole(Evaluator& e, const Value& v) {
  Integer i = 0;
  if (!v.to_integer(i)) e.bad("expected a whole number, found {}", v.type_name());
  return i;
}

const Value& only(Evaluator& e, const Arguments& a) {
  if (a.positional.size() != 1) e.bad("the test takes one argument");
  return a.positional[0];
}

// True if some letter is there and none of the other case.
bool all_cased(const Value& v, Text (*other)(const Text&), Text (*same)(const Text&)) {
  const Text t = v.to_text();
  return same(t) == t && !(other(t) == t);
}

const std::map<std::string, Test>& tests() {
  static const std::map<std::string, Test> table = [] {
    std::map<std::string, Test> t;
    t["defined"] = [](auto&, auto& v, auto&) { return !v.is_undefined(); };
    t["undefined"] = [](auto&, auto& v, auto&) { return v.is_undefined(); };
    t["none"] = [](auto&, auto& v, auto&) { return v.is_none(); };
    t["boolean"] = [](auto&, auto& v, auto&) { return v.is_bool(); };
    t["true"] = [](auto&, auto& v, auto&) { return v.is_bool() && v.truth(); };
    t["false"] = [](auto&, auto& v, auto&) { return v.is_bool() && !v.truth(); };
    t["integer"] = [](auto&, auto& v, auto&) { return is_integer(v); };
    t["float"] = [](auto&, auto& v, auto&) { return v.is_float(); };
    t["number"] = [](auto&, auto& v, auto&) { return v.is_number(); };
    t["string"] = [](auto&, auto& v, auto&) { return v.as_text() != nullptr; };
    t["mapping"] = [](auto&, auto& v, auto&) { return v.as_dict() != nullptr; };
    t["sequence"] = t["iterable"] = [](auto&, auto& v, auto&) {
      return v.is_undefined() || v.as_text() || v.as_sequence() || v.as_dict();
    };
    t["callable"] = [](auto&, auto& v, auto&) { return v.as_callable() != nullptr; };
    t["odd"] = [](auto& e, auto& v, auto&) { return whole(e, v) % 2 != 0; };
    t["even"] = [](auto& e, auto& v, auto&) { return whole(e, v) % 2 == 0; };
    t["divisibleby"] = [](auto& e, auto& v, auto& a) {
      const Integer by = whole(e, only(e, a));
      if (by == 0) e.bad("division by zero");
      return whole(e, v) % by == 0;
    };
    t["upper"] = [](auto&, auto& v, auto&) { return all_cased(v, lower, upper); };
    t["lower"] = [](auto&, auto& v, auto&) { return all_cased(v, upper, lower); };
    t["sameas"] = [](auto& e, auto& v, auto& a) {
      const Value& other = only(e, a);
      return v.type_name() == other.type_name() && v.equals(other);
    };
    t["escaped"] = [](auto&, auto&, auto&) { return false; };
    t["in"] = [](auto& e, auto& v, auto& a) { return e.contains(only(e, a), v); };
    t["filter"] = [](auto&, auto& v, auto&) {
      return v.as_text() && filter_exists(v.as_text()->str());
    };
    t["test"] = [](auto&, auto& v, auto&) {
      return v.as_text() && test_exists(v.as_text()->str());
    };
    for (const auto& [name, op] : std::map<std::string, std::string>{{"eq", "=="},
                                                                     {"equalto", "=="},
                                                                     {"==", "=="},
                                                                     {"ne", "!="},
                                                                     {"!=", "!="},
                                                                     {"lt", "<"},
                                                                     {"lessthan", "<"},
                                                                     {"<", "<"},
                                                                     {"le", "<="},
                                                                     {"<=", "<="},
                                                                     {"gt", ">"},
                                                                     {"greaterthan", ">"},
                                                                     {">", ">"},
                                                                     {"ge", ">="},
                                                                     {">=", ">="}})
      t[name] = [op = op](auto& e, auto& v, auto& a) { return e.compare(op, v, only(e, a)); };
    return t;
  }();
  return table;
}

}  // namespace

bool test_exists(const std::string& name) {
  return tests().contains(name);
}

bool Evaluator::apply_test(const std::string& name, const Value& input,
                           const Arguments& arguments) {
  spend(1);
  const auto it = tests().find(name);
  if (it == tests().end()) bad("no test named '{}'", name);
  return it->second(*this, input, arguments);
}

}  // namespace octet::chat_template
