// Any bytes as a file of packed weights: refused with bad_data, or an index whose blocks lie inside
// the data; what is read can be written and read again, and its linears are refused with bad_data
// or restored.
#include "model/weight_index.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/backend.h"
#include "runtime/ops/make_backend.h"

namespace {

using octet::model::parse_weight_index;
using octet::model::WeightIndex;

// Blocks are used where they lie, as a mapped file's: at pages.
void restore(const WeightIndex::Linear& linear, std::span<const std::byte> file) {
  static octet::ThreadPool pool(1);
  static const auto backend = octet::ops::make_backend({.backend = "cpu"}, pool);
  constexpr std::size_t kPage = octet::ops::kStoredAlignment;
  std::size_t bytes = 0;
  for (const auto& block : linear.blocks) bytes += (block.bytes + kPage - 1) / kPage * kPage;
  if (bytes > std::size_t{64} << 20) return;  // blocks may overlap, so their sum has no bound
  const auto memory = std::make_shared<std::vector<std::byte>>(bytes + kPage);
  void* at = memory->data();
  std::size_t room = memory->size();
  auto* to = static_cast<std::byte*>(std::align(kPage, bytes, at, room));
  octet::ops::StoredLinear stored{.description = linear.description};
  for (const auto& block : linear.blocks) {
    const auto from = file.subspan(block.offset, block.bytes);
    std::ranges::copy(from, to);
    stored.blocks.push_back({to, from.size()});
    to += (from.size() + kPage - 1) / kPage * kPage;
  }
  try {
    const auto restored = backend->restore_linear(stored, memory);
    if (restored->in_features() < 1 || restored->out_features() < 1) std::abort();
  } catch (const octet::Error& e) {
    if (e.code() != octet::ErrorCode::bad_data) std::abort();
  }
}

void read(std::span<const std::byte> file) {
  try {
    const WeightIndex index = parse_weight_index(file, "fuzz");
    for (const auto& linear : index.linears)
      for (const auto& block : linear.blocks)
        if (block.offset > index.data_bytes || block.bytes > index.data_bytes - block.offset)
          std::abort();
    for (const auto& linear : index.linears) restore(linear, file);
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
