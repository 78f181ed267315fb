#include "generate/grammar/schema_reader.h"

#include <algorithm>
#include <charconv>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

/// Visits of a schema object while alternatives are multiplied out: some seconds at most.
constexpr std::size_t kMaxSteps = 500000;
constexpr std::size_t kMaxIgnored = 64, kMaxShownPlace = 200;

/// Bytes that the value takes as JSON, roughly; and its depth. Without recursion: the depth is what
/// is to be checked.
void check_size(const json::value& root) {
  std::size_t bytes = 0;
  std::vector<std::pair<const json::value*, int>> open{{&root, 1}};
  while (!open.empty()) {
    const auto [value, depth] = open.back();
    open.pop_back();
    if (depth > kMaxSchemaDepth)
      fail(ErrorCode::invalid_argument, "JSON schema: nested deeper than {} levels",
           kMaxSchemaDepth);
    bytes += 2;
    if (const auto* text = value->if_string()) bytes += text->size();
    if (const auto* list = value->if_array())
      for (const json::value& item : *list) open.emplace_back(&item, depth + 1);
    if (const auto* object = value->if_object())
      for (const auto& [key, item] : *object) {
        bytes += key.size() + 3;
        open.emplace_back(&item, depth + 1);
      }
    if (bytes > kMaxSchemaBytes)
      fail(ErrorCode::invalid_argument, "JSON schema: larger than {} bytes", kMaxSchemaBytes);
  }
}

enum class Keyword { constraint, structure, note, unsupported };

/// constraint: says something of the value itself; structure: leads to other schemas.
Keyword keyword_kind(std::string_view name, const json::value& value) {
  using enum Keyword;
  static constexpr std::string_view kConstraints[]{"type",
                                                   "properties",
                                                   "required",
                                                   "additionalProperties",
                                                   "items",
                                                   "patternProperties",
                                                   "propertyNames",
                                                   "prefixItems",
                                                   "minItems",
                                                   "maxItems",
                                                   "enum",
                                                   "const",
                                                   "minLength",
                                                   "maxLength",
                                                   "pattern",
                                                   "format",
                                                   "minimum",
                                                   "maximum",
                                                   "exclusiveMinimum",
                                                   "exclusiveMaximum",
                                                   "minProperties",
                                                   "maxProperties",
                                                   "unevaluatedProperties",
                                                   "additionalItems"};
  static constexpr std::string_view kStructure[]{"anyOf", "oneOf",       "allOf",   "$ref",
                                                 "$defs", "definitions", "nullable"};
  static constexpr std::string_view kNotes[]{"title",
                                             "description",
                                             "default",
                                             "examples",
                                             "example",
                                             "$schema",
                                             "$id",
                                             "id",
                                             "$comment",
                                             "$anchor",
                                             "$vocabulary",
                                             "deprecated",
                                             "readOnly",
                                             "writeOnly",
                                             "discriminator",
                                             "externalDocs",
                                             "xml",
                                             "contentMediaType",
                                             "contentEncoding",
                                             "contentSchema"};
  if (std::ranges::find(kConstraints, name) != std::end(kConstraints)) return constraint;
  if (std::ranges::find(kStructure, name) != std::end(kStructure)) return structure;
  if (std::ranges::find(kNotes, name) != std::end(kNotes) || name.starts_with("x-")) return note;
  // What forbids nothing may stand.
  const auto* flag = value.if_bool();
  if (flag && ((name == "uniqueItems" && !*flag) || (name == "unevaluatedItems" && *flag) ||
               (name == "not" && !*flag)))
    return note;
  return unsupported;
}

const json::value& null_schema() {
  static const json::value schema{{"type", "null"}};
  return schema;
}

std::string unescape(std::string_view token) {
  std::string out;
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] == '~' && i + 1 < token.size() && (token[i + 1] == '0' || token[i + 1] == '1')) {
      out += token[++i] == '0' ? '~' : '/';
    } else if (unsigned code = 0; token[i] == '%' && i + 2 < token.size() &&
                                  std::from_chars(&token[i + 1], &token[i + 1] + 2, code, 16).ptr ==
                                      &token[i + 1] + 2) {
      out += static_cast<char>(code);
      i += 2;
    } else {
      out += token[i];
    }
  }
  return out;
}

}  // namespace

