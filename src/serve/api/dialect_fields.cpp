#include "serve/api/dialect_fields.h"

#include <algorithm>
#include <utility>

#include "serve/answer/tools.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

bool has_tool(const Job& job, std::string_view name) {
  return std::ranges::any_of(job.tools, [&](const Tool& tool) { return tool.name == name; });
}

}  // namespace

json::object template_kwargs(FieldReader& body, const RequestContext& context,
                             std::optional<bool> thinking,
                             const std::optional<std::string>& effort) {
  json::object kwargs = context.options.default_chat_template_kwargs;
  if (thinking) kwargs["enable_thinking"] = *thinking;
  if (effort) kwargs["reasoning_effort"] = *effort;
  // The three are the server's to set.
  if (const json::object* own = body.object("chat_template_kwargs"))
    for (const auto& [key, value] : *own)
      if (key != "messages" && key != "tools" && key != "add_generation_prompt")
        kwargs[key] = value;
  return kwargs;
}

void check_tool(const FunctionTool& tool, const std::string& name_path,
                const std::string& parameters_path) {
  if (!is_tool_name(tool.name))
    bad_field(name_path,
              "{}: expected 1 to 128 letters, digits, or any of _ . : - as the name, found \"{}\"",
              name_path, shortened(tool.name));
  if (!tool.parameters.is_null()) check_tool_schema(tool.parameters, parameters_path);
}

void same_name(const std::string& path, const std::string& name) {
  bad_field(path, "{}: another tool is called \"{}\" too; names must differ", path, name);
}

json::object rendered_tool(const FunctionTool& tool) {
  json::object function{{"name", tool.name}};
  if (!tool.description.empty()) function["description"] = tool.description;
  if (!tool.parameters.is_null()) function["parameters"] = tool.parameters;
  return {{"type", "function"}, {"function", std::move(function)}};
}

void add_tool(Job& job, FunctionTool tool, const std::string& name_path,
              const std::string& parameters_path) {
  check_tool(tool, name_path, parameters_path);
  if (has_tool(job, tool.name)) same_name(name_path, tool.name);
  job.chat->tools.push_back(rendered_tool(tool));
  job.tools.push_back({std::move(tool.name), std::move(tool.parameters), tool.strict});
}

void check_tool_choice(Job& job, const std::string& path) {
  ToolChoice& choice = job.tool_choice;
  const auto require = [&](const std::string& name) {
    if (!has_tool(job, name))
      bad_field(path, "{}: no tool is called \"{}\"; `tools` must have it", path, shortened(name));
  };
  if (choice.mode == ToolChoice::Mode::named) require(choice.name);
  for (const std::string& name : choice.allowed) require(name);
  if (choice.mode == ToolChoice::Mode::required && job.tools.empty())
    bad_field(path, "{}: a call is required, but `tools` has no function", path);
  if (job.tools.empty()) choice.mode = ToolChoice::Mode::none;
}

void set_common(Job& job, const RequestContext& context, bool stream) {
  job.parse_reasoning = context.options.parse_reasoning;
  job.parse_tools = context.options.parse_tools;
  job.sampling.logprobs_mode = context.options.logprobs_mode;
  job.incremental = stream;
  if (job.n != 1) bad_field("n", "n: expected 1, found {}; this API has one answer", job.n);
}

std::string_view shortened(std::string_view text) {
  constexpr std::size_t kMost = 64;
  if (text.size() <= kMost) return text;
  // Not within a character.
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

json::object chat_message(std::string_view role, json::array parts) {
  json::object message{{"role", role}};
  if (parts.empty())
    message["content"] = "";
  else if (parts.size() == 1)
    message["content"] = parts[0].as_object().at("text");
  else
    message["content"] = std::move(parts);
  return message;
}

json::object text_part(std::string_view text) {
  return {{"type", "text"}, {"text", text}};
}

std::string joined_text(const json::array& parts) {
  std::string text;
  for (const json::value& part : parts) {
    if (!text.empty()) text += '\n';
    text += part.at("text").as_string();
  }
  return text;
}

json::object assistant_message(json::array parts, const std::string& reasoning, json::array calls) {
  json::object message = chat_message("assistant", std::move(parts));
  // The template writes blank lines after content, also after an empty one.
  if (message["content"] == "" && !calls.empty()) message["content"] = nullptr;
  if (!reasoning.empty()) message["reasoning_content"] = reasoning;
  if (!calls.empty()) message["tool_calls"] = std::move(calls);
  return message;
}

std::string required_string(FieldReader& object, std::string_view name) {
  auto text = object.string(name);
  if (!text) bad_field(object.path(name), "{} is missing", object.path(name));
  return std::move(*text);
}

json::array read_parts(FieldReader& owner, std::string_view name, std::string_view items,
                       const ReadPart& read) {
  json::array parts;
  const json::value* content = owner.find(name);
  if (!content) return parts;
  const std::string path = owner.path(name);
  if (content->is_string()) {
    parts.push_back(text_part(content->get_string()));
    return parts;
  }
  if (!content->is_array()) bad_field(path, "{}: expected a string or an array of {}", path, items);
  for (std::size_t i = 0; i < content->get_array().size(); ++i) {
    FieldReader item(content->get_array()[i], fmt::format("{}[{}]", path, i));
    const std::string type = required_string(item, "type");
    read(item, type, parts);
  }
  return parts;
}

void refuse_picture(const std::string& path) {
  bad_field(path, "{}: an image, but this model reads text only; leave it out", path);
}

}  // namespace octet::serve
