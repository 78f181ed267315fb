#include <algorithm>
#include <cmath>

#include "input/chat_template/evaluator.h"

namespace octet::chat_template {

namespace {

struct Writer {
  Evaluator& e;
  bool ensure_ascii = false, sort_keys = false;
  std::string indent;  // of one level; meaningful if pretty
  bool pretty = false;
  Text item_separator = ", ", key_separator = ": ";
  Text out;

  void newline(int depth) {
    if (!pretty) return;
    out += "\n";
    for (int i = 0; i < depth; ++i) out += Text(indent);
  }

  void string(const Text& t) {
    out += "\"";
    for (const Text& c : t.characters()) {
      std::size_t at = 0;
      const std::uint32_t code = decode_utf8(c.view(), at);
      const auto escape = [&](std::uint32_t unit) {
        out += Text(fmt::format("\\u{:04x}", unit), c.from_user(0));
      };
      if (code == '"' || code == '\\')
        out += Text("\\") + c;
      else if (code == '\n')
        out += "\\n";
      else if (code == '\r')
        out += "\\r";
      else if (code == '\t')
        out += "\\t";
      else if (code == '\b')
        out += "\\b";
      else if (code == '\f')
        out += "\\f";
      else if (code < 0x20)
        escape(code);
      else if (!ensure_ascii || code < 0x7f)
        out += c;
      else if (code < 0x10000)
        escape(code);
      else {
        escape(0xd800 + ((code - 0x10000) >> 10));
        escape(0xdc00 + ((code - 0x10000) & 0x3ff));
      }
    }
    out += "\"";
    e.check_size(out.size());
  }

  void number(double d) {
    if (std::isnan(d))
      out += "NaN";
    else if (std::isinf(d))
      out += d < 0 ? "-Infinity" : "Infinity";
    else
      out += Text(format_double(d));
  }

  // A key that is no string is written as JSON would write it, in quotes.
  void key(const Value& k) {
    if (k.as_text()) return string(*k.as_text());
    if (k.is_none()) return string("null");
    if (k.is_bool()) return string(k.truth() ? "true" : "false");
    if (k.is_number()) return string(k.to_text());
    e.bad("tojson: a key of type {}", k.type_name());
  }

  void write(const Value& v, int depth) {
    e.spend(1);
    if (v.is_none())
      out += "null";
    else if (v.is_bool())
      out += v.truth() ? "true" : "false";
    else if (const double* d = v.get<double>())
      number(*d);
    else if (v.is_number())
      out += v.to_text();
    else if (v.as_text())
      string(*v.as_text());
    else if (const List* l = v.as_sequence()) {
      out += "[";
      for (std::size_t i = 0; i < l->size(); ++i) {
        if (i > 0) out += item_separator;
        newline(depth + 1);
        write((*l)[i], depth + 1);
      }
      if (!l->empty()) newline(depth);
      out += "]";
    } else if (const Dict* dict = v.as_dict()) {
      Dict fields = *dict;
      if (sort_keys)
        std::ranges::stable_sort(
            fields, [&](const auto& a, const auto& b) { return e.less(a.first, b.first); });
      out += "{";
      for (std::size_t i = 0; i < fields.size(); ++i) {
        if (i > 0) out += item_separator;
        newline(depth + 1);
        key(fields[i].first);
        out += key_separator;
        write(fields[i].second, depth + 1);
      }
      if (!fields.empty()) newline(depth);
      out += "}";
    } else {
      e.bad("tojson: an object of type {} can't be written as JSON", v.type_name());
    }
  }
};

}  // namespace

Text to_json_text(Evaluator& e, const Value& value, const Arguments& a) {
  Writer w{.e = e};
  if (const Value* v = argument(a, 0, "ensure_ascii")) w.ensure_ascii = v->truth();
  if (const Value* v = argument(a, 1, "indent"); v && !v->is_none()) {
    Integer n = 0;
    if (v->as_text())
      w.indent = v->as_text()->str();
    else if (v->to_integer(n))
      w.indent = std::string(static_cast<std::size_t>(std::clamp<Integer>(n, 0, 64)), ' ');
    else
      e.bad("tojson: indent of type {}", v->type_name());
    w.pretty = true;
    w.item_separator = ",";
  }
  if (const Value* v = argument(a, 2, "separators"); v && !v->is_none()) {
    const List* l = v->as_sequence();
    if (!l || l->size() != 2 || !(*l)[0].as_text() || !(*l)[1].as_text())
      e.bad("tojson: separators must be two strings");
    w.item_separator = *(*l)[0].as_text();
    w.key_separator = *(*l)[1].as_text();
  }
  if (const Value* v = argument(a, 3, "sort_keys")) w.sort_keys = v->truth();
  w.write(value, 0);
  return std::move(w.out);
}

}  // namespace octet::chat_template
