#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "serve/answer/chat_prompt.h"
#include "serve/answer/json_fields.h"
#include "serve/answer/literal.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

// Texts of a content's parts, and what of them was thought rather than said.
struct Parts {
  std::vector<std::string> texts;
  std::string thinking;
  bool empty() const { return std::ranges::all_of(texts, &std::string::empty); }
};

json::value content_of(const std::vector<std::string>& texts, ContentForm form) {
  if (form == ContentForm::text) return json::string(fmt::format("{}", fmt::join(texts, "\n")));
  json::array parts;
  for (const std::string& text : texts) parts.push_back({{"type", "text"}, {"text", text}});
  return parts;
}

// All text of a content that content_of made.
std::string text_of_content(const json::value& content) {
  if (content.is_string()) return std::string(content.get_string());
  std::string out;
  for (const json::value& part : content.get_array()) out += part.at("text").get_string();
  return out;
}

// The one place that stands between pictures and the model.
[[noreturn]] void refuse_vision(const std::string& path) {
  bad_field(path, "{}: this server has no vision; send text", path);
}

const json::string& text_of(const json::object& part, std::string_view key,
                            const std::string& path) {
  const json::string* text = string_member(part, key, path);
  const std::string at = fmt::format("{}.{}", path, key);
  if (!text) bad_field(at, "{}: missing; expected a string", at);
  return *text;
}

void read_part(const json::value& value, const std::string& path, bool of_assistant, Parts& out) {
  const json::object& part = as_object(value, path);
  const std::string type(text_of(part, "type", path));
  if (type == "text") {
    out.texts.emplace_back(text_of(part, "text", path));
  } else if (type == "refusal") {
    out.texts.emplace_back(text_of(part, "refusal", path));
  } else if (type == "thinking") {
    const std::string thought(text_of(part, "thinking", path));
    if (of_assistant)
      out.thinking += thought;
    else
      out.texts.push_back(thought);
  } else if (type == "image_url" || type == "image" || type == "input_image" ||
             type == "video_url" || type == "video" || type == "input_video") {
    refuse_vision(path);
  } else if (type == "input_audio" || type == "audio_url") {
    bad_field(path + ".type", "{}.type: the model does not hear; {} is not supported", path,
              excerpt(type));
  } else if (type == "image_embeds" || type == "video_embeds") {
    bad_field(path + ".type", "{}.type: {} is not offered; send the picture itself", path,
              excerpt(type));
  } else {
    bad_field(path + ".type",
              "{}.type: expected text, image_url, video_url, refusal or thinking, "
              "found {}",
              path, excerpt(type));
  }
}

// Checks a message's content.
Parts read_content(const json::object& message, const std::string& path, std::string_view role) {
  Parts out;
  const json::value* content = member(message, "content");
  const std::string at = path + ".content";
  if (!content) {
    if (role != "assistant" && !message.contains("content"))
      bad_field(at, "{}: missing; a {} message needs one", at, role);
  } else if (content->is_string()) {
    out.texts.emplace_back(content->get_string());
  } else if (content->is_array()) {
    std::size_t k = 0;
    for (const json::value& part : content->get_array())
      read_part(part, fmt::format("{}[{}]", at, k++), role == "assistant", out);
  } else {
    bad_field(at, "{}: expected a string, an array of parts or null, found {}", at,
              kind_name(*content));
  }
  return out;
}

// JSON numbers beyond 64 bits would lose digits on their way to the template, which prints a
// string as it prints a number.
void keep_long_integers(std::string_view text, json::object& arguments) {
  if (std::ranges::none_of(arguments, [](const auto& m) { return m.value().is_double(); })) return;
  const auto literal = Literal::parse(text, Literal::Syntax::json);
  if (!literal) return;
  const auto nodes = literal->items(literal->root());
  for (std::size_t i = 0; i + 1 < nodes.size(); i += 2)
    if (literal->kind(nodes[i + 1]) == Literal::Kind::integer)
      if (json::value* v = arguments.if_contains(literal->string(nodes[i])); v && v->is_double())
        *v = literal->source(nodes[i + 1]);
}

json::object read_arguments(const json::object& function, const std::string& path, bool strict) {
  const json::value* v = member(function, "arguments");
  if (!v) return {};
  if (v->is_object() && !strict) return v->get_object();
  if (!v->is_string())
    bad_field(path, "{}: expected a string that holds a JSON object, found {}", path,
              kind_name(*v));
  const std::string_view text = v->get_string();
  if (trimmed(text).empty()) return {};
  json::value parsed;
  try {
    parsed = parse_json(text, path);
  } catch (const Error& e) {
    bad_field(path, "{}", e.what());
  }
  if (!parsed.is_object())
    bad_field(path, "{}: expected a JSON object, found {}", path, kind_name(parsed));
  keep_long_integers(text, parsed.get_object());
  return std::move(parsed.get_object());
}

