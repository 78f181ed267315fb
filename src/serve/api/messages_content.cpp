// Anthropic's messages and their blocks.
#include <utility>

#include "serve/api/messages_request.h"
#include "serve/api/messages_tools.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

[[noreturn]] void wrong_block(const FieldReader& block, std::string_view type,
                              std::string_view where, std::string_view known) {
  bad_field(block.path("type"), "{}: a block of type \"{}\" can't stand in {}; known there: {}",
            block.path("type"), shortened(type), where, known);
}

// Those of tools that Anthropic's own servers run: nothing that this model saw.
bool is_server_block(std::string_view type) {
  return type == "server_tool_use" || type == "mcp_tool_use" || type == "mcp_tool_listing" ||
         type == "container_upload" || type == "compaction" || type == "fallback" ||
         (type != "tool_result" && type.ends_with("_tool_result"));
}

// The text of `content`: a string or blocks of text, each a part.
json::array text_blocks(FieldReader& owner, std::string_view name, std::string_view where,
                        OfferedTools* tools = nullptr);

json::array document_text(FieldReader& block) {
  const json::value* value = block.find("source");
  if (!value) bad_field(block.path("source"), "{} is missing", block.path("source"));
  FieldReader source(*value, block.path("source"));
  const auto type = source.string("type");
  json::array parts;
  if (const auto title = block.string("title")) parts.push_back(text_part(*title + "\n"));
  if (type == "text") {
    parts.push_back(text_part(required_string(source, "data")));
  } else if (type == "content") {
    for (json::value& part : text_blocks(source, "content", "a document"))
      parts.push_back(std::move(part));
  } else {
    bad_field(source.path("type"),
              "{}: only documents of text are read (text, content); send a PDF's text instead",
              source.path("type"));
  }
  return parts;
}

// Appends what text a block holds. False: it is none of the kinds that hold text. tools: null where
// no reference to them can stand.
bool add_text(FieldReader& block, std::string_view type, json::array& parts, OfferedTools* tools) {
  if (type == "text") {
    parts.push_back(text_part(required_string(block, "text")));
  } else if (type == "document") {
    for (json::value& part : document_text(block)) parts.push_back(std::move(part));
  } else if (type == "search_result") {
    for (json::value& part : text_blocks(block, "content", "a search_result"))
      parts.push_back(std::move(part));
  } else if (type == "tool_reference") {
    const std::string name = required_string(block, "tool_name");
    parts.push_back(text_part(tools ? tools->refer(name) + '\n' : name));
  } else if (type == "image") {
    refuse_picture(block.path("type"));
  } else {
    return false;
  }
  return true;
}

json::array text_blocks(FieldReader& owner, std::string_view name, std::string_view where,
                        OfferedTools* tools) {
  return read_parts(
      owner, name, "blocks", [&](FieldReader& block, const std::string& type, json::array& parts) {
        // A document within a document would be a way to nest without end.
        const bool nested =
            (type == "document" || type == "search_result") && where != "a tool_result";
        if (nested || !add_text(block, type, parts, tools)) wrong_block(block, type, where, "text");
      });
}

// A user's turn: results of tools first, each a message of its own, then what the user says.
void read_user(const json::array& blocks, const std::string& path, OfferedTools& tools,
               json::array& out) {
  json::array said;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    FieldReader block(blocks[i], fmt::format("{}[{}]", path, i));
    const std::string type = required_string(block, "type");
    if (type == "tool_result") {
      json::array parts = text_blocks(block, "content", "a tool_result", &tools);
      const bool failed = block.boolean("is_error").value_or(false);
      if (parts.empty()) parts.push_back(text_part(failed ? "error" : ""));
      json::object message = chat_message("tool", std::move(parts));
      message["tool_call_id"] = required_string(block, "tool_use_id");
      out.push_back(std::move(message));
    } else if (!is_server_block(type) && !add_text(block, type, said, &tools)) {
      wrong_block(block, type, "a user's message",
                  "text, document, search_result, tool_result, tool_reference");
    }
  }
  if (!said.empty()) out.push_back(chat_message("user", std::move(said)));
}

json::object read_tool_use(FieldReader& block) {
  json::object call{{"id", required_string(block, "id")}, {"type", "function"}};
  const json::object* input = block.object("input");
  call["function"] = json::object{{"name", required_string(block, "name")},
                                  {"arguments", input ? *input : json::object()}};
  return call;
}

