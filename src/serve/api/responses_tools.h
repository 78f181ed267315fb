#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "serve/api/dialect_fields.h"

namespace octet::serve {

/// A call as the Responses API has it, of what the model knows as one function.
struct ResponseCall {
  std::string name;
  std::string name_space;  ///< empty: none
  bool custom = false;     ///< its input is text, not JSON
};

/// The tools of a Responses request. Functions within a namespace (Codex sends those of MCP servers
/// so) are functions of their joined names to the model; a custom tool is a function with one
/// string, `input`. Calls are told to the client in its own form.
class ResponseTools {
 public:
  /// Reads `tools` into the job. unused: takes types that nobody here can run. Errors: HttpError
  /// 400 with the field's path.
  void read(FieldReader& body, Job& job, std::vector<std::string>& unused);
  /// What was read, in the client's form.
  json::array take_shown() { return std::move(shown_); }
  /// The function that a tool_choice means by a tool's name: the job's of that name, or else the
  /// only one of a namespace; the name itself if there is none.
  std::string function_named(const std::string& name, const Job& job) const;
  bool is_custom(const std::string& function) const;
  /// The call that a function's name stands for.
  ResponseCall call_of(const std::string& function) const;

  /// A function's name of those of a namespace.
  static std::string joined_name(std::string_view name_space, std::string_view name);
  /// The text that a custom tool gets: `input` of the arguments; all of them if they aren't
  /// complete or of another form.
  static std::string custom_input(const std::string& arguments);

 private:
  json::object read_tool(FieldReader& tool, const std::string& type, const std::string& name_space,
                         const std::string& prefix, Job& job);

  json::array shown_;
  std::unordered_map<std::string, ResponseCall> calls_;  // by the function; not the plain ones
  std::unordered_map<std::string, std::string> by_short_name_;  // of namespaces; empty: several
};

}  // namespace octet::serve
