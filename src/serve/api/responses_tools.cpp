#include "serve/api/responses_tools.h"

#include <algorithm>
#include <utility>

#include "serve/answer/tools.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

// The grammar that a custom tool's input has, for the model to read. shown: takes what was read.
std::string format_text(FieldReader& format, json::object& shown) {
  const auto type = format.one_of("type", {"text", "grammar"});
  shown["format"] = {{"type", type.value_or("text")}};
  if (type != "grammar") return {};
  const auto syntax = format.one_of("syntax", {"lark", "regex"});
  const auto definition = format.string("definition", kMaxToolSchemaBytes);
  if (!definition) bad_field(format.path("definition"), "{} is missing", format.path("definition"));
  shown["format"] = {
      {"type", "grammar"}, {"syntax", syntax.value_or("lark")}, {"definition", *definition}};
  return fmt::format("\n\nThe input follows this {}:\n{}",
                     syntax == "regex" ? "regular expression" : "Lark grammar", *definition);
}

json::object custom_parameters() {
  return {{"type", "object"},
          {"properties", {{"input", {{"type", "string"}}}}},
          {"required", json::array{"input"}},
          {"additionalProperties", false}};
}

}  // namespace

std::string ResponseTools::joined_name(std::string_view name_space, std::string_view name) {
  if (name_space.empty()) return std::string(name);
  return fmt::format("{}{}{}", name_space, name_space.ends_with("__") ? "" : "__", name);
}

std::string ResponseTools::custom_input(const std::string& arguments) {
  try {
    const json::value value = parse_json(arguments, "arguments");
    if (const json::object* object = value.if_object())
      if (const json::value* input = object->if_contains("input"); input && input->is_string())
        return std::string(input->get_string());
  } catch (const Error&) {
  }
  return arguments;
}

// Reads one function or custom tool into the job. prefix: goes before its description.
json::object ResponseTools::read_tool(FieldReader& tool, const std::string& type,
                                      const std::string& name_space, const std::string& prefix,
                                      Job& job) {
  const auto name = tool.string("name");
  if (!name) bad_field(tool.path("name"), "{} is missing", tool.path("name"));
  const std::string described = tool.string("description").value_or("");
  // What is shown is what was read: a response isn't the place to send back anything else.
  json::object shown{{"type", type}, {"name", *name}, {"description", described}};
  FunctionTool function;
  function.name = joined_name(name_space, *name);
  function.description = described;
  const bool custom = type == "custom";
  if (custom) {
    if (const json::value* value = tool.find("format")) {
      FieldReader format(*value, tool.path("format"));
      function.description += format_text(format, shown);
    }
    function.parameters = custom_parameters();
  } else {
    if (const json::value* parameters = tool.find("parameters")) function.parameters = *parameters;
    function.strict = tool.boolean("strict").value_or(false);
    shown["parameters"] = function.parameters;
    shown["strict"] = function.strict;
  }
  function.description = prefix + function.description;
  if (custom || !name_space.empty()) calls_[function.name] = {*name, name_space, custom};
  if (!name_space.empty()) {
    const auto [at, first] = by_short_name_.emplace(*name, function.name);
    if (!first) at->second.clear();
  }
  add_tool(job, std::move(function), tool.path("name"), tool.path("parameters"));
  return shown;
}

void ResponseTools::read(FieldReader& body, Job& job, std::vector<std::string>& unused) {
  const json::array* tools = body.array("tools", kMaxTools);
  if (!tools) return;
  for (std::size_t i = 0; i < tools->size(); ++i) {
    FieldReader tool((*tools)[i], fmt::format("tools[{}]", i));
    const auto type = tool.string("type");
    if (!type) bad_field(tool.path("type"), "{} is missing", tool.path("type"));
    if (*type == "function" || *type == "custom") {
      shown_.push_back(read_tool(tool, *type, "", "", job));
      continue;
    }
    if (*type != "namespace") {
      unused.push_back(fmt::format("tools.{}", shortened(*type)));
      continue;
    }
    const auto name = tool.string("name");
    if (!name || name->empty()) bad_field(tool.path("name"), "{} is missing", tool.path("name"));
    const std::string description = tool.string("description").value_or("");
    // The model reads of a namespace with the first of its functions.
    std::string prefix = description.empty() ? "" : description + "\n\n";
    json::array shown;
    const json::array* members = tool.array("tools", kMaxTools);
    for (std::size_t k = 0; members && k < members->size(); ++k) {
      FieldReader member((*members)[k], fmt::format("{}[{}]", tool.path("tools"), k));
      const std::string kind = member.string("type").value_or("function");
      if (kind != "function" && kind != "custom") {
        unused.push_back(fmt::format("tools.tools.{}", shortened(kind)));
        continue;
      }
      if (job.tools.size() >= kMaxTools)
        bad_field(tool.path("tools"), "{}: expected at most {} tools in all", tool.path("tools"),
                  kMaxTools);
      shown.push_back(read_tool(member, kind, *name, std::exchange(prefix, {}), job));
    }
    shown_.push_back(json::object{{"type", "namespace"},
                                  {"name", *name},
                                  {"description", description},
                                  {"tools", std::move(shown)}});
  }
}

std::string ResponseTools::function_named(const std::string& name, const Job& job) const {
  if (std::ranges::any_of(job.tools, [&](const Tool& tool) { return tool.name == name; }))
    return name;
  const auto found = by_short_name_.find(name);
  return found == by_short_name_.end() || found->second.empty() ? name : found->second;
}

bool ResponseTools::is_custom(const std::string& function) const {
  const auto found = calls_.find(function);
  return found != calls_.end() && found->second.custom;
}

ResponseCall ResponseTools::call_of(const std::string& function) const {
  const auto found = calls_.find(function);
  return found == calls_.end() ? ResponseCall{.name = function} : found->second;
}

}  // namespace octet::serve
