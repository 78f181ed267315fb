#include "input/chat_template/value.h"

#include <cmath>

#include "runtime/base/error.h"

namespace octet::chat_template {

std::string format_integer(Integer i) {
  if (i == 0) return "0";
  std::string digits;
  const bool negative = i < 0;
  // The magnitude as unsigned: the smallest number has no positive twin.
  auto u = negative ? -static_cast<unsigned __int128>(i) : static_cast<unsigned __int128>(i);
  for (; u > 0; u /= 10)
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(u % 10)));
  return negative ? "-" + digits : digits;
}

Value Value::from_json(const json::value& v) {
  switch (v.kind()) {
    case json::kind::null:
      return Value(None{});
    case json::kind::bool_:
      return Value(v.get_bool());
    case json::kind::int64:
      return integer(v.get_int64());
    case json::kind::uint64:
      return integer(static_cast<Integer>(v.get_uint64()));
    case json::kind::double_:
      return Value(v.get_double());
    case json::kind::string:
      return text(Text(std::string_view(v.get_string()), true));
    case json::kind::array: {
      List l;
      for (const auto& item : v.get_array()) l.push_back(from_json(item));
      return list(std::move(l));
    }
    case json::kind::object: {
      Dict d;
      for (const auto& [key, item] : v.get_object())
        d.emplace_back(text(Text(std::string_view(key), true)), from_json(item));
      return dict(std::move(d));
    }
  }
  return {};
}

const Text* Value::as_text() const {
  const auto* t = get<std::shared_ptr<const Text>>();
  return t ? t->get() : nullptr;
}
const List* Value::as_list() const {
  const auto* l = get<std::shared_ptr<const List>>();
  return l ? l->get() : nullptr;
}
const List* Value::as_sequence() const {
  const auto* t = get<Tuple>();
  return t ? t->items.get() : as_list();
}
const Dict* Value::as_dict() const {
  const auto* d = get<std::shared_ptr<const Dict>>();
  return d ? d->get() : nullptr;
}
Loop* Value::as_loop() const {
  const auto* l = get<std::shared_ptr<Loop>>();
  return l ? l->get() : nullptr;
}

bool Value::to_integer(Integer& out) const {
  if (const bool* b = get<bool>()) return out = *b, true;
  if (const Integer* i = get<Integer>()) return out = *i, true;
  return false;
}

bool Value::to_double(double& out) const {
  if (const double* d = get<double>()) return out = *d, true;
  Integer i = 0;
  if (!to_integer(i)) return false;
  out = static_cast<double>(i);
  return true;
}

bool Value::is_number() const {
  double ignored = 0;
  return to_double(ignored);
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  double d = 0;
  if (to_double(d)) return d != 0;
  if (const Text* t = as_text()) return !t->empty();
  if (const List* l = as_sequence()) return !l->empty();
  if (const Dict* o = as_dict()) return !o->empty();
  return true;
}

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (get<Integer>()) return "int";
  if (is_float()) return "float";
  if (as_text()) return "str";
  if (as_list()) return "list";
  if (get<Tuple>()) return "tuple";
  if (as_dict()) return "dict";
  if (as_namespace()) return "Namespace";
  return as_loop() ? "LoopContext" : "function";
}

Text Value::to_text() const {
  if (is_undefined()) return {};
  if (const Text* t = as_text()) return *t;
  return repr();
}

namespace {

// Python's repr of a string: the quote that needs no escape, controls escaped.
Text quoted(const Text& t) {
  const bool single =
      t.str().find('\'') == std::string::npos || t.str().find('"') != std::string::npos;
  const char quote = single ? '\'' : '"';
  Text out(std::string_view(&quote, 1));
  for (const Text& c : t.characters()) {
    const char first = c.str()[0];
    if (first == quote || first == '\\')
      out += Text("\\") + c;
    else if (first == '\n')
      out += "\\n";
    else if (first == '\r')
      out += "\\r";
    else if (first == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(first) < 0x20 || first == 0x7f)
      out +=
          Text(fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(first))));
    else
      out += c;
  }
  return out += Text(std::string_view(&quote, 1));
}

Text joined(const List& items) {
  Text out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    out += items[i].repr();
  }
  return out;
}

}  // namespace

Text Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (const bool* b = get<bool>()) return *b ? "True" : "False";
  if (const Integer* i = get<Integer>()) return Text(format_integer(*i));
  if (const double* d = get<double>()) return Text(format_double(*d));
  if (const Text* t = as_text()) return quoted(*t);
  if (const List* l = as_list()) return Text("[") + joined(*l) + "]";
  if (const Tuple* t = get<Tuple>(); t && t->view)
    return Text(t->view) + "([" + joined(*t->items) + "])";
  if (const Tuple* t = get<Tuple>())
    return Text("(") + joined(*t->items) + (t->items->size() == 1 ? ",)" : ")");
  if (const Dict* o = as_dict()) {
    Text out = "{";
    for (std::size_t i = 0; i < o->size(); ++i) {
      if (i > 0) out += ", ";
      out += (*o)[i].first.repr() + ": " + (*o)[i].second.repr();
    }
    return out += "}";
  }
  if (const Callable* c = as_callable()) return Text("<function " + c->name + ">");
  return Text("<" + type_name() + ">");
}

bool Value::equals(const Value& other) const {
  if (is_undefined() || other.is_undefined()) return is_undefined() && other.is_undefined();
  if (is_none() || other.is_none()) return is_none() && other.is_none();
  Integer i = 0, j = 0;
  if (to_integer(i) && other.to_integer(j)) return i == j;
  double a = 0, b = 0;
  if (to_double(a) && other.to_double(b)) return a == b;
  if (as_text() && other.as_text()) return *as_text() == *other.as_text();
  const bool lists = (as_list() && other.as_list()) || (get<Tuple>() && other.get<Tuple>());
  if (lists) {
    const List &l = *as_sequence(), &m = *other.as_sequence();
    if (l.size() != m.size()) return false;
    for (std::size_t k = 0; k < l.size(); ++k)
      if (!l[k].equals(m[k])) return false;
    return true;
  }
  if (as_dict() && other.as_dict()) {
    if (as_dict()->size() != other.as_dict()->size()) return false;
    for (const auto& [key, value] : *as_dict()) {
      const Value* twin = other.find(key);
      if (!twin || !value.equals(*twin)) return false;
    }
    return true;
  }
  if (as_namespace() && other.as_namespace())
    return as_namespace()->fields == other.as_namespace()->fields;
  if (as_callable() && other.as_callable()) return as_callable()->call == other.as_callable()->call;
  return false;
}

const Value* Value::find(const Value& key) const {
  const Dict* d = as_namespace() ? as_namespace()->fields.get() : as_dict();
  if (!d) return nullptr;
  for (const auto& [k, v] : *d)
    if (k.equals(key)) return &v;
  return nullptr;
}

}  // namespace octet::chat_template
