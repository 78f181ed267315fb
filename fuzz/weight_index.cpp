// Any bytes as a file of packed weights: refused with bad_data, or an index whose blocks lie inside
// the data; what is read can be written and read again.
#include "model/weight_index.h"

#include <cstdlib>
#include <cstring>

#include "runtime/base/error.h"

namespace {

using octet::model::parse_weight_index;
using octet::model::WeightIndex;

void read(std::span<const std::byte> file) {
  try {
    const WeightIndex index = parse_weight_index(file, "fuzz");
    for (const auto& linear : index.linears)
      for (const auto& block : linear.blocks)
        if (block.offset > index.data_bytes || block.bytes > index.data_bytes - block.offset)
          std::abort();
    std::string again(reinterpret_cast<const char*>(file.data()), index.data_bytes);
    again += octet::model::write_weight_index(index);
    if (parse_weight_index(std::as_bytes(std::span(again)), "again").linears.size() !=
        index.linears.size())
      std::abort();
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  read(std::as_bytes(std::span(data, size)));
  // The same as the index of a file whose head, trailer and hashes are right: what JSON may say.
  std::string file = octet::model::weight_file_head();
  const std::string text = octet::model::write_weight_index({.data_bytes = file.size()});
  std::string trailer = text.substr(text.size() - 56);
  const std::uint64_t sizes[] = {file.size() + size + trailer.size(), size};
  const auto index = std::as_bytes(std::span(data, size));
  const octet::Hash128 index_hash = octet::hash128(index);
  std::memcpy(trailer.data() + 8, sizes, 16);
  std::memcpy(trailer.data() + 24, index_hash.data(), 16);
  const octet::Hash128 hash = octet::hash128(std::as_bytes(std::span(trailer)).first(40));
  std::memcpy(trailer.data() + 40, hash.data(), 16);
  file.append(reinterpret_cast<const char*>(data), size);
  read(std::as_bytes(std::span(file += trailer)));
  return 0;
}
