#include <algorithm>
#include <string>
#include <vector>

#include "generate/grammar/json_text.h"
#include "generate/grammar/schema_rules.h"
#include "generate/grammar/tool_rules.h"
#include "generate/grammar/tool_text.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

constexpr int kMaxFormatDepth = 32;
constexpr std::size_t kMaxTags = 1024, kMaxTextBytes = 4096;

[[noreturn]] void wrong(const std::string& where, std::string_view what) {
  fail(ErrorCode::invalid_argument, "structural tag: {} {}", where, what);
}

const json::object& object_at(const json::value& value, const std::string& where) {
  const auto* object = value.if_object();
  if (!object) wrong(where, "must be an object");
  return *object;
}

const json::value& field(const json::object& object, std::string_view name,
                         const std::string& where) {
  const auto* value = object.if_contains(name);
  if (!value) wrong(where, fmt::format("has no `{}`", name));
  return *value;
}

std::string text_field(const json::object& object, std::string_view name,
                       const std::string& where) {
  const json::value& value = field(object, name, where);
  if (!value.is_string() || value.get_string().size() > kMaxTextBytes)
    wrong(where + "." + std::string(name),
          fmt::format("must be a string of at most {} bytes", kMaxTextBytes));
  return std::string(value.get_string());
}

const json::array& list_field(const json::object& object, std::string_view name,
                              const std::string& where) {
  const json::value& value = field(object, name, where);
  if (!value.is_array() || value.get_array().empty() || value.get_array().size() > kMaxTags)
    wrong(where + "." + std::string(name),
          fmt::format("must be an array of 1 to {} items", kMaxTags));
  return value.get_array();
}

bool flag_field(const json::object& object, std::string_view name, const std::string& where) {
  const auto* value = object.if_contains(name);
  if (!value || value->is_null()) return false;
  if (!value->is_bool()) wrong(where + "." + std::string(name), "must be true or false");
  return value->get_bool();
}

std::vector<std::string> texts_field(const json::object& object, std::string_view name,
                                     const std::string& where) {
  std::vector<std::string> out;
  for (const json::value& item : list_field(object, name, where)) {
    if (!item.is_string() || item.get_string().empty() ||
        item.get_string().size() > kMaxTextBytes)
      wrong(where + "." + std::string(name),
            fmt::format("must hold strings of 1 to {} bytes", kMaxTextBytes));
    out.emplace_back(item.get_string());
  }
  return out;
}

std::string item_of(const std::string& where, std::string_view name, std::size_t i) {
  return fmt::format("{}.{}[{}]", where, name, i);
}

struct Tag {
  std::string begin;
  NodePtr body;  ///< content and end
};

class Maker {
 public:
  Maker(Rules& rules, const JsonStyle& style) : text_(rules, style) {}

  NodePtr schema(const json::value& value, const std::string& where) {
    try {
      return json_schema(text_.rules(), value, text_.style());
    } catch (const Error& e) {
      if (e.code() != ErrorCode::invalid_argument) throw;
      wrong(where, e.what());
    }
  }

  /// Free text; at triggers, tags.
  NodePtr triggered(const std::vector<std::string>& triggers, const std::vector<Tag>& tags,
                    bool at_least_one, bool stop_after_first, const std::string& where) {
    std::vector<NodePtr> choices;
    for (std::size_t i = 0; i < tags.size(); ++i) {
      if (std::ranges::none_of(triggers,
                               [&](const auto& t) { return tags[i].begin.starts_with(t); }))
        wrong(where, fmt::format("has a tag whose `begin` (`{}`) starts with no trigger",
                                 tags[i].begin.substr(0, 100)));
      choices.push_back(sequence({literal(tags[i].begin), tags[i].body}));
    }
    const NodePtr free = text_without_any(triggers);
    const NodePtr tag = rule_ref(text_.rules().add("tag", choice(std::move(choices))));
    const NodePtr first = at_least_one ? tag : sequence({free, tag});
    if (stop_after_first) return at_least_one ? first : choice({free, first});
    const NodePtr more = repeat(sequence({free, tag}), 0, kUnbounded);
    return at_least_one ? sequence({tag, more, free}) : sequence({more, free});
  }

