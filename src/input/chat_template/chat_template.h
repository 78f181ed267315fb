#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "input/chat_template/template.h"

namespace octet::chat_template {

/// A model's chat template: messages to prompt, as transformers renders it.
class ChatTemplate {
 public:
  /// chat_template.jinja of a model folder, or `chat_template` of its tokenizer_config.json.
  /// Errors: not_found if there is none; bad_data.
  static ChatTemplate load(const std::filesystem::path& folder);
  static ChatTemplate parse(const std::string& source, const std::string& name);
  static bool exists(const std::filesystem::path& folder);

  /// messages: list of {role, content, ...}; tools: list or null; kwargs: further variables
  /// (add_generation_prompt, enable_thinking, ...).
  std::string render(const json::value& messages, const json::value& tools,
                     const json::object& kwargs, const Limits& limits = {}) const;
  std::vector<Span> render_marked(const json::value& messages, const json::value& tools,
                                  const json::object& kwargs) const;

 private:
  explicit ChatTemplate(Template t) : template_(std::move(t)) {}
  Template template_;
};

/// OpenAI's clients send a call's `arguments` as a string of JSON; templates want the mapping.
/// Strings that hold an object are parsed, everything else stays.
json::value with_parsed_arguments(json::value messages);

}  // namespace octet::chat_template
