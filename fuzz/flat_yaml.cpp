// Any bytes as a file of settings: refused with bad_data, or entries each of which has a key, and
// whose values read back the same after they were written.
#include "runtime/base/flat_yaml.h"

#include <cstdlib>

#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const auto& entry : octet::parse_flat_yaml(text, "fuzz")) {
      if (entry.key.empty() || entry.line == 0) std::abort();
      for (const std::string& value : entry.values) {
        bool ascii = true;  // other bytes may be no UTF-8, which JSON's quotes can't hold
        for (const char c : value) ascii = ascii && static_cast<unsigned char>(c) < 0x80;
        if (!ascii) continue;
        const std::string written = "k: " + octet::flat_yaml_scalar(value);
        if (octet::parse_flat_yaml(written, "again").at(0).values.at(0) != value) std::abort();
      }
    }
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
  return 0;
}