  NodePtr format(const json::value& value, const std::string& where, int depth) {
    if (depth > kMaxFormatDepth)
      wrong(where, fmt::format("is nested deeper than {} levels", kMaxFormatDepth));
    const json::object& object = object_at(value, where);
    const std::string type = text_field(object, "type", where);
    if (type == "const_string") return literal(text_field(object, "value", where));
    if (type == "any_text") {
      const auto* excludes = object.if_contains("excludes");
      if (!excludes || (excludes->is_array() && excludes->get_array().empty()))
        return text_without("");
      return text_without_any(texts_field(object, "excludes", where));
    }
    if (type == "json_schema")
      return schema(field(object, "json_schema", where), where + ".json_schema");
    if (type == "qwen_xml_parameter")
      return strict_parameters(text_, field(object, "json_schema", where),
                               "structural tag: " + where + ".json_schema");
    if (type == "regex") {
      try {
        return regex(text_.rules(), text_field(object, "pattern", where));
      } catch (const Error& e) {
        if (e.code() != ErrorCode::invalid_argument) throw;
        wrong(where + ".pattern", e.what());
      }
    }
    if (type == "grammar") {
      try {
        const Rules other = parse_ebnf(text_field(object, "grammar", where));
        return imported(text_.rules(), other, rule_ref(other.root));
      } catch (const Error& e) {
        if (e.code() != ErrorCode::invalid_argument) throw;
        wrong(where + ".grammar", e.what());
      }
    }
    if (type == "sequence" || type == "or") {
      std::vector<NodePtr> parts;
      const json::array& list = list_field(object, "elements", where);
      for (std::size_t i = 0; i < list.size(); ++i)
        parts.push_back(format(list[i], item_of(where, "elements", i), depth + 1));
      return type == "or" ? choice(std::move(parts)) : sequence(std::move(parts));
    }
    if (type == "tag") {
      const Tag t = tag(value, where, depth);
      return sequence({literal(t.begin), t.body});
    }
    if (type == "triggered_tags")
      return triggered(texts_field(object, "triggers", where), tags(object, where, depth),
                       flag_field(object, "at_least_one", where),
                       flag_field(object, "stop_after_first", where), where);
    if (type == "tags_with_separator") {
      std::vector<NodePtr> choices;
      for (const Tag& t : tags(object, where, depth))
        choices.push_back(sequence({literal(t.begin), t.body}));
      const NodePtr one = rule_ref(text_.rules().add("tag", choice(std::move(choices))));
      const NodePtr separator = literal(text_field(object, "separator", where));
      const bool stop = flag_field(object, "stop_after_first", where);
      const NodePtr some =
          sequence({one, repeat(sequence({separator, one}), 0, stop ? 0 : kUnbounded)});
      return flag_field(object, "at_least_one", where) ? some : optional(some);
    }
    wrong(where + ".type",
          fmt::format("`{}` is not supported; it may be const_string, any_text, json_schema, "
                      "qwen_xml_parameter, regex, grammar, sequence, or, tag, triggered_tags or "
                      "tags_with_separator",
                      type.substr(0, 100)));
  }

 private:
  std::vector<Tag> tags(const json::object& object, const std::string& where, int depth) {
    std::vector<Tag> out;
    const json::array& list = list_field(object, "tags", where);
    for (std::size_t i = 0; i < list.size(); ++i)
      out.push_back(tag(list[i], item_of(where, "tags", i), depth + 1));
    return out;
  }

  Tag tag(const json::value& value, const std::string& where, int depth) {
    const json::object& object = object_at(value, where);
    std::vector<std::string> ends;
    if (field(object, "end", where).is_array())
      ends = texts_field(object, "end", where);
    else
      ends.push_back(text_field(object, "end", where));
    const json::value& content = field(object, "content", where);
    NodePtr inside;
    const json::object& inner = object_at(content, where + ".content");
    const auto* type = inner.if_contains("type");
    // Free text must stop at the end of its tag.
    if (type && *type == "any_text" && std::ranges::none_of(ends, &std::string::empty)) {
      std::vector<std::string> never = ends;
      if (const auto* excludes = inner.if_contains("excludes");
          excludes && excludes->is_array() && !excludes->get_array().empty())
        for (std::string& e : texts_field(inner, "excludes", where + ".content"))
          never.push_back(std::move(e));
      inside = text_without_any(never);
    } else {
      inside = format(content, where + ".content", depth + 1);
    }
    std::vector<NodePtr> closes;
    for (std::string& end : ends) closes.push_back(literal(std::move(end)));
    return {text_field(object, "begin", where), sequence({inside, choice(std::move(closes))})};
  }

