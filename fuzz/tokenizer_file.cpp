// Any text as tokenizer.json: refused with bad_data, or a tokenizer that works.
#include <cstdlib>

#include "input/tokenizer/tokenizer.h"
#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto t = octet::tokenizer::Tokenizer::parse(
        octet::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz"), {}, "fuzz");
    t.decode(t.encode("Hello, world! \xc3\xa9 123\n"));
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
  return 0;
}
