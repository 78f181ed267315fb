// Any text as a grammar, up to the first zero byte; the rest is read by it: an error, or masks that
// agree with what is taken.
#include <algorithm>
#include <cstdlib>

#include "generate/grammar/sources.h"
#include "grammar_matching.h"
#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const auto source = all.substr(0, all.find('\0'));
  const auto text = all.substr(std::min(all.size(), source.size() + 1));
  try {
    octet::generate::grammar::match(octet::generate::grammar::parse_ebnf(source), text);
  } catch (const octet::Error& e) {
    if (e.code() == octet::ErrorCode::internal) std::abort();
  }
  return 0;
}