std::string to_pointer(const SchemaPlace& place) {
  std::vector<const SchemaPlace*> line;
  for (const SchemaPlace* p = &place; p->parent; p = p->parent) line.push_back(p);
  std::string out = "#";
  for (auto p = line.rbegin(); p != line.rend(); ++p) {
    out += '/';
    if ((*p)->index >= 0) {
      out += std::to_string((*p)->index);
      continue;
    }
    for (const char c : (*p)->key.substr(0, kMaxShownPlace)) {
      if (c == '~')
        out += "~0";
      else if (c == '/')
        out += "~1";
      else
        out += c;
    }
  }
  if (out.size() > kMaxShownPlace)
    out = out.substr(0, kMaxShownPlace / 2) + "..." + out.substr(out.size() - kMaxShownPlace / 2);
  return out;
}

bool is_never(const SchemaSet& set) {
  return std::ranges::any_of(set, [](const Schema& s) {
    const auto* flag = s.value->if_bool();
    return flag && !*flag;
  });
}

SchemaReader::SchemaReader(const json::value& root, const JsonStyle& style,
                           std::vector<std::string>* ignored)
    : root_(root), style_(style), ignored_(ignored) {
  check_size(root);
}

const SchemaPlace* SchemaReader::at(const SchemaPlace* parent, std::string_view key) {
  return &places_.emplace_back(SchemaPlace{parent, key, -1});
}

const SchemaPlace* SchemaReader::at(const SchemaPlace* parent, std::int64_t index) {
  return &places_.emplace_back(SchemaPlace{parent, {}, index});
}

void SchemaReader::spend(std::size_t steps) {
  steps_ += steps;
  if (steps_ > kMaxSteps)
    fail(ErrorCode::invalid_argument,
         "JSON schema: its alternatives (anyOf, oneOf, allOf, $ref) multiply beyond {} schemas; "
         "use fewer at a time",
         kMaxSteps);
}

void SchemaReader::unsupported(const SchemaPlace& place, std::string_view keyword,
                               std::string_view why) {
  keyword = keyword.substr(0, kMaxShownPlace);
  if (style_.strict)
    fail(ErrorCode::invalid_argument,
         "JSON schema at {}: `{}` {}; remove it, or don't ask for strict", to_pointer(place),
         keyword, why);
  if (!ignored_ || ignored_->size() >= kMaxIgnored) return;
  std::string line = to_pointer(place) + "/" + std::string(keyword);
  if (std::ranges::find(*ignored_, line) == ignored_->end()) ignored_->push_back(std::move(line));
}

void SchemaReader::malformed(const SchemaPlace& place, std::string_view expected,
                             const json::value& found) {
  std::string shown;
  if (found.is_object())
    shown = "an object";
  else if (found.is_array())
    shown = "an array";
  else
    shown = to_json(found);
  if (shown.size() > kMaxShownPlace) shown = shown.substr(0, kMaxShownPlace) + "...";
  fail(ErrorCode::invalid_argument, "JSON schema at {}: expected {}, found {}", to_pointer(place),
       expected, shown);
}

void SchemaReader::check_keywords(const Schema& schema) {
  if (!checked_.insert(schema.value).second) return;
  for (const auto& [name, value] : schema.value->get_object()) {
    if (keyword_kind(name, value) == Keyword::unsupported)
      unsupported(*schema.place, name, "is not supported");
    if (name == "nullable" && !value.is_bool())
      malformed(*at(schema.place, name), "true or false", value);
    if ((name == "$defs" || name == "definitions") && !value.is_object())
      malformed(*at(schema.place, name), "an object of schemas", value);
  }
}

std::vector<Schema> SchemaReader::schemas_of(const json::value& list, const SchemaPlace* place) {
  const auto* array = list.if_array();
  if (!array || array->empty()) malformed(*place, "an array of schemas with one or more", list);
  spend(array->size());
  std::vector<Schema> out;
  for (std::size_t i = 0; i < array->size(); ++i)
    out.push_back({&(*array)[i], at(place, static_cast<std::int64_t>(i))});
  return out;
}

