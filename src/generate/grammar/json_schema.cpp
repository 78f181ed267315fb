#include <algorithm>

#include "generate/grammar/json_formats.h"
#include "generate/grammar/json_numbers.h"
#include "generate/grammar/schema_pattern.h"
#include "generate/grammar/schema_rules.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {

SchemaRules::SchemaRules(JsonText& text, const json::value& root, std::vector<std::string>* ignored)
    : text_(text), reader_(root, text.style(), ignored) {}

NodePtr SchemaRules::value(const SchemaSet& given) {
  // What many places refer to is made once.
  SchemaSet set;
  for (const Schema& schema : given) set.push_back(reader_.followed(schema));
  if (is_never(set)) return choice({});
  Key key;
  for (const Schema& schema : set)
    if (!schema.value->is_bool()) key.emplace_back(schema.value, schema.plain);
  if (key.empty()) return text_.value();
  std::ranges::sort(key);
  key.erase(std::unique(key.begin(), key.end()), key.end());
  const auto [entry, is_new] = known_.try_emplace(std::move(key), 0);
  if (is_new) {
    entry->second = text_.rules().add(to_pointer(*set[0].place));
    queue_.emplace_back(entry->second, set);
  }
  return rule_ref(entry->second);
}

void SchemaRules::finish() {
  while (!queue_.empty()) {
    auto [rule, set] = std::move(queue_.back());
    queue_.pop_back();
    NodePtr made = body(set);
    text_.rules().rules[static_cast<std::size_t>(rule)].body = std::move(made);
  }
}

NodePtr SchemaRules::body(const SchemaSet& set) {
  std::vector<NodePtr> choices;
  if (const auto alternatives = reader_.alternatives(set)) {
    for (const SchemaSet& one : *alternatives)
      if (!is_never(one)) choices.push_back(value(one));
  } else {
    for (const SchemaShape& shape : reader_.shapes(set)) add_choices(shape, choices);
  }
  return choices.size() == 1 ? choices[0] : choice(std::move(choices));
}

void SchemaRules::add_choices(const SchemaShape& shape, std::vector<NodePtr>& choices) {
  if (shape.values) {
    for (const json::value* v : *shape.values) choices.push_back(text_.constant(*v));
    return;
  }
  for (const auto& format : shape.formats)
    if (!format_text(format.text) && !is_note_format(format.text))
      reader_.unsupported(*format.place->parent, "format", "of that name is not supported");
  const auto add = [&](NodePtr node) {
    if (node) choices.push_back(std::move(node));
  };
  const bool any_array = shape.prefix_items.empty() && shape.items.empty() &&
                         shape.min_items == 0 && shape.max_items == kUnbounded;
  if (shape.types == kAllTypes && any_array && shape.properties.empty() && shape.additional &&
      shape.additional_schemas.empty() && shape.pattern_properties.empty() &&
      shape.property_names.empty() && shape.min_properties == 0 &&
      shape.max_properties == kUnbounded && shape.min_length == 0 &&
      shape.max_length == kUnbounded && shape.patterns.empty() && !shape.lower && !shape.upper) {
    add(text_.value());
    return;
  }
  if (shape.types & kNullType) add(literal("null"));
  if (shape.types & kBooleanType) add(text_.boolean());
  if (shape.types & kIntegerType) {
    const bool whole = !(shape.types & kFractionType);
    if (!shape.lower && !shape.upper)
      add(whole ? text_.integer() : text_.number());
    else
      add(whole ? integer_between(shape.lower, shape.upper)
                : number_between(shape.lower, shape.upper));
  }
  if (shape.types & kStringType) add(string(shape));
  if (shape.types & kArrayType) add(any_array ? text_.array() : array(shape));
  if (shape.types & kObjectType) add(object(shape));
}

