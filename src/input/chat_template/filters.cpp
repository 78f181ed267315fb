// Filters of single values.

#include "input/chat_template/filters.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace octet::chat_template {

Integer integer_option(Evaluator& e, const Arguments& a, std::size_t i, const char* name,
                       Integer fallback) {
  const Value* v = argument(a, i, name);
  if (!v) return fallback;
  Integer n = 0;
  if (!v->to_integer(n)) e.bad("{}: expected a whole number, found {}", name, v->type_name());
  return n;
}

bool flag_option(const Arguments& a, std::size_t i, const char* name, bool fallback) {
  const Value* v = argument(a, i, name);
  return v ? v->truth() : fallback;
}

Text text_option(Evaluator& e, const Arguments& a, std::size_t i, const char* name,
                 const Text& fallback) {
  const Value* v = argument(a, i, name);
  if (!v) return fallback;
  if (!v->as_text()) e.bad("{}: expected a string, found {}", name, v->type_name());
  return *v->as_text();
}

namespace {

Value length(Evaluator& e, const Value& v, const Arguments&) {
  if (v.is_undefined()) return Value::integer(0);
  if (const Text* t = v.as_text()) return Value::integer(static_cast<Integer>(t->num_characters()));
  if (const List* l = v.as_sequence()) return Value::integer(static_cast<Integer>(l->size()));
  if (const Dict* d = v.as_dict()) return Value::integer(static_cast<Integer>(d->size()));
  e.bad("object of type '{}' has no length", v.type_name());
}

Value trim(Evaluator& e, const Value& v, const Arguments& a) {
  const Value* chars = argument(a, 0, "chars");
  if (chars && !chars->is_none() && !chars->as_text())
    e.bad("trim: expected a string of characters");
  return Value::text(strip(v.to_text(), chars ? chars->as_text() : nullptr, true, true));
}

Value escape(Evaluator&, const Value& v, const Arguments&) {
  Text out;
  for (const Text& c : v.to_text().characters()) {
    if (c == Text("&"))
      out += "&amp;";
    else if (c == Text("<"))
      out += "&lt;";
    else if (c == Text(">"))
      out += "&gt;";
    else if (c == Text("\""))
      out += "&#34;";
    else if (c == Text("'"))
      out += "&#39;";
    else
      out += c;
  }
  return Value::text(std::move(out));
}

Value default_value(Evaluator&, const Value& v, const Arguments& a) {
  const Value* fallback = argument(a, 0, "default_value");
  const bool falsy_too = flag_option(a, 1, "boolean", false);
  if (!v.is_undefined() && (!falsy_too || v.truth())) return v;
  return fallback ? *fallback : Value::text({});
}

Value replace(Evaluator& e, const Value& v, const Arguments& a) {
  Arguments plain;
  for (std::size_t i = 0; i < a.positional.size(); ++i)
    plain.positional.push_back(i < 2 ? Value::text(a.positional[i].to_text()) : a.positional[i]);
  return e.call(e.attribute(Value::text(v.to_text()), "replace"), plain);
}

Value to_integer(Evaluator&, const Value& v, const Arguments& a) {
  const Value* given = argument(a, 0, "default");
  const Value fallback = given ? *given : Value::integer(0);
  Integer n = 0;
  if (v.to_integer(n)) return Value::integer(n);
  double d = 0;
  if (!v.to_double(d)) {
    if (!v.as_text()) return fallback;
    const std::string text = strip(*v.as_text(), nullptr, true, true).str();
    char* end = nullptr;
    d = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0') return fallback;
  }
  if (!std::isfinite(d) || std::fabs(d) > 1e36) return fallback;
  return Value::integer(static_cast<Integer>(std::trunc(d)));
}

Value to_float(Evaluator&, const Value& v, const Arguments& a) {
  const Value* given = argument(a, 0, "default");
  double d = 0;
  if (v.to_double(d)) return Value(d);
  if (v.as_text()) {
    const std::string text = strip(*v.as_text(), nullptr, true, true).str();
    char* end = nullptr;
    d = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0') return Value(d);
  }
  return given ? *given : Value(0.0);
}

Value round(Evaluator& e, const Value& v, const Arguments& a) {
  double d = 0;
  if (!v.to_double(d)) e.bad("round: expected a number, found {}", v.type_name());
  const auto digits =
      static_cast<int>(std::clamp<Integer>(integer_option(e, a, 0, "precision", 0), -300, 300));
  const std::string method = text_option(e, a, 1, "method", "common").str();
  const double factor = std::pow(10.0, digits);
  if (method == "ceil") return Value(std::ceil(d * factor) / factor);
  if (method == "floor") return Value(std::floor(d * factor) / factor);
  if (method != "common") e.bad("round: method must be common, ceil or floor");
  // The nearest decimal, halves to even: what printing with that many digits does.
  if (digits >= 0) return Value(std::strtod(fmt::format("{:.{}f}", d, digits).c_str(), nullptr));
  return Value(std::nearbyint(d * factor) / factor);
}

Value absolute(Evaluator& e, const Value& v, const Arguments&) {
  Integer n = 0;
  if (v.to_integer(n)) return Value::integer(n < 0 ? -n : n);
  double d = 0;
  if (v.to_double(d)) return Value(std::fabs(d));
  e.bad("bad operand type for abs: '{}'", v.type_name());
}

Value indent(Evaluator& e, const Value& v, const Arguments& a) {
  Text pad;
  const Value* width = argument(a, 0, "width");
  if (width && width->as_text())
    pad = *width->as_text();
  else
    pad = Text(std::string(
        static_cast<std::size_t>(std::clamp<Integer>(integer_option(e, a, 0, "width", 4), 0, 1000)),
        ' '));
  const bool first = flag_option(a, 1, "first", false), blank = flag_option(a, 2, "blank", false);
  const Text t = v.to_text();
  Text out;
  for (std::size_t begin = 0, line = 0; begin <= t.size(); ++line) {
    std::size_t end = t.str().find('\n', begin);
    if (end == std::string::npos) end = t.size();
    if (line > 0) out += "\n";
    const Text content = t.substr(begin, end - begin);
    if (line == 0 ? first : (blank || !content.empty())) out += pad;
    out += content;
    e.check_size(out.size());
    begin = end + 1;
  }
  return Value::text(std::move(out));
}

Value wordcount(Evaluator&, const Value& v, const Arguments&) {
  const Text t = v.to_text();
  Integer words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < t.size();) {
    const std::uint32_t c = decode_utf8(t.view(), at);
    const bool word = is_letter(c) || (c >= '0' && c <= '9') || c == '_';
    words += word && !inside;
    inside = word;
  }
  return Value::integer(words);
}

