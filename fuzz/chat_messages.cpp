// Any JSON as messages or the schema of a tool: an HttpError 400, or messages that the template
// takes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "serve/answer/chat_prompt.h"
#include "serve/answer/tools.h"
#include "serve/http/error_body.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  octet::json::value value;
  try {
    value = octet::parse_json({reinterpret_cast<const char*>(data + 1), size - 1}, "fuzz");
  } catch (const octet::Error&) {
    return 0;
  }
  try {
    if (data[0] & 2) {
      octet::serve::check_tool_schema(value, "parameters");
      return 0;
    }
    if (!value.is_array()) return 0;
    const auto form =
        (data[0] & 4) ? octet::serve::ContentForm::text : octet::serve::ContentForm::parts;
    const bool strict = (data[0] & 1) != 0;
    const auto once = octet::serve::normalize_messages(value.get_array(), strict, form);
    // What is normal stays as it is.
    if (!strict && octet::serve::normalize_messages(once, false, form) != once) std::abort();
  } catch (const octet::serve::HttpError& e) {
    if (e.status() != 400 || e.param().empty()) std::abort();
  }
  return 0;
}
