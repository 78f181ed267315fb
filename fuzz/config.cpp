// Any text as config.json: refused with bad_data, or a configuration whose sizes fit each other.
#include "checkpoint/config.h"

#include <cstdlib>

#include "checkpoint/expected_tensors.h"
#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto config = octet::checkpoint::parse_config(
        octet::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz"), "fuzz");
    if (config.text.num_attention_heads % config.text.num_key_value_heads != 0) std::abort();
    if (octet::checkpoint::expected_tensors(config).empty()) std::abort();
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
  return 0;
}
