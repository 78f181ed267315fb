// Methods of strings, lists and dicts. Those that would change an object are refused, as in the
// reference's immutable sandbox.

#include <algorithm>
#include <functional>
#include <map>

#include "input/chat_template/evaluator.h"

namespace octet::chat_template {

namespace {

using Method = Value (*)(Evaluator&, const Value&, const Arguments&);

const Text& self(const Value& v) {
  return *v.as_text();
}

const Text& text_argument(Evaluator& e, const Arguments& a, std::size_t i) {
  if (i >= a.positional.size()) e.bad("a method needs {} arguments", i + 1);
  const Text* t = a.positional[i].as_text();
  if (!t) e.bad("expected a string, found {}", a.positional[i].type_name());
  return *t;
}

Integer integer_argument(Evaluator& e, const Arguments& a, std::size_t i, const char* name,
                         Integer fallback) {
  const Value* v = argument(a, i, name);
  if (!v || v->is_none()) return fallback;
  Integer n = 0;
  if (!v->to_integer(n)) e.bad("expected a whole number, found {}", v->type_name());
  return n;
}

// null where there is none or None.
const Text* optional_text(Evaluator& e, const Arguments& a, std::size_t i, const char* name) {
  const Value* v = argument(a, i, name);
  if (!v || v->is_none()) return nullptr;
  if (!v->as_text()) e.bad("expected a string or none, found {}", v->type_name());
  return v->as_text();
}

// Index of a byte offset in code points; -1 stays.
Integer character_index(const Text& t, std::size_t byte) {
  return byte == std::string::npos ? -1 : static_cast<Integer>(t.substr(0, byte).num_characters());
}

List split_words(const Text& t, Integer most, bool from_right) {
  List words;
  Text rest = strip(t, nullptr, true, true);
  while (!rest.empty()) {
    // Cut at the first (last) run of blanks.
    std::size_t cut = std::string::npos, after = 0;
    if (static_cast<Integer>(words.size()) != most)
      for (std::size_t at = 0; at < rest.size();) {
        const std::size_t begin = at;
        if (is_space(decode_utf8(rest.view(), at))) {
          cut = begin;
          after = at;
          if (!from_right) break;
        }
      }
    if (cut == std::string::npos) {
      words.push_back(Value::text(rest));
      break;
    }
    if (from_right) {
      words.push_back(Value::text(rest.substr(after)));
      rest = strip(rest.substr(0, cut), nullptr, false, true);
    } else {
      words.push_back(Value::text(rest.substr(0, cut)));
      rest = strip(rest.substr(after), nullptr, true, false);
    }
  }
  if (from_right) std::ranges::reverse(words);
  return words;
}

Value split(Evaluator& e, const Value& v, const Arguments& a, bool from_right) {
  const Text& t = self(v);
  const Text* separator = optional_text(e, a, 0, "sep");
  const Integer most = integer_argument(e, a, 1, "maxsplit", -1);
  if (!separator) return Value::list(split_words(t, most, from_right));
  if (separator->empty()) e.bad("empty separator");
  List parts;
  Text rest = t;
  while (static_cast<Integer>(parts.size()) != most) {
    const std::size_t at =
        from_right ? rest.str().rfind(separator->str()) : rest.str().find(separator->str());
    if (at == std::string::npos) break;
    if (from_right) {
      parts.push_back(Value::text(rest.substr(at + separator->size())));
      rest = rest.substr(0, at);
    } else {
      parts.push_back(Value::text(rest.substr(0, at)));
      rest = rest.substr(at + separator->size());
    }
    e.spend(static_cast<std::int64_t>(rest.size() / 256) + 1);
  }
  parts.push_back(Value::text(std::move(rest)));
  if (from_right) std::ranges::reverse(parts);
  return Value::list(std::move(parts));
}

Value strip_method(Evaluator& e, const Value& v, const Arguments& a, bool left, bool right) {
  return Value::text(strip(self(v), optional_text(e, a, 0, "chars"), left, right));
}

Value affix(Evaluator& e, const Value& v, const Arguments& a, bool front) {
  if (a.positional.empty()) e.bad("startswith and endswith take a string");
  const std::string& s = self(v).str();
  const auto fits = [&](const Value& affix_value) {
    if (!affix_value.as_text()) e.bad("expected a string, found {}", affix_value.type_name());
    const std::string& part = affix_value.as_text()->str();
    return front ? s.starts_with(part) : s.ends_with(part);
  };
  const Value& wanted = a.positional[0];
  if (wanted.get<Tuple>()) return Value(std::ranges::any_of(*wanted.as_sequence(), fits));
  return Value(fits(wanted));
}

Value replace(Evaluator& e, const Value& v, const Arguments& a) {
  const Text &t = self(v), &from = text_argument(e, a, 0), &to = text_argument(e, a, 1);
  Integer left = integer_argument(e, a, 2, "count", -1);
  Text out;
  std::size_t begin = 0;
  if (from.empty()) {
    for (const Text& c : t.characters()) {
      if (left != 0) out += to, --left;
      out += c;
      e.check_size(out.size());
    }
    if (left != 0) out += to;
    return Value::text(std::move(out));
  }
  for (std::size_t at; left != 0 && (at = t.str().find(from.str(), begin)) != std::string::npos;
       --left) {
    out += t.substr(begin, at - begin);
    out += to;
    e.check_size(out.size());
    begin = at + from.size();
  }
  out += t.substr(begin);
  return Value::text(std::move(out));
}

Value join(Evaluator& e, const Value& v, const Arguments& a) {
  if (a.positional.size() != 1) e.bad("join takes one list");
  Text out;
  bool first = true;
  for (const Value& item : e.items(a.positional[0])) {
    if (!item.as_text()) e.bad("join: expected strings, found {}", item.type_name());
    if (!std::exchange(first, false)) out += self(v);
    out += *item.as_text();
    e.check_size(out.size());
  }
  return Value::text(std::move(out));
}

Value count(Evaluator& e, const Value& v, const Arguments& a) {
  const std::string &s = self(v).str(), &part = text_argument(e, a, 0).str();
  if (part.empty()) return Value::integer(static_cast<Integer>(self(v).num_characters()) + 1);
  Integer n = 0;
  for (std::size_t at = 0; (at = s.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return Value::integer(n);
}

Value find(Evaluator& e, const Value& v, const Arguments& a, bool last, bool must) {
  const std::string& part = text_argument(e, a, 0).str();
  const Integer i =
      character_index(self(v), last ? self(v).str().rfind(part) : self(v).str().find(part));
  if (must && i < 0) e.bad("substring not found");
  return Value::integer(i);
}

Value partition(Evaluator& e, const Value& v, const Arguments& a, bool last) {
  const Text &t = self(v), &part = text_argument(e, a, 0);
  if (part.empty()) e.bad("empty separator");
  const std::size_t at = last ? t.str().rfind(part.str()) : t.str().find(part.str());
  if (at == std::string::npos)
    return last ? Value::tuple({Value::text({}), Value::text({}), v})
                : Value::tuple({v, Value::text({}), Value::text({})});
  return Value::tuple({Value::text(t.substr(0, at)), Value::text(t.substr(at, part.size())),
                       Value::text(t.substr(at + part.size()))});
}

template <typename Predicate>
Value all_characters(const Value& v, Predicate good) {
  const Text& t = self(v);
  for (std::size_t at = 0; at < t.size();)
    if (!good(decode_utf8(t.view(), at))) return Value(false);
  return Value(!t.empty());
}

bool is_digit(std::uint32_t c) {
  return c >= '0' && c <= '9';
}

Value splitlines(const Value& v) {
  const Text& t = self(v);
  List lines;
  std::size_t begin = 0;
  while (begin < t.size()) {
    std::size_t end = t.str().find_first_of("\r\n", begin);
    if (end == std::string::npos) end = t.size();
    lines.push_back(Value::text(t.substr(begin, end - begin)));
    begin = end + (t.str().compare(end, 2, "\r\n") == 0 ? 2 : 1);
  }
  return Value::list(std::move(lines));
}

Value pad(Evaluator& e, const Value& v, const Arguments& a, int side) {
  Integer width = integer_argument(e, a, 0, "width", 0);
  const Text* fill = optional_text(e, a, 1, "fillchar");
  const Text& t = self(v);
  const Integer missing = std::max<Integer>(0, width - static_cast<Integer>(t.num_characters()));
  e.check_size(static_cast<std::size_t>(std::min<Integer>(missing, Integer{1} << 40)));
  // Python's centre: the odd blank goes left if the width is odd.
  const Integer left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  Text out;
  for (Integer i = 0; i < left; ++i) out += fill ? *fill : Text(" ");
  out += t;
  for (Integer i = left; i < missing; ++i) out += fill ? *fill : Text(" ");
  return Value::text(std::move(out));
}

Value zfill(Evaluator& e, const Value& v, const Arguments& a) {
  const Integer width = integer_argument(e, a, 0, "width", 0);
  const Text& t = self(v);
  const Integer missing = width - static_cast<Integer>(t.num_characters());
  e.check_size(static_cast<std::size_t>(std::clamp<Integer>(missing, 0, Integer{1} << 40)));
  const bool sign = !t.empty() && (t.str()[0] == '-' || t.str()[0] == '+');
  Text out = t.substr(0, sign ? 1 : 0);
  for (Integer i = 0; i < missing; ++i) out += "0";
  return Value::text(out += t.substr(sign ? 1 : 0));
}

Value swapcase(const Value& v) {
  Text out;
  for (const Text& c : self(v).characters()) out += upper(c) == c ? lower(c) : upper(c);
  return Value::text(std::move(out));
}

// "{} {0} {name}": plain fields only.
Value format(Evaluator& e, const Value& v, const Arguments& a) {
  const Text& t = self(v);
  Text out;
  std::size_t automatic = 0;
  for (std::size_t at = 0; at < t.size();) {
    const char c = t.str()[at];
    if ((c == '{' || c == '}') && at + 1 < t.size() && t.str()[at + 1] == c) {
      out += t.substr(at, 1);
      at += 2;
    } else if (c == '{') {
      const std::size_t end = t.str().find('}', at);
      if (end == std::string::npos) e.bad("format: a field is not closed");
      const std::string field = t.str().substr(at + 1, end - at - 1);
      const Value* value = nullptr;
      if (field.empty()) {
        value = argument(a, automatic++, "");
      } else if (std::ranges::all_of(field, [](char d) { return d >= '0' && d <= '9'; }) &&
                 field.size() < 6) {
        value = argument(a, static_cast<std::size_t>(std::stoi(field)), "");
      } else {
        value = argument(a, SIZE_MAX, field.c_str());
      }
      if (!value) e.bad("format: no value for field '{}'", field);
      out += value->to_text();
      at = end + 1;
    } else if (c == '}') {
      e.bad("format: a single }}");
    } else {
      out += t.substr(at, 1);
      ++at;
    }
    e.check_size(out.size());
  }
  return Value::text(std::move(out));
}

Value dict_items(const Value& v, int what) {
  List list;
  for (const auto& [key, value] : *v.as_dict())
    list.push_back(what == 0 ? key : what == 1 ? value : Value::tuple({key, value}));
  constexpr const char* kViews[] = {"dict_keys", "dict_values", "dict_items"};
  return Value(Tuple{std::make_shared<const List>(std::move(list)), kViews[what]});
}

Value dict_get(Evaluator& e, const Value& v, const Arguments& a) {
  if (a.positional.empty()) e.bad("get takes a key");
  if (const Value* found = v.find(a.positional[0])) return *found;
  return a.positional.size() > 1 ? a.positional[1] : Value(None{});
}

Value list_find(Evaluator& e, const Value& v, const Arguments& a, bool counting) {
  if (a.positional.size() != 1) e.bad("count and index take one value");
  Integer n = 0;
  const List& l = *v.as_sequence();
  for (std::size_t i = 0; i < l.size(); ++i) {
    if (!l[i].equals(a.positional[0])) continue;
    if (!counting) return Value::integer(static_cast<Integer>(i));
    ++n;
  }
  if (!counting) e.bad("the value is not in the list");
  return Value::integer(n);
}

const std::map<std::string, Method>& text_methods() {
  static const std::map<std::string, Method> table{
      {"upper",
       [](Evaluator&, const Value& v, const Arguments&) { return Value::text(upper(self(v))); }},
      {"lower",
       [](Evaluator&, const Value& v, const Arguments&) { return Value::text(lower(self(v))); }},
      {"title",
       [](Evaluator&, const Value& v, const Arguments&) { return Value::text(title(self(v))); }},
      {"capitalize", [](Evaluator&, const Value& v,
                        const Arguments&) { return Value::text(capitalize(self(v))); }},
      {"swapcase", [](Evaluator&, const Value& v, const Arguments&) { return swapcase(v); }},
      {"split",
       [](Evaluator& e, const Value& v, const Arguments& a) { return split(e, v, a, false); }},
      {"rsplit",
       [](Evaluator& e, const Value& v, const Arguments& a) { return split(e, v, a, true); }},
      {"strip", [](Evaluator& e, const Value& v,
                   const Arguments& a) { return strip_method(e, v, a, true, true); }},
      {"lstrip", [](Evaluator& e, const Value& v,
                    const Arguments& a) { return strip_method(e, v, a, true, false); }},
      {"rstrip", [](Evaluator& e, const Value& v,
                    const Arguments& a) { return strip_method(e, v, a, false, true); }},
      {"startswith",
       [](Evaluator& e, const Value& v, const Arguments& a) { return affix(e, v, a, true); }},
      {"endswith",
       [](Evaluator& e, const Value& v, const Arguments& a) { return affix(e, v, a, false); }},
      {"replace", replace},
      {"join", join},
      {"count", count},
      {"find", [](Evaluator& e, const Value& v,
                  const Arguments& a) { return find(e, v, a, false, false); }},
      {"rfind",
       [](Evaluator& e, const Value& v, const Arguments& a) { return find(e, v, a, true, false); }},
      {"index",
       [](Evaluator& e, const Value& v, const Arguments& a) { return find(e, v, a, false, true); }},
      {"rindex",
       [](Evaluator& e, const Value& v, const Arguments& a) { return find(e, v, a, true, true); }},
      {"partition",
       [](Evaluator& e, const Value& v, const Arguments& a) { return partition(e, v, a, false); }},
      {"rpartition",
       [](Evaluator& e, const Value& v, const Arguments& a) { return partition(e, v, a, true); }},
      {"splitlines", [](Evaluator&, const Value& v, const Arguments&) { return splitlines(v); }},
      {"isdigit",
       [](Evaluator&, const Value& v, const Arguments&) { return all_characters(v, is_digit); }},
      {"isalpha",
       [](Evaluator&, const Value& v, const Arguments&) { return all_characters(v, is_letter); }},
      {"isalnum",
       [](Evaluator&, const Value& v, const Arguments&) {
         return all_characters(v, [](std::uint32_t c) { return is_letter(c) || is_digit(c); });
       }},
      {"isspace",
       [](Evaluator&, const Value& v, const Arguments&) { return all_characters(v, is_space); }},
      {"isupper", [](Evaluator& e, const Value& v,
                     const Arguments& a) { return Value(e.apply_test("upper", v, a)); }},
      {"islower", [](Evaluator& e, const Value& v,
                     const Arguments& a) { return Value(e.apply_test("lower", v, a)); }},
      {"zfill", zfill},
      {"ljust", [](Evaluator& e, const Value& v, const Arguments& a) { return pad(e, v, a, -1); }},
      {"rjust", [](Evaluator& e, const Value& v, const Arguments& a) { return pad(e, v, a, 1); }},
      {"center", [](Evaluator& e, const Value& v, const Arguments& a) { return pad(e, v, a, 0); }},
      {"removeprefix",
       [](Evaluator& e, const Value& v, const Arguments& a) {
         const Text& part = text_argument(e, a, 0);
         return self(v).str().starts_with(part.str()) ? Value::text(self(v).substr(part.size()))
                                                      : v;
       }},
      {"removesuffix",
       [](Evaluator& e, const Value& v, const Arguments& a) {
         const Text& part = text_argument(e, a, 0);
         return self(v).str().ends_with(part.str())
                    ? Value::text(self(v).substr(0, self(v).size() - part.size()))
                    : v;
       }},
      {"format", format}};
  return table;
}

const std::map<std::string, Method>& dict_methods() {
  static const std::map<std::string, Method> table{
      {"keys", [](Evaluator&, const Value& v, const Arguments&) { return dict_items(v, 0); }},
      {"values", [](Evaluator&, const Value& v, const Arguments&) { return dict_items(v, 1); }},
      {"items", [](Evaluator&, const Value& v, const Arguments&) { return dict_items(v, 2); }},
      {"get", dict_get}};
  return table;
}

const std::map<std::string, Method>& list_methods() {
  static const std::map<std::string, Method> table{
      {"count",
       [](Evaluator& e, const Value& v, const Arguments& a) { return list_find(e, v, a, true); }},
      {"index",
       [](Evaluator& e, const Value& v, const Arguments& a) { return list_find(e, v, a, false); }}};
  return table;
}

bool changes_its_object(const Value& v, const std::string& name) {
  static const std::map<std::string, int> of_lists{{"append", 0},  {"clear", 0}, {"extend", 0},
                                                   {"insert", 0},  {"pop", 0},   {"remove", 0},
                                                   {"reverse", 0}, {"sort", 0}},
      of_dicts{{"clear", 0}, {"pop", 0}, {"popitem", 0}, {"setdefault", 0}, {"update", 0}};
  return (v.as_list() && of_lists.contains(name)) || (v.as_dict() && of_dicts.contains(name));
}

Value loop_method(const Value& v, const std::string& name) {
  using Function = std::function<Value(Evaluator&, const Arguments&)>;
  const auto wrap = [&](Function f) {
    return Value(Callable{name, std::make_shared<const Function>(std::move(f)), nullptr});
  };
  if (name == "cycle")
    return wrap([v](Evaluator& e, const Arguments& a) {
      if (a.positional.empty()) e.bad("cycle takes values");
      return a.positional[v.as_loop()->index % a.positional.size()];
    });
  if (name == "changed")
    return wrap([v](Evaluator&, const Arguments& a) {
      Loop& l = *v.as_loop();
      const Value now = Value::tuple(a.positional);
      const bool changed = !std::exchange(l.has_changed, true) || !l.last_changed.equals(now);
      l.last_changed = now;
      return Value(changed);
    });
  return {};
}

}  // namespace

Value find_method(Evaluator& e, const Value& object, const std::string& name) {
  if (object.as_loop()) return loop_method(object, name);
  if (changes_its_object(object, name))
    e.bad("access to attribute '{}' of '{}' object is unsafe", name, object.type_name());
  const auto& table = object.as_text()   ? text_methods()
                      : object.as_dict() ? dict_methods()
                                         : list_methods();
  if (!object.as_text() && !object.as_dict() && !object.as_sequence()) return {};
  const auto it = table.find(name);
  if (it == table.end()) return {};
  return Value(Callable{name,
                        std::make_shared<const std::function<Value(Evaluator&, const Arguments&)>>(
                            [object, method = it->second](Evaluator& inner, const Arguments& a) {
                              return method(inner, object, a);
                            }),
                        nullptr});
}

}  // namespace octet::chat_template