// Checks an assistant's calls and makes mappings of their arguments, which are what templates take.
void read_calls(json::object& message, const std::string& path, bool strict) {
  if (member(message, "function_call"))
    bad_field(path + ".function_call", "{}.function_call: no longer supported; use tool_calls",
              path);
  const json::array* calls = array_member(message, "tool_calls", path);
  if (!calls || calls->empty()) {
    message.erase("tool_calls");
    return;
  }
  json::array out;
  for (std::size_t j = 0; j < calls->size(); ++j) {
    const std::string at = fmt::format("{}.tool_calls[{}]", path, j);
    json::object call = as_object((*calls)[j], at);
    string_member(call, "id", at);
    if (const json::string* type = string_member(call, "type", at); type && *type != "function")
      bad_field(at + ".type", "{}.type: expected function, found {}", at, excerpt(*type));
    const json::object* given = object_member(call, "function", at);
    if (!given) bad_field(at + ".function", "{}.function: missing; expected an object", at);
    json::object function = *given;
    if (text_of(function, "name", at + ".function").empty())
      bad_field(at + ".function.name", "{}.function.name: expected a name, found nothing", at);
    function["arguments"] = read_arguments(function, at + ".function.arguments", strict);
    call["function"] = std::move(function);
    out.push_back(std::move(call));
  }
  message["tool_calls"] = std::move(out);
}

json::object read_message(const json::value& value, const std::string& path, bool strict,
                          ContentForm form) {
  json::object message = as_object(value, path);
  const std::string role(text_of(message, "role", path));
  if (role == "function")
    bad_field(path + ".role", "{}.role: `function` is no longer supported; use `tool`", path);
  static constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, role) == std::end(kRoles))
    bad_field(path + ".role",
              "{}.role: expected system, developer, user, assistant or tool, "
              "found {}",
              path, excerpt(role));
  string_member(message, "name", path);
  Parts parts = read_content(message, path, role);
  if (role == "tool") string_member(message, "tool_call_id", path);
  if (role == "assistant") {
    const json::string* refusal = string_member(message, "refusal", path);
    if (refusal && parts.empty()) parts.texts = {std::string(*refusal)};
    for (const char* key : {"reasoning", "reasoning_content"})  // the latter counts
      if (const json::string* thought = string_member(message, key, path))
        parts.thinking = *thought;
    read_calls(message, path, strict);
  }
  if (strict) {
    const json::value* content = message.if_contains("content");
    if (form == ContentForm::text && content && content->is_array())
      message["content"] = content_of(parts.texts, form);
    return message;
  }
  if (role == "assistant") {
    if (parts.thinking.empty())
      message.erase("reasoning_content");
    else
      message["reasoning_content"] = parts.thinking;
  }
  if (parts.empty() && message.contains("tool_calls"))
    // No blank lines before the calls.
    message["content"] = form == ContentForm::text ? json::value() : json::array();
  else
    message["content"] = content_of(parts.texts, form);
  if (role == "developer") message["role"] = "system";
  return message;
}

bool has_role(const json::value& message, std::string_view role) {
  return message.at("role").get_string() == role;
}

// The template takes one system message, at the beginning. Several there become one; later ones
// stay where they are, so that what precedes them is still the prompt's prefix, as the user's
// words.
json::array place_system_messages(json::array messages, ContentForm form) {
  json::array out;
  for (json::value& m : messages) {
    if (!has_role(m, "system")) {
      out.push_back(std::move(m));
      continue;
    }
    const std::string text = text_of_content(m.at("content"));
    if (out.empty()) {
      out.push_back(std::move(m));
    } else if (trimmed(text).empty()) {
      continue;
    } else if (out.size() == 1 && has_role(out[0], "system")) {
      std::string first = text_of_content(out[0].at("content"));
      if (!trimmed(first).empty()) first += "\n\n";
      out[0].get_object()["content"] = content_of({first + text}, form);
    } else {
      const std::string reminder = fmt::format("<system-reminder>\n{}\n</system-reminder>", text);
      out.push_back({{"role", "user"}, {"content", content_of({reminder}, form)}});
    }
  }
  return out;
}

}  // namespace

json::array normalize_messages(const json::array& messages, bool strict, ContentForm form) {
  if (messages.empty()) bad_field("messages", "messages: expected at least one message");
  json::array out;
  for (std::size_t i = 0; i < messages.size(); ++i)
    out.push_back(read_message(messages[i], fmt::format("messages[{}]", i), strict, form));
  if (strict) return out;
  out = place_system_messages(std::move(out), form);
  const auto is_user = [](const json::value& m) { return has_role(m, "user"); };
  const auto begin =
      std::ranges::find_if_not(out, [](const json::value& m) { return has_role(m, "system"); });
  const bool no_user = std::ranges::none_of(out, is_user);
  if (no_user && begin == out.end())
    bad_field("messages", "messages: expected a user message, found only system messages");
  // An agent that trimmed its history. The template wants a question, and a turn before the results
  // of tools.
  if (no_user || has_role(out[0], "tool"))
    out.insert(begin, json::object{{"role", "user"}, {"content", content_of({""}, form)}});
  return out;
}

}  // namespace octet::serve
