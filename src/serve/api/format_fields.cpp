#include "serve/api/format_fields.h"

#include "generate/grammar/sources.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

using Kind = ContentFormat::Kind;
constexpr std::size_t kMaxSource = generate::grammar::kMaxSchemaBytes, kMaxChoices = 4096;

// A schema, or the text of one.
void take_schema(const json::value& value, const std::string& path, ContentFormat& format) {
  format.kind = Kind::json_schema;
  format.schema = value;
  if (value.is_string()) {
    try {
      format.schema = parse_json(value.get_string(), path);
    } catch (const Error& e) {
      throw HttpError(400, e.what(), path);
    }
  }
  if (!format.schema.is_object() && !format.schema.is_bool())
    bad_field(path, "{}: expected a JSON schema (an object)", path);
}

std::optional<ContentFormat> read_response_format(FieldReader& body) {
  const json::value* v = body.find("response_format");
  if (!v) return std::nullopt;
  FieldReader r(*v, body.path("response_format"));
  ContentFormat format;
  format.param = body.path("response_format");
  const auto type = r.one_of("type", {"text", "json_object", "json_schema", "structural_tag"});
  if (!type) bad_field(r.path("type"), "{}: missing", r.path("type"));
  if (*type == "text") return std::nullopt;
  if (*type == "structural_tag") {
    format.kind = Kind::structural_tag;
    format.schema = *v;
  } else if (*type == "json_object") {
    format.kind = Kind::json_object;
    if (const json::value* schema = r.find("schema"))
      take_schema(*schema, r.path("schema"), format);
  } else if (const json::value* direct = r.find("schema")) {
    take_schema(*direct, r.path("schema"), format);
    format.param = r.path("schema");
  } else {
    const json::value* nested = r.find("json_schema");
    if (!nested) bad_field(r.path("json_schema"), "{}: missing", r.path("json_schema"));
    FieldReader s(*nested, r.path("json_schema"));
    s.string("name", 256);
    s.string("description");
    format.strict = s.boolean("strict").value_or(false);
    const json::value* schema = s.find("schema");
    if (!schema) bad_field(s.path("schema"), "{}: missing", s.path("schema"));
    take_schema(*schema, s.path("schema"), format);
    format.param = s.path("schema");
  }
  return format;
}

void take_choices(FieldReader& r, std::string_view name, ContentFormat& format) {
  format.kind = Kind::choice;
  format.choices = r.strings(name, kMaxChoices);
  if (format.choices.empty())
    bad_field(r.path(name), "{}: expected at least one string", r.path(name));
}

std::string source(FieldReader& r, std::string_view name) {
  std::string text = *r.string(name, kMaxSource);
  if (text.empty())
    bad_field(r.path(name), "{}: expected text, found an empty string", r.path(name));
  return text;
}

std::optional<ContentFormat> read_structured_outputs(FieldReader& body) {
  const json::value* v = body.find("structured_outputs");
  if (!v) return std::nullopt;
  FieldReader r(*v, body.path("structured_outputs"));
  ContentFormat format;
  int count = 0;
  std::string_view name;
  for (const std::string_view key :
       {"json", "regex", "choice", "grammar", "json_object", "structural_tag"}) {
    if (!r.has(key)) continue;
    name = key;
    ++count;
  }
  if (count != 1)
    bad_field(body.path("structured_outputs"),
              "structured_outputs: expected exactly one of json, regex, choice, grammar, "
              "json_object, structural_tag, found {}",
              count);
  format.param = r.path(name);
  if (name == "json") {
    take_schema(*r.find("json"), r.path("json"), format);
  } else if (name == "regex") {
    format.kind = Kind::regex;
    format.source = source(r, "regex");
  } else if (name == "choice") {
    take_choices(r, "choice", format);
  } else if (name == "grammar") {
    format.kind = Kind::grammar;
    format.source = source(r, "grammar");
  } else if (name == "json_object") {
    if (!*r.boolean("json_object"))
      bad_field(format.param, "{}: expected true, found false", format.param);
    format.kind = Kind::json_object;
  } else {
    const json::value& tag = *r.find("structural_tag");
    take_schema(tag, format.param, format);
    format.kind = Kind::structural_tag;
  }
  format.any_whitespace = !r.boolean("disable_any_whitespace").value_or(false);
  format.additional_properties = !r.boolean("disable_additional_properties").value_or(false);
  format.in_reasoning = r.boolean("enable_in_reasoning").value_or(false);
  r.string("whitespace_pattern");  // of a backend that we don't have
  return format;
}

// One field that says it all.
std::optional<ContentFormat> read_single(FieldReader& body, std::string_view name, Kind kind) {
  const json::value* v = body.find(name);
  if (!v) return std::nullopt;
  ContentFormat format;
  format.kind = kind;
  format.param = body.path(name);
  if (kind == Kind::json_schema) {
    take_schema(*v, format.param, format);
  } else if (kind == Kind::choice) {
    take_choices(body, name, format);
  } else if (kind == Kind::json_object) {
    if (!*body.boolean(name)) return std::nullopt;
  } else {
    // llama-server's clients send an empty grammar for none.
    if (v->is_string() && v->get_string().empty()) return std::nullopt;
    format.source = source(body, name);
  }
  return format;
}

}  // namespace

ContentFormat read_format(FieldReader& body) {
  ContentFormat format;
  std::string first;
  const auto take = [&](std::string_view name, std::optional<ContentFormat> found) {
    if (!found) return;
    if (!first.empty())
      bad_field(body.path(name), "{}: there is {} already; only one of them can hold",
                body.path(name), first);
    first = body.path(name);
    format = std::move(*found);
  };
  take("response_format", read_response_format(body));
  take("structured_outputs", read_structured_outputs(body));
  take("guided_json", read_single(body, "guided_json", Kind::json_schema));
  take("guided_regex", read_single(body, "guided_regex", Kind::regex));
  take("guided_choice", read_single(body, "guided_choice", Kind::choice));
  take("guided_grammar", read_single(body, "guided_grammar", Kind::grammar));
  take("guided_json_object", read_single(body, "guided_json_object", Kind::json_object));
  take("json_schema", read_single(body, "json_schema", Kind::json_schema));
  take("grammar", read_single(body, "grammar", Kind::grammar));
  body.ignore({"guided_decoding_backend", "guided_whitespace_pattern"});
  return format;
}

}  // namespace octet::serve
