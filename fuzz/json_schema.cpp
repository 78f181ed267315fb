// Any JSON as a schema, as a tool's parameters and as a structural tag: rules, or an error that
// blames the caller.
#include <cstdlib>

#include "generate/grammar/sources.h"
#include "generate/grammar/tool_rules.h"
#include "runtime/base/error.h"

namespace {

template <typename Make>
void only_invalid_argument(const Make& make) {
  try {
    make();
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::invalid_argument) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octet::generate::grammar;
  if (size == 0) return 0;
  octet::json::value value;
  try {
    value = octet::parse_json({reinterpret_cast<const char*>(data + 1), size - 1}, "fuzz");
  } catch (const octet::Error&) {
    return 0;
  }
  const JsonStyle style{.any_whitespace = (data[0] & 1) != 0,
                        .strict = (data[0] & 2) != 0,
                        .additional_properties = (data[0] & 4) != 0};
  only_invalid_argument([&] {
    Rules rules;
    std::vector<std::string> ignored;
    json_schema(rules, value, style, &ignored);
    for (const auto& rule : rules.rules)
      if (!rule.body) std::abort();
  });
  only_invalid_argument([&] {
    tool_call_rules({{"f", value, (data[0] & 8) != 0}}, ToolMode::optional, true, {}, style);
  });
  only_invalid_argument([&] { structural_tag_rules(value, style); });
  return 0;
}