NodePtr SchemaRules::string_text(const SchemaShape& shape, Rules& rules) {
  NodePtr node;
  const auto take = [&](NodePtr found, const SchemaShape::Text& from, std::string_view keyword) {
    if (node)
      reader_.unsupported(*from.place->parent, keyword,
                          "is not supported beside another pattern or format");
    else
      node = std::move(found);
  };
  for (const auto& pattern : shape.patterns) {
    try {
      take(schema_pattern(rules, pattern.text), pattern, "pattern");
    } catch (const Error& e) {
      if (e.code() != ErrorCode::invalid_argument) throw;
      if (!beyond_regular(pattern.text))
        fail(ErrorCode::invalid_argument, "JSON schema at {}: {}", to_pointer(*pattern.place),
             e.what());
      reader_.unsupported(*pattern.place->parent, "pattern",
                          "looks around or refers to its groups, which is not supported");
    }
  }
  for (const auto& format : shape.formats)
    if (NodePtr found = format_text(format.text)) take(std::move(found), format, "format");
  if (!node) return nullptr;
  if (shape.min_length == 0 && shape.max_length == kUnbounded) return node;
  NodePtr limited = limit_length(node, shape.min_length, shape.max_length);
  if (limited) return limited;
  reader_.unsupported(*shape.place, shape.max_length < kUnbounded ? "maxLength" : "minLength",
                      "is not supported beside this pattern or format");
  return node;
}

NodePtr SchemaRules::string(const SchemaShape& shape) {
  Rules own;
  if (const NodePtr text = string_text(shape, own))
    return sequence({literal("\""), escaped(text_.rules(), own, text), literal("\"")});
  if (shape.min_length > shape.max_length) return nullptr;
  if (shape.min_length == 0 && shape.max_length == kUnbounded) return text_.string();
  return sequence({literal("\""), repeat(text_.character(), shape.min_length, shape.max_length),
                   literal("\"")});
}

NodePtr SchemaRules::bare_string(const SchemaShape& shape, const std::string& close) {
  if (NodePtr text = string_text(shape, text_.rules())) return text;
  if (shape.min_length > shape.max_length) return nullptr;
  if (shape.min_length == 0 && shape.max_length == kUnbounded) return text_without(close);
  // Counted texts can't also be kept from holding `close`. Short ones are names and titles, which
  // have no line breaks and so no close; long ones rely on what follows a close by mistake being
  // no text of a model.
  constexpr std::int64_t kOneLine = 256;
  static const NodePtr kNoBreak = char_class({{0, 9}, {11, 0xD7FF}, {0xE000, 0x10FFFF}});
  return repeat(shape.max_length <= kOneLine ? kNoBreak : any_character(), shape.min_length,
                shape.max_length);
}

NodePtr SchemaRules::bare_value(const SchemaSet& set, const std::string& close) {
  std::vector<NodePtr> choices;
  for (SchemaShape& shape : reader_.shapes(set)) {
    if (shape.values) {
      for (const json::value* v : *shape.values) {
        const auto* text = v->if_string();
        if (!text)
          choices.push_back(text_.constant(*v));
        else if (std::string_view(*text).find(close) == std::string_view::npos)
          choices.push_back(literal(std::string(*text)));
      }
      continue;
    }
    if (shape.types & kStringType) {
      NodePtr text = bare_string(shape, close);
      // Text without limits has the JSON of everything else in it.
      if (text && text->kind == NodeKind::any_byte_text) return text;
      if (text) choices.push_back(std::move(text));
      shape.types &= ~static_cast<unsigned>(kStringType);
    }
    if (shape.types != 0) add_choices(shape, choices);
  }
  return choices.size() == 1 ? choices[0] : choice(std::move(choices));
}

NodePtr json_schema(Rules& rules, const json::value& schema, const JsonStyle& style,
                    std::vector<std::string>* ignored) {
  JsonText text(rules, style);
  SchemaRules maker(text, schema, ignored);
  // Also checks that it is a schema.
  NodePtr node = maker.value(maker.reader().root());
  maker.finish();
  return node;
}

}  // namespace octet::generate::grammar
