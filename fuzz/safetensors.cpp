// Any bytes as a .safetensors file: refused with bad_data, or tensors that lie inside.
#include "checkpoint/safetensors.h"

#include <cstdlib>

#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // The header's length is the fuzzer's worst enemy: half of the inputs get one that fits.
  std::vector<std::uint8_t> bytes(data, data + size);
  if (size > 9 && data[8] % 2 == 0) {
    const std::uint64_t length =
        std::min<std::uint64_t>(size - 8, 1 + data[0] + 256u * (data[1] % 4));
    for (int i = 0; i < 8; ++i)
      bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(length >> 8 * i);
  }
  try {
    for (const auto& t :
         octet::checkpoint::parse_safetensors(std::as_bytes(std::span(bytes)), "fuzz"))
      if (t.bytes.size() !=
          static_cast<std::size_t>(octet::num_elements(t.shape)) * octet::dtype_bytes(t.dtype))
        std::abort();
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
  return 0;
}
