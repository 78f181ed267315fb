// Attributes, subscripts, slices, arithmetic and comparison with Python's rules.

#include <algorithm>
#include <cmath>
#include <optional>

#include "input/chat_template/evaluator.h"

namespace octet::chat_template {

const Value* argument(const Arguments& a, std::size_t i, const char* name) {
  if (i < a.positional.size()) return &a.positional[i];
  for (const auto& [key, value] : a.named)
    if (key == name) return &value;
  return nullptr;
}

namespace {

constexpr Integer kMaxItems = 1'000'000;

Value field_of_loop(Evaluator& e, const Value& value, const std::string& name) {
  Loop& l = *value.as_loop();
  const auto n = static_cast<std::int64_t>(l.items.size()), i = static_cast<std::int64_t>(l.index);
  if (name == "index") return Value::integer(i + 1);
  if (name == "index0") return Value::integer(i);
  if (name == "revindex") return Value::integer(n - i);
  if (name == "revindex0") return Value::integer(n - i - 1);
  if (name == "first") return Value(i == 0);
  if (name == "last") return Value(i == n - 1);
  if (name == "length") return Value::integer(n);
  if (name == "depth") return Value::integer(l.depth);
  if (name == "depth0") return Value::integer(l.depth - 1);
  if (name == "previtem")
    return i > 0 ? l.items[l.index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return i + 1 < n ? l.items[l.index + 1] : Value::undefined("there is no next item");
  return find_method(e, value, name);
}

// A slice bound as Python clamps it.
Integer bound(Integer i, Integer n, Integer low, Integer high) {
  if (i < 0) i += n;
  return std::clamp(i, low, high);
}

}  // namespace

Value Evaluator::attribute(const Value& object, const std::string& name) {
  require(object);
  // The sandbox: inner workings of objects and what would change them.
  if (name.starts_with("__")) bad("access to attribute '{}' is unsafe", name);
  if (object.as_loop()) return field_of_loop(*this, object, name);
  if (object.as_namespace()) {
    const Value* v = object.find(Value::text(Text(name)));
    return v ? *v : Value::undefined(fmt::format("namespace has no attribute '{}'", name));
  }
  if (const Callable* c = object.as_callable(); c && c->arguments) {
    if (name == "name") return Value::text(Text(c->name));
    if (name == "arguments") return Value(Tuple{c->arguments});
  }
  // As in Python, a method goes before a key of the same name.
  Value method = find_method(*this, object, name);
  if (!method.is_undefined()) return method;
  if (const Value* v = object.find(Value::text(Text(name)))) return *v;
  const bool dict = object.as_dict() != nullptr;
  return Value::undefined(fmt::format("'{}{}' has no attribute '{}'",
                                      object.is_none() ? "None" : object.type_name(),
                                      dict || !object.is_none() ? " object" : "", name));
}

Value Evaluator::item(const Value& object, const Value& key) {
  require(object);
  Integer i = 0;
  if (object.as_dict()) {
    if (const Value* v = object.find(key)) return *v;
  } else if (key.to_integer(i)) {
    if (const List* l = object.as_sequence()) {
      const auto n = static_cast<Integer>(l->size());
      if (i < 0) i += n;
      if (i >= 0 && i < n) return (*l)[static_cast<std::size_t>(i)];
    } else if (const Text* t = object.as_text()) {
      const auto characters = t->characters();
      spend(static_cast<std::int64_t>(characters.size()) / 64);
      const auto n = static_cast<Integer>(characters.size());
      if (i < 0) i += n;
      if (i >= 0 && i < n) return Value::text(characters[static_cast<std::size_t>(i)]);
    }
  }
  if (const Text* name = key.as_text()) {
    const Value v = attribute(object, name->str());
    if (!v.is_undefined()) return v;
  }
  return Value::undefined(
      fmt::format("'{} object' has no element {}", object.type_name(), key.repr().str()));
}

Value Evaluator::slice(const Value& object, const Expression& range) {
  require(object);
  std::optional<Integer> parts[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (!range.operands[i]) continue;
    const Value v = evaluate(*range.operands[i]);
    Integer n = 0;
    if (v.is_none()) continue;
    if (!v.to_integer(n)) bad("slice indices must be whole numbers, found {}", v.type_name());
    parts[i] = n;
  }
  const Text* text = object.as_text();
  const List* list = object.as_sequence();
  if (!text && !list) bad("'{}' object can't be sliced", object.type_name());
  const std::vector<Text> characters = text ? text->characters() : std::vector<Text>();
  const auto n = static_cast<Integer>(text ? characters.size() : list->size());
  spend(static_cast<std::int64_t>(n) / 64 + 1);
  const Integer step = parts[2].value_or(1);
  if (step == 0) bad("a slice's step can't be 0");
  const bool forward = step > 0;
  const Integer low = forward ? 0 : -1, high = forward ? n : n - 1;
  const Integer begin = parts[0] ? bound(*parts[0], n, low, high) : (forward ? 0 : n - 1);
  const Integer end = parts[1] ? bound(*parts[1], n, low, high) : (forward ? n : -1);
  Text out;
  List kept;
  for (Integer i = begin; forward ? i < end : i > end; i += step) {
    if (text)
      out += characters[static_cast<std::size_t>(i)];
    else
      kept.push_back((*list)[static_cast<std::size_t>(i)]);
  }
  if (text) return Value::text(std::move(out));
  return object.as_list() ? Value::list(std::move(kept)) : Value::tuple(std::move(kept));
}

namespace {

Integer floor_div(Integer a, Integer b) {
  const Integer q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

// Sums and products that leave 127 bits are refused: no template counts that far.
Value integer_result(const Evaluator& e, const std::string& op, Integer a, Integer b) {
  Integer r = 0;
  bool overflow = false;
  if (op == "+")
    overflow = __builtin_add_overflow(a, b, &r);
  else if (op == "-")
    overflow = __builtin_sub_overflow(a, b, &r);
  else if (op == "*")
    overflow = __builtin_mul_overflow(a, b, &r);
  else if (op == "//" || op == "%") {
    if (b == 0) e.bad("division by zero");
    r = op == "//" ? floor_div(a, b) : a - floor_div(a, b) * b;
  } else if (op == "/") {
    if (b == 0) e.bad("division by zero");
    return Value(static_cast<double>(a) / static_cast<double>(b));
  } else {
    if (b < 0) {
      if (a == 0) e.bad("0 to a negative power");
      return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
    }
    if (b > 1000 && a != 0 && a != 1 && a != -1) e.bad("a number too large");
    r = 1;
    if (a == 0 || a == 1 || a == -1)
      r = b == 0 ? 1 : (a == -1 && b % 2 == 0 ? 1 : a);
    else
      for (Integer i = 0; i < b && !overflow; ++i) overflow = __builtin_mul_overflow(r, a, &r);
  }
  if (overflow) e.bad("a number too large");
  return Value::integer(r);
}

Value double_result(const Evaluator& e, const std::string& op, double a, double b) {
  if ((op == "/" || op == "//" || op == "%") && b == 0) e.bad("division by zero");
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "/") return Value(a / b);
  if (op == "//") return Value(std::floor(a / b));
  if (op == "%") {
    const double r = std::fmod(a, b);
    return Value(r != 0 && (r < 0) != (b < 0) ? r + b : r);
  }
  return Value(std::pow(a, b));
}

}  // namespace

Value Evaluator::binary(const std::string& op, const Value& a, const Value& b) {
  require(a);
  require(b);
  Integer i = 0, j = 0;
  if (a.to_integer(i) && b.to_integer(j)) return integer_result(*this, op, i, j);
  double x = 0, y = 0;
  if (a.to_double(x) && b.to_double(y)) return double_result(*this, op, x, y);
  if (op == "+" && a.as_text() && b.as_text()) {
    check_size(a.as_text()->size() + b.as_text()->size());
    return Value::text(*a.as_text() + *b.as_text());
  }
  if (op == "+" && a.as_sequence() && b.as_sequence() && !a.as_list() == !b.as_list()) {
    List all = *a.as_sequence();
    all.insert(all.end(), b.as_sequence()->begin(), b.as_sequence()->end());
    spend(static_cast<std::int64_t>(all.size()));
    return a.as_list() ? Value::list(std::move(all)) : Value::tuple(std::move(all));
  }
  if (op == "*" && (b.to_integer(j) || a.to_integer(j))) {
    const Value& repeated = b.to_integer(j) ? a : b;
    const Integer count = std::max<Integer>(j, 0);
    if (const Text* t = repeated.as_text()) {
      if (count > 0 &&
          static_cast<Integer>(t->size()) > static_cast<Integer>(limits_.max_bytes) / count)
        bad("a string of more than {} bytes", limits_.max_bytes);
      Text out;
      for (Integer k = 0; k < count && !t->empty(); ++k) out += *t;
      return Value::text(std::move(out));
    }
    if (const List* l = repeated.as_list()) {
      if (count > 0 && static_cast<Integer>(l->size()) > kMaxItems / count) bad("a list too long");
      List all;
      for (Integer k = 0; k < count && !l->empty(); ++k)
        all.insert(all.end(), l->begin(), l->end());
      spend(static_cast<std::int64_t>(all.size()));
      return Value::list(std::move(all));
    }
  }
  if (op == "%" && a.as_text()) {
    // printf-style formatting is the format filter's work.
    Arguments arguments;
    if (b.get<Tuple>())
      arguments.positional = *b.as_sequence();
    else
      arguments.positional.push_back(b);
    return apply_filter("format", a, arguments);
  }
  bad("unsupported operand types for {}: '{}' and '{}'", op, a.type_name(), b.type_name());
}

bool Evaluator::less(const Value& a, const Value& b) const {
  require(a);
  require(b);
  Integer i = 0, j = 0;
  if (a.to_integer(i) && b.to_integer(j)) return i < j;
  double x = 0, y = 0;
  if (a.to_double(x) && b.to_double(y)) return x < y;
  // UTF-8 sorts as code points do.
  if (a.as_text() && b.as_text()) return a.as_text()->str() < b.as_text()->str();
  if (a.as_sequence() && b.as_sequence() && !a.as_list() == !b.as_list()) {
    const List &l = *a.as_sequence(), &m = *b.as_sequence();
    for (std::size_t k = 0; k < std::min(l.size(), m.size()); ++k)
      if (!l[k].equals(m[k])) return less(l[k], m[k]);
    return l.size() < m.size();
  }
  bad("'<' not supported between '{}' and '{}'", a.type_name(), b.type_name());
}

bool Evaluator::contains(const Value& container, const Value& wanted) {
  if (container.is_undefined()) return false;
  if (const Text* t = container.as_text()) {
    if (!wanted.as_text()) bad("'in <string>' needs a string, found {}", wanted.type_name());
    return t->str().find(wanted.as_text()->str()) != std::string::npos;
  }
  if (container.as_dict()) return container.find(wanted) != nullptr;
  if (const List* l = container.as_sequence()) {
    spend(static_cast<std::int64_t>(l->size()));
    return std::ranges::any_of(*l, [&](const Value& v) { return v.equals(wanted); });
  }
  bad("argument of type '{}' is not iterable", container.type_name());
}

bool Evaluator::compare(const std::string& op, const Value& a, const Value& b) {
  if (op == "==") return a.equals(b);
  if (op == "!=") return !a.equals(b);
  if (op == "in") return contains(b, a);
  if (op == "not in") return !contains(b, a);
  if (op == "<") return less(a, b);
  if (op == ">") return less(b, a);
  // NaN aside, at most is less or equal.
  return op == "<=" ? less(a, b) || a.equals(b) : less(b, a) || a.equals(b);
}

}  // namespace octet::chat_template
