// Any bytes as a GGUF file: refused with bad_data, or tensors that lie inside.
#include <cstdlib>
#include <cstring>

#include "checkpoint/gguf_format.h"
#include "runtime/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::uint8_t> bytes(data, data + size);
  const std::uint32_t version = 3;
  if (size > 24 && data[23] % 2 == 0) {
    std::memcpy(bytes.data(), "GGUF", 4);
    std::memcpy(bytes.data() + 4, &version, 4);
  }
  octet::checkpoint::GgufMetadata metadata;
  std::vector<octet::checkpoint::GgufTensor> tensors;
  try {
    octet::checkpoint::parse_gguf(std::as_bytes(std::span(bytes)), "fuzz", metadata, tensors);
    for (const auto& t : tensors)
      if (t.bytes.size() != octet::checkpoint::ggml_bytes(t)) std::abort();
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
  return 0;
}
