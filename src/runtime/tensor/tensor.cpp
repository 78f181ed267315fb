#include "runtime/tensor/tensor.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace octet {

std::string to_string(Device device) {
  return device.kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

TensorView TensorView::rows(std::int64_t begin, std::int64_t count) const {
  OCTET_CHECK(!shape_.empty() && begin >= 0 && count >= 0 && begin + count <= shape_[0],
              "rows {}..{} of {}", begin, begin + count, to_string(shape_));
  Shape shape = shape_;
  shape[0] = count;
  const std::int64_t row = shape_[0] ? size() / shape_[0] : 0;
  auto* data =
      static_cast<std::byte*>(data_) + static_cast<std::size_t>(begin * row) * dtype_bytes(type_);
  return {data, type_, std::move(shape), device_};
}

TensorView TensorView::reshaped(Shape shape) const {
  OCTET_CHECK(num_elements(shape) == size(), "{} reshaped to {}", to_string(shape_),
              to_string(shape));
  return {data_, type_, std::move(shape), device_};
}

void Tensor::reset() {
  if (deleter_ && view_.data()) deleter_(view_.data(), view_.bytes());
  view_ = {};
  deleter_ = nullptr;
}

namespace {
// Large blocks come straight from the kernel, aligned for 2 MiB pages: weights and caches are
// streamed, and small pages stop the hardware prefetcher every 4 KiB.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

void free_host(void* data, std::size_t bytes) {
  if (bytes >= kHugePage)
    ::munmap(data, (bytes + kHugePage - 1) / kHugePage * kHugePage);
  else
    std::free(data);
}

void* allocate_host(std::size_t bytes) {
  if (bytes < kHugePage) {
    void* p = std::aligned_alloc(64, (std::max<std::size_t>(bytes, 1) + 63) / 64 * 64);
    if (p) std::memset(p, 0, bytes);
    return p;
  }
  const std::size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  // One page more than needed, then the edges are given back, so that the block is aligned.
  auto* raw = static_cast<std::byte*>(::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (raw == MAP_FAILED) return nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(raw);
  const std::size_t head = (kHugePage - address % kHugePage) % kHugePage;
  if (head) ::munmap(raw, head);
  ::munmap(raw + head + size, kHugePage - head);
  ::madvise(raw + head, size, MADV_HUGEPAGE);
  return raw + head;
}
}  // namespace

Tensor make_host_tensor(DType type, Shape shape) {
  const std::size_t bytes = static_cast<std::size_t>(num_elements(shape)) * dtype_bytes(type);
  void* data = allocate_host(bytes);
  if (!data)
    fail(ErrorCode::out_of_memory, "can't allocate {} bytes for a tensor {} {}", bytes,
         to_string(type), to_string(shape));
  return {data, type, std::move(shape), Device{}, free_host};
}

}  // namespace octet
