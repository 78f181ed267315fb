#include "serve/api/messages_tools.h"

#include <algorithm>
#include <utility>

#include "serve/answer/tools.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

// Those that are the server's own matter in Anthropic's cloud (web_search_20250305, bash_20250124):
// there is nobody here who could run them.
bool is_function(const std::optional<std::string>& type) {
  return !type || *type == "custom";
}

std::string reference_name(FieldReader& tool) {
  auto name = tool.string("name");
  if (!name) bad_field(tool.path("name"), "{} is missing: which tool is meant", tool.path("name"));
  return std::move(*name);
}

// References to tools of MCP servers that Anthropic's own servers call: nobody calls them here.
bool is_cloud_reference(std::string_view type) {
  return type == "mcp_tool_reference" || type == "mcp_toolset_reference";
}

std::string called_from_here(const std::string& tool) {
  return fmt::format("Tool that can be called from here on: {}\n", tool);
}

}  // namespace

OfferedTools::Offered* OfferedTools::find(const std::string& name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tools_[found->second];
}

OfferedTools::Offered OfferedTools::read_tool(FieldReader& tool) {
  FunctionTool function;
  const auto name = tool.string("name");
  if (!name) bad_field(tool.path("name"), "{} is missing", tool.path("name"));
  function.name = *name;
  function.description = tool.string("description").value_or("");
  const json::value* schema = tool.find("input_schema");
  if (!schema)
    bad_field(tool.path("input_schema"), "{} is missing: the JSON schema of the tool's input",
              tool.path("input_schema"));
  function.parameters = *schema;
  function.strict = tool.boolean("strict").value_or(false);
  check_tool(function, tool.path("name"), tool.path("input_schema"));
  return {.function = std::move(function)};
}

void OfferedTools::read(FieldReader& body, std::vector<std::string>& unused) {
  const json::array* tools = body.array("tools", kMaxTools);
  if (!tools) return;
  bool searched = false;  // by Anthropic's servers: nobody would ever find a deferred tool here
  for (std::size_t i = 0; i < tools->size(); ++i) {
    FieldReader tool((*tools)[i], fmt::format("tools[{}]", i));
    const auto type = tool.string("type");
    if (!is_function(type)) {
      searched = searched || type->starts_with("tool_search_tool_");
      unused.push_back(fmt::format("tools.{}", shortened(*type)));
      continue;
    }
    Offered offered = read_tool(tool);
    if (tool.boolean("defer_loading").value_or(false))
      offered.listed = offered.in_prompt = offered.callable = false;
    if (!by_name_.emplace(offered.function.name, tools_.size()).second)
      same_name(tool.path("name"), offered.function.name);
    tools_.push_back(std::move(offered));
  }
  if (searched || std::ranges::none_of(tools_, &Offered::listed))
    for (Offered& t : tools_) t.listed = t.in_prompt = t.callable = true;
}

std::string OfferedTools::refer(const std::string& name) {
  Offered* tool = find(name);
  if (!tool) return name;
  tool->callable = true;
  if (std::exchange(tool->in_prompt, true)) return name;
  return to_json(rendered_tool(tool->function));
}

std::string OfferedTools::add(FieldReader& tool) {
  const std::string type = tool.string("type").value_or("");
  if (is_cloud_reference(type)) return {};
  if (type == "tool_reference") return called_from_here(refer(reference_name(tool)));
  if (type != "tool_definition")
    bad_field(tool.path("type"), "{}: expected tool_reference or tool_definition, found \"{}\"",
              tool.path("type"), shortened(type));
  const json::value* definition = tool.find("definition");
  if (!definition) bad_field(tool.path("definition"), "{} is missing", tool.path("definition"));
  FieldReader fields(*definition, tool.path("definition"));
  if (!is_function(fields.string("type"))) return {};
  Offered offered = read_tool(fields);
  offered.listed = offered.in_prompt = false;
  const std::string name = offered.function.name;
  // A later definition counts instead of an earlier one; one at the prompt's beginning stays there.
  if (Offered* old = find(name); old && !old->listed) {
    *old = std::move(offered);
    return called_from_here(refer(name));
  } else if (old) {
    old->callable = false;
  }
  if (tools_.size() >= kMaxTools)
    bad_field(tool.path("definition"), "{}: expected at most {} tools in all",
              tool.path("definition"), kMaxTools);
  by_name_[name] = tools_.size();
  tools_.push_back(std::move(offered));
  return called_from_here(refer(name));
}

std::string OfferedTools::remove(FieldReader& tool) {
  const std::string type = tool.string("type").value_or("");
  if (is_cloud_reference(type)) return {};
  if (type != "tool_reference")
    bad_field(tool.path("type"), "{}: expected tool_reference, found \"{}\"", tool.path("type"),
              shortened(type));
  const std::string name = reference_name(tool);
  if (Offered* offered = find(name)) offered->callable = false;
  return fmt::format("Tool that can no longer be called: {}\n", name);
}

void OfferedTools::give(Job& job) && {
  // The template says how to call only where there is a tool.
  const bool none = std::ranges::none_of(tools_, &Offered::listed);
  for (Offered& tool : tools_) {
    FunctionTool& function = tool.function;
    if (tool.listed || (none && tool.callable)) job.chat->tools.push_back(rendered_tool(function));
    if (tool.callable)
      job.tools.push_back(
          {std::move(function.name), std::move(function.parameters), function.strict});
  }
}

}  // namespace octet::serve
