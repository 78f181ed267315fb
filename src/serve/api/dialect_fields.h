#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/api/request_context.h"
#include "serve/field_reader.h"
#include "serve/job.h"

namespace octet::serve {

/// Variables of the template, later ones over earlier ones: the server's defaults, `thinking`,
/// reasoning_effort, the request's chat_template_kwargs. serving.md §12.5.
json::object template_kwargs(FieldReader& body, const RequestContext& context,
                             std::optional<bool> thinking,
                             const std::optional<std::string>& effort);
/// A function as clients offer it. path: of the tool, for errors.
struct FunctionTool {
  std::string name, description;
  json::value parameters;  ///< null: none
  bool strict = false;
};
/// Errors: a name that isn't [A-Za-z0-9_.:-]{1,128}, parameters that are no schema.
void check_tool(const FunctionTool& tool, const std::string& name_path,
                const std::string& parameters_path);
[[noreturn]] void same_name(const std::string& path, const std::string& name);
/// As templates have it: {"type": "function", "function": {...}}.
json::object rendered_tool(const FunctionTool& tool);
/// Appends it to what is rendered and to what is parsed. Errors: those of check_tool, a name that
/// was there already.
void add_tool(Job& job, FunctionTool tool, const std::string& name_path,
              const std::string& parameters_path);
/// Checks the choice against the tools. Without tools it becomes none. Errors: tools that aren't
/// there, at `path`.
void check_tool_choice(Job& job, const std::string& path);
/// What both dialects leave as it is for every request.
void set_common(Job& job, const RequestContext& context, bool stream);

/// What a client wrote in an error message, cut short.
std::string_view shortened(std::string_view text);

/// {"role": role, "content": parts}; no part or one is a string.
json::object chat_message(std::string_view role, json::array parts);
json::object text_part(std::string_view text);
/// The texts of parts, a line break between them.
std::string joined_text(const json::array& parts);
/// An assistant's turn; without text before calls its content is null.
json::object assistant_message(json::array parts, const std::string& reasoning, json::array calls);

/// A field that must be there. Errors: HttpError 400 with its path, as below.
std::string required_string(FieldReader& object, std::string_view name);
/// Reads an item of content, by its type, into parts.
using ReadPart =
    std::function<void(FieldReader& item, const std::string& type, json::array& parts)>;
/// The text of a field as parts: a string, or an array of items (`items`: their name in errors).
json::array read_parts(FieldReader& owner, std::string_view name, std::string_view items,
                       const ReadPart& read);
[[noreturn]] void refuse_picture(const std::string& path);

}  // namespace octet::serve
