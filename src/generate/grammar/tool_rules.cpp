#include "generate/grammar/tool_rules.h"

#include <algorithm>

#include "generate/grammar/schema_rules.h"
#include "generate/grammar/tool_text.h"
#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

constexpr std::string_view kCallBegin = "<tool_call>",
                           kFunctionBegin = "<function=", kParameterBegin = "<parameter=";
const std::string kParameterClose = "\n</parameter>";
/// Calls of one answer; an end to calls that a model can't find out of.
constexpr std::int64_t kMaxCalls = 128;
constexpr std::int64_t kMaxNameLength = 256;

bool writable_name(std::string_view name) {
  return !name.empty() && name.find_first_of("<>\n") == std::string_view::npos;
}

/// Letters of a name between `=` and `>`.
NodePtr name_letter() {
  static const NodePtr node =
      char_class({{0x20, 0x3B}, {0x3D, 0x3D}, {0x3F, 0x7E}, {0xA0, 0xD7FF}, {0xE000, 0x10FFFF}});
  return node;
}

/// may_close_bare: free text, whose close may come without a line break.
NodePtr parameter(const NodePtr& name, const NodePtr& value, bool text_value, bool strict) {
  std::vector<NodePtr> rest{sequence({value, literal(kParameterClose + "\n")})};
  // An empty text is often written without the line of its own. Taking that close for text would
  // leave the model in a value that it thinks is over.
  if (text_value)
    rest.push_back(strict ? literal("</parameter>\n")
                          : sequence({value, literal("</parameter>\n")}));
  return sequence(
      {literal(std::string(kParameterBegin)), name, literal(">\n"), choice(std::move(rest))});
}

template <typename Make>
auto with_where(const std::string& where, const Make& make) {
  try {
    return make();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::invalid_argument) throw;
    fail(ErrorCode::invalid_argument, "{}: {}", where, e.what());
  }
}

/// Parameters of a tool that isn't strict and must be called: who asks for a call wants one that
/// its schema allows, as other servers give it. What can't be obeyed of the schema is left out, or,
/// if nothing else helps, all of it: a request can't fail by what isn't strict.
NodePtr forced_parameters(JsonText& text, const json::value& schema, const std::string& where) {
  Rules& rules = text.rules();
  const std::size_t had = rules.rules.size();
  try {
    JsonStyle style = text.style();
    style.strict = false;
    JsonText loose(rules, style);
    return strict_parameters(loose, schema, where, true);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::invalid_argument) throw;
    rules.rules.resize(had);
  }
  return free_parameters(text, schema, where);
}

/// "name>\n", parameters and the end of a call.
NodePtr function_call(JsonText& text, const ToolSchema& tool, std::size_t index, bool forced) {
  const std::string where = fmt::format("tool {} (`{}`)", index, tool.name.substr(0, 128));
  if (!writable_name(tool.name))
    fail(ErrorCode::invalid_argument,
         "{}: a function's name must not be empty nor have `<`, `>` or line breaks", where);
  const NodePtr parameters = tool.parameters.is_null() ? sequence({})
                             : tool.strict ? strict_parameters(text, tool.parameters, where)
                             : forced      ? forced_parameters(text, tool.parameters, where)
                                           : free_parameters(text, tool.parameters, where);
  return sequence({literal(tool.name + ">\n"), parameters, literal("</function>\n</tool_call>")});
}

}  // namespace

NodePtr strict_parameters(JsonText& text, const json::value& schema, const std::string& where,
                          bool others) {
  return with_where(where, [&] {
    SchemaRules maker(text, schema, nullptr);
    std::vector<NodePtr> choices;
    for (const SchemaShape& shape : maker.reader().shapes(maker.reader().root())) {
      if (!(shape.types & kObjectType)) continue;
      if (shape.values)
        fail(ErrorCode::invalid_argument,
             "JSON schema at {}: `enum` and `const` of all arguments are not supported",
             to_pointer(*shape.place));
      std::vector<SchemaRules::Member> known;
      std::vector<std::string> names;
      for (const auto& property : shape.properties) {
        names.emplace_back(property.name);
        if (!writable_name(property.name)) {
          if (property.required)
            fail(ErrorCode::invalid_argument,
                 "JSON schema at {}: the property `{}` can't be written as a parameter: no empty "
                 "names, `<`, `>` and line breaks",
                 to_pointer(*shape.place), property.name.substr(0, 128));
          continue;
        }
        const NodePtr value = maker.bare_value(property.schemas, kParameterClose);
        known.push_back({parameter(literal(std::string(property.name)), value,
                                   value->kind == NodeKind::any_byte_text, true),
                         property.required});
      }
      for (const std::string_view name : shape.forbidden) names.emplace_back(name);
      NodePtr other;
      // Where a schema doesn't speak of other parameters, strict means that there are none.
      if (shape.additional && (shape.additional_said || others) &&
          shape.pattern_properties.empty()) {
        const NodePtr value = maker.bare_value(shape.additional_schemas, kParameterClose);
        other = parameter(text_other_than(text.rules(), names, name_letter(), false, false), value,
                          value->kind == NodeKind::any_byte_text, true);
      }
      if (NodePtr all = maker.members(known, other, sequence({}), sequence({}), shape))
        choices.push_back(std::move(all));
    }
    maker.finish();
    if (choices.empty())
      fail(ErrorCode::invalid_argument, "JSON schema at #: no object satisfies it");
    return choices.size() == 1 ? choices[0] : choice(std::move(choices));
  });
}

