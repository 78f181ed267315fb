// Any text as a chat template over a small conversation: an error, or text within the limits.
#include <cstdlib>

#include "input/chat_template/template.h"
#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const octet::json::object context{
      {"messages",
       {{{"role", "user"}, {"content", "Hi \xc3\xa9"}}, {{"role", "assistant"}, {"content", "x"}}}},
      {"n", 7},
      {"f", 1.5},
      {"d", {{"k", "v"}}}};
  const octet::chat_template::Limits limits{
      .max_steps = 20000, .max_bytes = 100000, .max_depth = 50};
  const std::string source(reinterpret_cast<const char*>(data), size);
  try {
    const auto t = octet::chat_template::Template::parse(source, "fuzz");
    if (t.render(context, limits).size() > limits.max_bytes) std::abort();
  } catch (const octet::Error& e) {
    if (e.code() == octet::ErrorCode::internal) std::abort();
  }
  return 0;
}
