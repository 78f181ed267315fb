// Any text as config.json, or as a pair of it and --hf-overrides: refused, or a configuration whose
// sizes fit each other.
#include "checkpoint/config.h"

#include <cstdlib>

#include "checkpoint/config_overrides.h"
#include "checkpoint/expected_tensors.h"
#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto value = octet::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const auto* pair = value.if_array();
    const bool overridden = pair && pair->size() == 2 && (*pair)[1].is_object();
    const auto config = overridden ? octet::checkpoint::parse_overridden((*pair)[0], "fuzz",
                                                                         (*pair)[1].get_object())
                                   : octet::checkpoint::parse_config(value, "fuzz");
    if (config.text.num_attention_heads % config.text.num_key_value_heads != 0) std::abort();
    if (octet::checkpoint::expected_tensors(config).empty()) std::abort();
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data && e.code() != octet::ErrorCode::invalid_argument)
      std::abort();
  }
  return 0;
}
