#include "input/chat_template/chat_template.h"

#include "runtime/base/mapped_file.h"

namespace octet::chat_template {

namespace fs = std::filesystem;

namespace {

// chat_template of tokenizer_config.json: a string, or a list of {name, template}.
const json::value* find_in_config(const json::value& config) {
  if (!config.is_object()) return nullptr;
  const json::value* v = config.get_object().if_contains("chat_template");
  if (!v || v->is_string()) return v;
  if (!v->is_array()) return nullptr;
  for (const json::value& item : v->get_array()) {
    if (!item.is_object()) continue;
    const json::value* name = item.get_object().if_contains("name");
    const json::value* source = item.get_object().if_contains("template");
    if (name && source && name->is_string() && name->get_string() == "default") return source;
  }
  return nullptr;
}

json::object context(const json::value& messages, const json::value& tools,
                     const json::object& kwargs) {
  json::object c = kwargs;
  c["messages"] = messages;
  c["tools"] = tools;
  return c;
}

}  // namespace

bool ChatTemplate::exists(const fs::path& folder) {
  if (fs::exists(folder / "chat_template.jinja")) return true;
  const fs::path config = folder / "tokenizer_config.json";
  return fs::exists(config) && find_in_config(read_json(config));
}

ChatTemplate ChatTemplate::load(const fs::path& folder) {
  const fs::path file = folder / "chat_template.jinja", config = folder / "tokenizer_config.json";
  if (fs::exists(file)) return parse(read_file(file, 4u << 20), file.string());
  if (fs::exists(config)) {
    const json::value value = read_json(config);
    const json::value* source = find_in_config(value);
    if (source && source->is_string())
      return parse(std::string(source->get_string()), config.string() + ": chat_template");
  }
  fail(ErrorCode::not_found, "{} has no chat_template.jinja; name one by --chat-template",
       folder.string());
}

ChatTemplate ChatTemplate::parse(const std::string& source, const std::string& name) {
  return ChatTemplate(Template::parse(source, name));
}

std::string ChatTemplate::render(const json::value& messages, const json::value& tools,
                                 const json::object& kwargs, const Limits& limits) const {
  return template_.render(context(messages, tools, kwargs), limits);
}

std::vector<Span> ChatTemplate::render_marked(const json::value& messages, const json::value& tools,
                                              const json::object& kwargs) const {
  return template_.render_marked(context(messages, tools, kwargs));
}

json::value with_parsed_arguments(json::value messages) {
  if (!messages.is_array()) return messages;
  for (json::value& message : messages.get_array()) {
    json::value* calls =
        message.is_object() ? message.get_object().if_contains("tool_calls") : nullptr;
    if (!calls || !calls->is_array()) continue;
    for (json::value& call : calls->get_array()) {
      if (!call.is_object()) continue;
      json::value* function = call.get_object().if_contains("function");
      json::object& o =
          function && function->is_object() ? function->get_object() : call.get_object();
      json::value* arguments = o.if_contains("arguments");
      if (!arguments || !arguments->is_string()) continue;
      try {
        json::value parsed = parse_json(std::string_view(arguments->get_string()), "arguments");
        if (parsed.is_object()) *arguments = std::move(parsed);
      } catch (const Error&) {
        // Not JSON: the template decides what to make of the text.
      }
    }
  }
  return messages;
}

}  // namespace octet::chat_template