Value truncate(Evaluator& e, const Value& v, const Arguments& a) {
  const Text t = v.to_text();
  const Integer most = integer_option(e, a, 0, "length", 255);
  const bool kill_words = flag_option(a, 1, "killwords", false);
  const Text end = text_option(e, a, 2, "end", "...");
  const Integer leeway = integer_option(e, a, 3, "leeway", 5);
  const auto characters = t.characters();
  if (static_cast<Integer>(characters.size()) <= most + leeway) return Value::text(t);
  const Integer keep = std::max<Integer>(0, most - static_cast<Integer>(end.num_characters()));
  Text out;
  for (Integer i = 0; i < keep; ++i) out += characters[static_cast<std::size_t>(i)];
  if (!kill_words) {
    const std::size_t blank = out.str().rfind(' ');
    if (blank != std::string::npos) out = out.substr(0, blank);
  }
  return Value::text(out += end);
}

// printf-style: %s %d %f %r %x and %%, with flags, width and precision.
Value format(Evaluator& e, const Value& v, const Arguments& a) {
  const Text t = v.to_text();
  Text out;
  std::size_t used = 0;
  for (std::size_t at = 0; at < t.size(); ++at) {
    if (t.str()[at] != '%') {
      out += t.substr(at, 1);
      continue;
    }
    const std::size_t begin = at + 1;
    at = t.str().find_first_not_of("-+ #0123456789.", begin);
    if (at == std::string::npos) e.bad("format: incomplete field");
    std::string spec = t.str().substr(begin, at - begin);
    const char kind = t.str()[at];
    if (kind == '%') {
      out += "%";
      continue;
    }
    if (used >= a.positional.size()) e.bad("format: not enough values");
    if (spec.size() > 8) e.bad("format: field %{}{} is too wide", spec, kind);
    const Value& value = a.positional[used++];
    if (kind == 's' || kind == 'r') {
      const Text text = kind == 's' ? value.to_text() : value.repr();
      if (spec.empty())
        out += text;
      else
        out += Text(fmt::format(
            fmt::runtime(spec[0] == '-' ? "{:<" + spec.substr(1) + "}" : "{:>" + spec + "}"),
            text.str()));
    } else if (kind == 'd' || kind == 'i') {
      double d = 0;
      if (!value.to_double(d)) e.bad("format: %d needs a number, found {}", value.type_name());
      Integer n = 0;
      if (!value.to_integer(n)) n = static_cast<Integer>(d);
      char buffer[64];
      std::snprintf(buffer, sizeof buffer, ("%" + spec + "lld").c_str(), static_cast<long long>(n));
      out += Text(buffer);
    } else if (kind == 'f' || kind == 'g' || kind == 'e' || kind == 'x' || kind == 'X') {
      double d = 0;
      if (!value.to_double(d))
        e.bad("format: %{} needs a number, found {}", kind, value.type_name());
      char buffer[512];
      if (kind == 'x' || kind == 'X')
        std::snprintf(buffer, sizeof buffer, ("%" + spec + "ll" + kind).c_str(),
                      static_cast<long long>(d));
      else
        std::snprintf(buffer, sizeof buffer, ("%" + spec + kind).c_str(), d);
      out += Text(buffer);
    } else {
      e.bad("format: unknown field %{}", kind);
    }
    e.check_size(out.size());
  }
  if (used < a.positional.size()) e.bad("format: not all values were used");
  return Value::text(std::move(out));
}