NodePtr free_parameters(JsonText& text, const json::value& schema, const std::string& where) {
  return with_where(where, [&]() -> NodePtr {
    if (const auto* flag = schema.if_bool(); !flag && !schema.is_object())
      fail(ErrorCode::invalid_argument, "JSON schema at #: expected an object, true or false");
    NodePtr name = repeat(name_letter(), 1, kMaxNameLength);
    if (const auto* object = schema.if_object()) {
      const auto* properties = object->if_contains("properties");
      if (properties && !properties->is_object())
        fail(ErrorCode::invalid_argument,
             "JSON schema at #/properties: expected an object of schemas");
      const auto* additional = object->if_contains("additionalProperties");
      const bool closed = additional && additional->is_bool() && !additional->get_bool() &&
                          !object->contains("patternProperties") && !object->contains("$ref") &&
                          !object->contains("allOf");
      if (closed) {
        std::vector<NodePtr> names;
        if (properties)
          for (const auto& property : properties->get_object())
            if (writable_name(property.key())) names.push_back(literal(property.key()));
        if (names.empty()) return sequence({});
        name = choice(std::move(names));
      }
    }
    const NodePtr one = parameter(name, text_without(kParameterClose), true, false);
    return repeat(rule_ref(text.rules().add("parameter of " + where, one)), 0, kUnbounded);
  });
}

Rules tool_call_rules(const std::vector<ToolSchema>& tools, ToolMode mode, bool parallel,
                      const std::function<NodePtr(Rules&)>& content, const JsonStyle& style) {
  Rules rules;
  rules.root = rules.add("answer");
  const std::string begin(kCallBegin);
  const auto set_root = [&](NodePtr body) {
    rules.rules[static_cast<std::size_t>(rules.root)].body = std::move(body);
  };
  const bool optional_calls = mode == ToolMode::optional;
  if (tools.empty()) {
    if (!optional_calls)
      fail(ErrorCode::invalid_argument, "a call is required, but there are no tools to call");
    set_root(content ? content(rules) : text_without(""));
    return rules;
  }
  std::vector<NodePtr> functions;
  {
    // What a tool's own `strict` asks for holds whatever the style says.
    JsonStyle strict = style;
    strict.strict = true;
    JsonText text(rules, strict);
    for (std::size_t i = 0; i < tools.size(); ++i)
      functions.push_back(rule_ref(rules.add(fmt::format("tool {}", tools[i].name.substr(0, 128)),
                                             function_call(text, tools[i], i, !optional_calls))));
  }
  const NodePtr call_body = rule_ref(rules.add(
      "call",
      sequence({literal(fmt::format("\n{}", kFunctionBegin)), choice(std::move(functions))})));
  const NodePtr call = sequence({literal(begin), call_body});
  const NodePtr more = repeat(sequence({literal("\n"), call}), 0, parallel ? kMaxCalls - 1 : 0);
  switch (mode) {
    case ToolMode::single:
      set_root(call);
      break;
    case ToolMode::required:
      set_root(sequence({call, more}));
      break;
    case ToolMode::optional:
      if (content)
        set_root(choice({content(rules), sequence({call, more})}));
      else if (parallel)
        set_root(sequence(
            {text_without(begin), repeat(sequence({call, text_without(begin)}), 0, kMaxCalls)}));
      else
        set_root(sequence({text_without(begin), optional(call)}));
      break;
  }
  return rules;
}

}  // namespace octet::generate::grammar
