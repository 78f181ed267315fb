#include "serve/answer/content_form.h"

namespace octet::serve {

namespace {

// Words that no template has of itself. The second one is a member that nobody asks for: it shows
// only where a whole list or part is printed.
constexpr const char *kText = "zqxtext", *kMember = "zqxmember";

json::value as_parts(const char* text) {
  return json::array{json::object{{"type", "text"}, {"text", text}, {"zqx", kMember}}};
}

json::object message(const char* role, json::value content) {
  return {{"role", role}, {"content", std::move(content)}};
}

// A conversation in which one message, of that role, has the content.
json::array conversation(std::string_view role, const json::value& content) {
  json::array out;
  if (role == "system") out.push_back(message("system", content));
  out.push_back(message("user", role == "user" ? content : json::value("a")));
  if (role == "assistant") out.push_back(message("assistant", content));
  if (role == "tool") {
    json::object call = message("assistant", "b");
    call["tool_calls"] = json::array{
        json::object{{"id", "c"},
                     {"type", "function"},
                     {"function", {{"name", "f"}, {"arguments", json::object{{"x", "1"}}}}}}};
    out.push_back(std::move(call));
    json::object result = message("tool", content);
    result["tool_call_id"] = "c";
    out.push_back(std::move(result));
  }
  return out;
}

bool writes(const chat_template::ChatTemplate& chat_template, std::string_view role,
            const json::value& content) {
  // Requests may bring templates.
  constexpr chat_template::Limits kLimits{.max_steps = 200'000, .max_bytes = 1 << 20};
  const json::object kwargs{{"add_generation_prompt", true}};
  try {
    const std::string text =
        chat_template.render(conversation(role, content), nullptr, kwargs, kLimits);
    return text.find(kText) != std::string::npos && text.find(kMember) == std::string::npos;
  } catch (const Error&) {
    return false;  // it refuses that role, or that form
  }
}

}  // namespace

ContentForm find_content_form(const chat_template::ChatTemplate& chat_template) {
  if (!writes(chat_template, "user", as_parts(kText))) return ContentForm::text;
  for (const char* role : {"system", "assistant", "tool"})
    if (!writes(chat_template, role, as_parts(kText)) && writes(chat_template, role, kText))
      return ContentForm::text;
  return ContentForm::parts;
}

}  // namespace octet::serve