Value reverse(Evaluator& e, const Value& v, const Arguments&) {
  if (const Text* t = v.as_text()) {
    Text out;
    const auto characters = t->characters();
    for (auto it = characters.rbegin(); it != characters.rend(); ++it) out += *it;
    return Value::text(std::move(out));
  }
  List list = e.items(v);
  std::ranges::reverse(list);
  return Value::list(std::move(list));
}

Value items(Evaluator& e, const Value& v, const Arguments&) {
  if (v.is_undefined()) return Value::list({});
  if (!v.as_dict()) e.bad("can only get item pairs from a mapping, found {}", v.type_name());
  return e.call(e.attribute(v, "items"), {});
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> table = [] {
    std::map<std::string, Filter> t;
    t["length"] = t["count"] = length;
    t["trim"] = trim;
    t["string"] = [](auto&, const Value& v, auto&) { return Value::text(v.to_text()); };
    // Nothing is escaped here, so nothing needs to be marked as safe.
    t["safe"] = [](auto&, const Value& v, auto&) { return Value::text(v.to_text()); };
    t["e"] = t["escape"] = t["forceescape"] = escape;
    t["tojson"] = [](Evaluator& e, const Value& v, const Arguments& a) {
      return Value::text(to_json_text(e, v, a));
    };
    t["default"] = t["d"] = default_value;
    t["upper"] = [](auto&, const Value& v, auto&) { return Value::text(upper(v.to_text())); };
    t["lower"] = [](auto&, const Value& v, auto&) { return Value::text(lower(v.to_text())); };
    t["capitalize"] = [](auto&, const Value& v, auto&) {
      return Value::text(capitalize(v.to_text()));
    };
    t["title"] = [](auto&, const Value& v, auto&) { return Value::text(title(v.to_text())); };
    t["center"] = [](Evaluator& e, const Value& v, const Arguments& a) {
      Arguments width;
      width.positional.push_back(Value::integer(integer_option(e, a, 0, "width", 80)));
      return e.call(e.attribute(Value::text(v.to_text()), "center"), width);
    };
    t["replace"] = replace;
    t["int"] = to_integer;
    t["float"] = to_float;
    t["round"] = round;
    t["abs"] = absolute;
    t["indent"] = indent;
    t["wordcount"] = wordcount;
    t["truncate"] = truncate;
    t["format"] = format;
    t["reverse"] = reverse;
    t["items"] = items;
    t["attr"] = [](Evaluator& e, const Value& v, const Arguments& a) {
      // Attributes only, never items; our values have methods and nothing else.
      const Value found = e.attribute(v, text_option(e, a, 0, "name", "").str());
      return found.as_callable() || v.as_namespace() || v.as_loop()
                 ? found
                 : Value::undefined("no such attribute");
    };
    add_list_filters(t);
    return t;
  }();
  return table;
}

}  // namespace

bool filter_exists(const std::string& name) {
  return filters().contains(name);
}

Value Evaluator::apply_filter(const std::string& name, const Value& input,
                              const Arguments& arguments) {
  spend(1);
  const auto it = filters().find(name);
  if (it == filters().end()) bad("no filter named '{}'", name);
  return it->second(*this, input, arguments);
}

}  // namespace octet::chat_template
