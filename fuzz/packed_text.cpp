// Any bytes as a text file, packed by gzip or zstd or not: refused with bad_data, or no longer
// than the limit; its lines lie inside and parse or are refused.
#include <cstdlib>

#include "runtime/base/error.h"
#include "runtime/base/text_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kLimit = 1 << 16;
  try {
    const std::string text =
        octet::unpack_text(std::string(reinterpret_cast<const char*>(data), size), kLimit, "fuzz");
    if (text.size() > kLimit) std::abort();
    for (const auto& line : octet::text_lines(text)) {
      if (line.begin >= line.end || line.end > text.size()) std::abort();
      (void)octet::parse_line(text, line, "fuzz");
    }
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
  return 0;
}