void read_assistant(const json::array& blocks, const std::string& path, json::array& out) {
  json::array said, calls;
  std::string reasoning;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    FieldReader block(blocks[i], fmt::format("{}[{}]", path, i));
    const std::string type = required_string(block, "type");
    if (type == "text") {
      // Blank blocks between calls would come out as blank lines.
      if (std::string text = required_string(block, "text"); !text.empty())
        said.push_back(text_part(text));
    } else if (type == "thinking") {
      if (!reasoning.empty()) reasoning += '\n';
      reasoning += required_string(block, "thinking");
    } else if (type == "tool_use") {
      calls.push_back(read_tool_use(block));
    } else if (type != "redacted_thinking" && !is_server_block(type)) {
      wrong_block(block, type, "an assistant's message",
                  "text, thinking, redacted_thinking, tool_use");
    }
  }
  out.push_back(assistant_message(std::move(said), reasoning, std::move(calls)));
}

// A system turn within the conversation: text, and changes of the tools. answered: the user has
// spoken since, which ends what was said for one turn only; changes of tools stay.
json::array read_system_turn(FieldReader& message, OfferedTools& tools, bool answered) {
  const json::value* content = message.find("content");
  const auto clear = message.one_of("clear_at", {"next_user_message", "never"});
  const bool gone = answered && clear == "next_user_message";
  if (!content) return {};
  json::array parts, unread;
  if (content->is_string()) {
    if (!gone) parts.push_back(text_part(content->get_string()));
    return parts;
  }
  if (!content->is_array())
    bad_field(message.path("content"), "{}: expected a string or an array of blocks",
              message.path("content"));
  const json::array& blocks = content->get_array();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    FieldReader block(blocks[i], fmt::format("{}[{}]", message.path("content"), i));
    const std::string type = required_string(block, "type");
    if (type == "tool_addition" || type == "tool_removal") {
      const json::value* value = block.find("tool");
      if (!value) bad_field(block.path("tool"), "{} is missing", block.path("tool"));
      FieldReader tool(*value, block.path("tool"));
      const bool addition = type == "tool_addition";
      const std::string told = addition ? tools.add(tool) : tools.remove(tool);
      if (!told.empty()) parts.push_back(text_part(told));
    } else if (!add_text(block, type, gone ? unread : parts, nullptr)) {
      wrong_block(block, type, "a system message", "text, tool_addition, tool_removal");
    }
  }
  return parts;
}

bool is_billing_line(std::string_view text) {
  return text.starts_with("x-anthropic-billing-header:");
}

}  // namespace

json::array read_anthropic_messages(const json::array& messages, OfferedTools& tools) {
  json::array out;
  std::size_t users_left = 0;
  for (const json::value& message : messages)
    if (const json::object* object = message.if_object())
      if (const json::value* role = object->if_contains("role"); role && *role == "user")
        ++users_left;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    FieldReader message(messages[i], fmt::format("messages[{}]", i));
    const auto role = message.one_of("role", {"user", "assistant", "system"});
    if (!role) bad_field(message.path("role"), "{} is missing", message.path("role"));
    const json::value* content = message.find("content");
    const std::string path = message.path("content");
    if (*role == "user") --users_left;
    if (!content && !(*role == "system" && message.has("output_config")))
      bad_field(path, "{} is missing", path);
    if (*role == "system") {
      json::array parts = read_system_turn(message, tools, users_left > 0);
      if (!parts.empty()) out.push_back(chat_message("system", std::move(parts)));
    } else if (content->is_string()) {
      out.push_back(json::object{{"role", *role}, {"content", *content}});
    } else if (!content->is_array()) {
      bad_field(path, "{}: expected a string or an array of blocks", path);
    } else if (*role == "user") {
      read_user(content->get_array(), path, tools, out);
    } else {
      read_assistant(content->get_array(), path, out);
    }
  }
  return out;
}

std::optional<std::string> read_anthropic_system(FieldReader& body) {
  const json::array parts = text_blocks(body, "system", "the system prompt");
  std::string text;
  bool any = false;
  for (const json::value& part : parts) {
    std::string_view block = part.at("text").get_string();
    if (is_billing_line(block)) {
      const std::size_t end = block.find('\n');
      block.remove_prefix(end == std::string_view::npos ? block.size() : end + 1);
      if (block.empty()) continue;
    }
    if (!text.empty()) text += '\n';
    text += block;
    any = true;
  }
  return any ? std::optional(std::move(text)) : std::nullopt;
}

}  // namespace octet::serve
