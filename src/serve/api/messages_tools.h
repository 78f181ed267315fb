#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "serve/api/dialect_fields.h"

namespace octet::serve {

/// The tools of a request of the Messages API, in `tools` and within the conversation. Those with
/// `defer_loading` are in no prompt until a tool_reference or a tool_addition names them; then
/// their definition stands there, so that what precedes it stays the prompt's prefix. Errors:
/// HttpError 400 with the field's path. Linear in what is read. Threads: one at a time.
class OfferedTools {
 public:
  /// Reads `tools`. unused: takes the types that are the server's own matter in Anthropic's cloud.
  void read(FieldReader& body, std::vector<std::string>& unused);
  /// A tool_reference in a tool's result: the definition of one that the prompt has not had yet,
  /// else its name.
  std::string refer(const std::string& name);
  /// `tool` of a tool_addition, a reference or a definition: what the model is told of it.
  std::string add(FieldReader& tool);
  /// `tool` of a tool_removal: what the model is told of it.
  std::string remove(FieldReader& tool);
  /// Hands the tools over that can be called at the end of the conversation. Once, last.
  void give(Job& job) &&;

 private:
  struct Offered {
    FunctionTool function;
    bool listed = true;     ///< with the tools, where the prompt begins
    bool in_prompt = true;  ///< there, or further down
    bool callable = true;   ///< at this point of the conversation
  };
  Offered* find(const std::string& name);
  static Offered read_tool(FieldReader& tool);

  std::vector<Offered> tools_;
  std::unordered_map<std::string, std::size_t> by_name_;  // the latest
};

}  // namespace octet::serve