Schema SchemaReader::resolve(const Schema& from, const json::value& reference) {
  const SchemaPlace* place = at(from.place, "$ref");
  const auto* text = reference.if_string();
  if (!text) malformed(*place, "a reference such as \"#/$defs/name\"", reference);
  std::string_view rest(*text);
  if (rest != "#" && !rest.starts_with("#/"))
    malformed(*place, "a reference into this schema, \"#/...\"", reference);
  rest.remove_prefix(1);
  Schema target{&root_, &top_};
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const std::string token = unescape(rest.substr(0, end));
    rest.remove_prefix(end);
    spend(1);
    const json::value* next = nullptr;
    if (const auto* object = target.value->if_object()) {
      if (const auto entry = object->find(token); entry != object->end()) {
        next = &entry->value();
        target.place = at(target.place, std::string_view(entry->key()));
      }
    } else if (const auto* array = target.value->if_array()) {
      std::size_t index = 0;
      const auto [ptr, error] = std::from_chars(token.data(), token.data() + token.size(), index);
      if (error == std::errc() && ptr == token.data() + token.size() && index < array->size()) {
        next = &(*array)[index];
        target.place = at(target.place, static_cast<std::int64_t>(index));
      }
    }
    if (!next) malformed(*place, "a reference to something in this schema", reference);
    target.value = next;
  }
  return target;
}

Schema SchemaReader::followed(Schema schema) {
  for (int hops = 0; hops < kMaxSchemaDepth; ++hops) {
    const auto* object = schema.value->if_object();
    const auto* reference = object && !schema.plain ? object->if_contains("$ref") : nullptr;
    if (!reference) break;
    spend(1);
    check_keywords(schema);
    for (const auto& [name, value] : *object)
      if (name != "$ref" && name != "$defs" && name != "definitions" &&
          keyword_kind(name, value) != Keyword::note)
        return schema;
    schema = resolve(schema, *reference);
  }
  return schema;
}

void SchemaReader::add(Expansion& expansion, Schema first) {
  std::vector<Schema> stack{first};
  while (!stack.empty() && !expansion.never) {
    const Schema schema = stack.back();
    stack.pop_back();
    spend(1);
    if (const auto* flag = schema.value->if_bool()) {
      expansion.never = !*flag;
      continue;
    }
    const auto* object = schema.value->if_object();
    if (!object) malformed(*schema.place, "a schema (an object, true or false)", *schema.value);
    if (!expansion.seen.emplace(schema.value, schema.plain).second) continue;
    check_keywords(schema);
    if (const auto* nullable = object->if_contains("nullable");
        nullable && nullable->as_bool() && !schema.plain) {
      expansion.pending.push_back(
          {nullable, {{schema.value, schema.place, true}, {&null_schema(), schema.place, true}}});
      continue;
    }
    expansion.objects.push_back(schema);
    for (const std::string_view name : {"anyOf", "oneOf"})
      if (const auto* list = object->if_contains(name))
        expansion.pending.push_back({list, schemas_of(*list, at(schema.place, name))});
    if (const auto* list = object->if_contains("allOf")) {
      const auto all = schemas_of(*list, at(schema.place, "allOf"));
      stack.insert(stack.end(), all.rbegin(), all.rend());
    }
    if (const auto* reference = object->if_contains("$ref"))
      stack.push_back(resolve(schema, *reference));
  }
}

std::optional<std::vector<SchemaSet>> SchemaReader::alternatives(const SchemaSet& set) {
  Expansion expansion;
  for (const Schema& schema : set) add(expansion, schema);
  if (expansion.never || expansion.pending.size() != 1) return std::nullopt;
  for (const Schema& object : expansion.objects)
    for (const auto& [name, value] : object.value->get_object())
      if (keyword_kind(name, value) == Keyword::constraint) return std::nullopt;
  std::vector<SchemaSet> out;
  for (const Schema& schema : expansion.pending[0].alternatives) out.push_back({schema});
  return out;
}

std::vector<SchemaShape> SchemaReader::shapes(const SchemaSet& set) {
  std::vector<Expansion> open(1);
  for (const Schema& schema : set) add(open[0], schema);
  std::vector<SchemaShape> out;
  while (!open.empty()) {
    Expansion expansion = std::move(open.back());
    open.pop_back();
    if (expansion.never) continue;
    if (expansion.pending.empty()) {
      SchemaShape shape = merge(expansion.objects);
      if (shape.types != 0) out.push_back(std::move(shape));
      continue;
    }
    const Group group = std::move(expansion.pending.back());
    expansion.pending.pop_back();
    if (!expansion.decided.insert(group.id).second) {
      // Met again through a reference: what was chosen the first time holds.
      open.push_back(std::move(expansion));
      continue;
    }
    for (auto a = group.alternatives.rbegin(); a != group.alternatives.rend(); ++a) {
      spend(1 + expansion.objects.size());
      Expansion with = expansion;
      add(with, *a);
      open.push_back(std::move(with));
    }
  }
  return out;
}

}  // namespace octet::generate::grammar