  JsonText text_;
};

}  // namespace

NodePtr text_without_any(const std::vector<std::string>& strings) {
  if (strings.size() == 1) return text_without(strings[0]);
  // Those that contain another one add nothing.
  std::vector<std::string> all;
  for (const std::string& s : strings)
    if (std::ranges::none_of(strings, [&](const std::string& other) {
          return other.size() < s.size() && s.find(other) != std::string::npos;
        }) &&
        std::ranges::find(all, s) == all.end())
      all.push_back(s);
  if (all.size() == 1) return text_without(all[0]);
  std::vector<std::vector<std::uint32_t>> texts;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> first;
  for (const std::string& s : all) {
    texts.push_back(code_points(s));
    first.emplace_back(texts.back()[0], texts.back()[0]);
  }
  const auto is_first = [&](std::uint32_t c) {
    return std::ranges::find(first, std::pair(c, c)) != first.end();
  };
  for (const auto& t : texts)
    if (std::any_of(t.begin() + 1, t.end(), is_first))
      fail(ErrorCode::invalid_argument,
           "structural tag: triggers (or texts to leave out) may not have the first character of "
           "one of them further inside; use one that all begin with");
  // A beginning of a string that then goes on otherwise. What follows it directly may be another
  // beginning, as a first character is found nowhere else.
  std::vector<std::vector<std::uint32_t>> beginnings;
  for (const auto& t : texts)
    for (std::size_t n = 1; n < t.size(); ++n) beginnings.emplace_back(t.begin(), t.begin() + static_cast<std::ptrdiff_t>(n));
  std::ranges::sort(beginnings);
  beginnings.erase(std::unique(beginnings.begin(), beginnings.end()), beginnings.end());
  std::vector<NodePtr> bare, left;
  for (const auto& b : beginnings) {
    std::string bytes;
    for (const std::uint32_t c : b) bytes += to_utf8(c);
    bare.push_back(literal(bytes));
    auto not_next = first;
    for (const auto& t : texts)
      if (t.size() > b.size() && std::equal(b.begin(), b.end(), t.begin()))
        not_next.emplace_back(t[b.size()], t[b.size()]);
    not_next.emplace_back(0xD800, 0xDFFF);
    left.push_back(sequence({literal(bytes), char_class(std::move(not_next), true)}));
  }
  auto plain = first;
  plain.emplace_back(0xD800, 0xDFFF);
  if (bare.empty()) return repeat(char_class(std::move(plain), true), 0, kUnbounded);
  const NodePtr begun = choice(std::move(bare));
  const NodePtr unit =
      choice({char_class(std::move(plain), true),
              sequence({repeat(begun, 0, kUnbounded), choice(std::move(left))})});
  return sequence({repeat(unit, 0, kUnbounded), repeat(begun, 0, kUnbounded)});
}

Rules structural_tag_rules(const json::value& tag, const JsonStyle& style) {
  Rules rules;
  rules.root = rules.add("answer");
  Maker maker(rules, style);
  const json::object& object = object_at(tag, "it");
  if (const auto* type = object.if_contains("type"); type && *type != "structural_tag")
    wrong("type", "must be `structural_tag`");
  NodePtr body;
  if (const auto* format = object.if_contains("format")) {
    body = maker.format(*format, "format", 0);
  } else {
    std::vector<Tag> tags;
    const json::array& list = list_field(object, "structures", "it");
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string where = fmt::format("structures[{}]", i);
      const json::object& structure = object_at(list[i], where);
      const json::value* schema = structure.if_contains("schema");
      static const json::value kAnything(true);
      tags.push_back({text_field(structure, "begin", where),
                      sequence({maker.schema(schema && !schema->is_null() ? *schema : kAnything,
                                             where + ".schema"),
                                literal(text_field(structure, "end", where))})});
    }
    body = maker.triggered(texts_field(object, "triggers", "it"), tags, false, false, "it");
  }
  rules.rules[static_cast<std::size_t>(rules.root)].body = std::move(body);
  return rules;
}

}  // namespace octet::generate::grammar
