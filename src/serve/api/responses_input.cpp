// Items of the Responses API as messages.
#include <array>
#include <utility>

#include "serve/api/responses_request.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

// A string, or parts of text. What a model or a tool wrote comes as output_text, what people wrote
// as input_text; clients mix them up without harm.
json::array read_texts(FieldReader& owner, std::string_view name) {
  return read_parts(
      owner, name, "parts", [](FieldReader& part, const std::string& type, json::array& parts) {
        if (type == "input_text" || type == "output_text" || type == "text" ||
            type == "reasoning_text" || type == "summary_text")
          parts.push_back(text_part(required_string(part, "text")));
        else if (type == "refusal")
          parts.push_back(text_part(required_string(part, "refusal")));
        else if (type == "input_image")
          refuse_picture(part.path("type"));
        else
          bad_field(
              part.path("type"),
              "{}: a part of type \"{}\" can't be read; known: input_text, output_text, refusal",
              part.path("type"), shortened(type));
      });
}

// Calls of tools that run in OpenAI's cloud, what they brought, and notes to its servers: nothing
// that this model saw.
bool is_cloud_item(std::string_view type) {
  constexpr std::array kTypes = {"web_search_call",
                                 "file_search_call",
                                 "code_interpreter_call",
                                 "image_generation_call",
                                 "computer_call",
                                 "computer_call_output",
                                 "local_shell_call",
                                 "shell_call",
                                 "local_shell_call_output",
                                 "shell_call_output",
                                 "mcp_list_tools",
                                 "mcp_approval_request",
                                 "mcp_approval_response",
                                 "mcp_call",
                                 "apply_patch_call",
                                 "apply_patch_call_output",
                                 "tool_search_call",
                                 "tool_search_output",
                                 "program",
                                 "program_output",
                                 "compaction",
                                 "context_compaction",
                                 "compaction_trigger",
                                 "configuration_update"};
  for (const std::string_view known : kTypes)
    if (type == known) return true;
  return false;
}

// The assistant's turn that is being put together.
class Turn {
 public:
  explicit Turn(json::array& out) : out_(out) {}

  void add_reasoning(std::string text) {
    if (has_content_ || !calls_.empty()) flush();
    if (text.empty()) return;
    if (!reasoning_.empty()) reasoning_ += '\n';
    reasoning_ += text;
  }
  void add_content(json::array parts) {
    // What was said after the calls, but before their results, is of the same turn.
    if (has_content_) flush();
    has_content_ = true;
    parts_ = std::move(parts);
  }
  void add_call(json::object call) { calls_.push_back(std::move(call)); }
  void flush() {
    if (has_content_ || !calls_.empty() || !reasoning_.empty())
      out_.push_back(assistant_message(std::move(parts_), reasoning_, std::move(calls_)));
    parts_ = {};
    calls_ = {};
    reasoning_.clear();
    has_content_ = false;
  }

 private:
  json::array& out_;
  json::array parts_, calls_;
  std::string reasoning_;
  bool has_content_ = false;
};

json::object call_of(const std::string& id, const std::string& name, json::object arguments) {
  return {{"id", id},
          {"type", "function"},
          {"function", json::object{{"name", name}, {"arguments", std::move(arguments)}}}};
}

// What the model knows the called function as.
std::string function_name(FieldReader& item) {
  const std::string name = required_string(item, "name");
  return ResponseTools::joined_name(item.string("namespace").value_or(""), name);
}

json::object read_arguments(FieldReader& item) {
  const std::string text = item.string("arguments").value_or("");
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return {};
  const std::string path = item.path("arguments");
  json::value value;
  try {
    value = parse_json(text, path);
  } catch (const Error& error) {
    throw HttpError(400, error.what(), path);
  }
  if (!value.is_object()) bad_field(path, "{}: expected the JSON of an object", path);
  return std::move(value.get_object());
}

void read_message(FieldReader& item, Turn& turn, json::array& out) {
  const auto role = item.one_of("role", {"user", "assistant", "system", "developer"});
  if (!role) bad_field(item.path("role"), "{} is missing", item.path("role"));
  if (!item.has("content")) bad_field(item.path("content"), "{} is missing", item.path("content"));
  json::array parts = read_texts(item, "content");
  if (*role == "assistant") {
    turn.add_content(std::move(parts));
  } else {
    turn.flush();
    out.push_back(chat_message(*role, std::move(parts)));
  }
}

void read_item(FieldReader& item, Turn& turn, json::array& out) {
  const std::string type =
      item.has("role") && !item.has("type") ? "message" : required_string(item, "type");
  if (type == "message") {
    read_message(item, turn, out);
  } else if (type == "reasoning") {
    std::string text = joined_text(read_texts(item, "content"));
    if (text.empty()) text = joined_text(read_texts(item, "summary"));
    turn.add_reasoning(std::move(text));
  } else if (type == "function_call") {
    const std::string id = required_string(item, "call_id");
    const std::string name = function_name(item);
    turn.add_call(call_of(id, name, read_arguments(item)));
  } else if (type == "custom_tool_call") {
    // A call with free text instead of JSON.
    const std::string id = required_string(item, "call_id");
    const std::string name = function_name(item);
    turn.add_call(call_of(id, name, {{"input", required_string(item, "input")}}));
  } else if (type == "function_call_output" || type == "custom_tool_call_output") {
    turn.flush();
    const std::string id = required_string(item, "call_id");
    json::object message = chat_message("tool", read_texts(item, "output"));
    message["tool_call_id"] = id;
    out.push_back(std::move(message));
  } else if (type == "item_reference") {
    bad_field(item.path("type"),
              "{}: this server stores no items, so it can't look one up; send the item itself",
              item.path("type"));
  } else if (!is_cloud_item(type)) {
    bad_field(item.path("type"),
              "{}: an item of type \"{}\" can't be read; known: message, reasoning, function_call, "
              "function_call_output",
              item.path("type"), shortened(type));
  }
}

}  // namespace

json::array read_responses_input(const json::value& input) {
  json::array out;
  if (input.is_string()) {
    out.push_back(json::object{{"role", "user"}, {"content", input.get_string()}});
    return out;
  }
  if (!input.is_array()) bad_field("input", "input: expected a string or an array of items");
  const json::array& items = input.get_array();
  if (items.empty()) bad_field("input", "input: expected at least one item");
  Turn turn(out);
  for (std::size_t i = 0; i < items.size(); ++i) {
    FieldReader item(items[i], fmt::format("input[{}]", i));
    read_item(item, turn, out);
  }
  turn.flush();
  return out;
}

}  // namespace octet::serve
