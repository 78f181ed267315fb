#include "runtime/ops/reference/reference_backend.h"

#include <cstring>

#include "runtime/ops/reference/reference_impl.h"

namespace octet::ops::reference {

std::unique_ptr<Backend> make_reference_backend(ThreadPool& pool) {
  return std::make_unique<ReferenceBackend>(pool);
}

Tensor ReferenceBackend::allocate(DType type, Shape shape) {
  return make_host_tensor(type, std::move(shape));
}

void ReferenceBackend::upload(std::span<const std::byte> from, TensorView to) {
  OCTET_CHECK(from.size() == to.bytes(), "upload of {} bytes to {}", from.size(), to.bytes());
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

void ReferenceBackend::download(TensorView from, std::span<std::byte> to) {
  OCTET_CHECK(to.size() == from.bytes(), "download of {} bytes to {}", from.bytes(), to.size());
  if (!to.empty()) std::memcpy(to.data(), from.data(), to.size());
}

void ReferenceBackend::embed(TensorView table, TensorView ids, TensorView y) {
  const std::int64_t width = table.dim(1);
  check_rows("embed", y, ids.size(), width);
  const auto* data = static_cast<const std::byte*>(table.data());
  for (std::int64_t r = 0; r < ids.size(); ++r) {
    const std::int64_t id = ids.as<std::int32_t>()[r];
    const auto row =
        dequantize({table.dim(0), width, false, {data, table.dtype()}, {}}, {id, 1}, {0, width});
    std::memcpy(y.as<float>() + r * width, row.data(), row.size() * sizeof(float));
  }
}

}  // namespace octet::ops::reference
