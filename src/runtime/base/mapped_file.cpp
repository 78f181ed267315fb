#include "runtime/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"

namespace octet {

namespace {

// Closes the descriptor on every way out.
struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Descriptor open_regular(const std::filesystem::path& path, struct stat& info) {
  Descriptor d{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (d.fd < 0)
    fail(ErrorCode::not_found, "can't open {}: {}", path.string(), std::strerror(errno));
  if (::fstat(d.fd, &info) != 0)
    fail(ErrorCode::unavailable, "can't read the size of {}: {}", path.string(),
         std::strerror(errno));
  if (S_ISDIR(info.st_mode))
    fail(ErrorCode::not_found, "{} is a folder, expected a file", path.string());
  return d;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  struct stat info{};
  const Descriptor d = open_regular(path, info);
  size_ = static_cast<std::size_t>(info.st_size);
  map(d.fd, 0);
}

MappedFile::MappedFile(const std::filesystem::path& path, std::size_t offset, std::size_t size)
    : size_(size), path_(path) {
  struct stat info{};
  const Descriptor d = open_regular(path, info);
  const auto end = static_cast<std::size_t>(info.st_size);
  if (offset > end || size > end - offset)
    fail(ErrorCode::bad_data, "{} ends at byte {}, expected {} bytes from {}", path.string(), end,
         size, offset);
  map(d.fd, offset);
}

void MappedFile::map(int fd, std::size_t offset) {
  if (size_ == 0) return;  // mmap refuses length 0; an empty span says it all
  // Pages have 4, 16 or 64 KiB; the caller's offset knows nothing of that.
  before_ = offset % static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* p = ::mmap(nullptr, before_ + size_, PROT_READ, MAP_SHARED, fd,
                   static_cast<off_t>(offset - before_));
  if (p == MAP_FAILED)
    fail(ErrorCode::unavailable, "can't map {} ({} bytes): {}", path_.string(), size_,
         std::strerror(errno));
  data_ = static_cast<const std::byte*>(p) + before_;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_) - before_, before_ + size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(before_, other.before_);
  std::swap(path_, other.path_);
  return *this;
}

void MappedFile::release(std::span<const std::byte> range) const {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  // Only pages that lie wholly inside: a neighbour's tensor shares the edge pages.
  const auto begin = (reinterpret_cast<std::uintptr_t>(range.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(range.data() + range.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

bool MappedFile::populate(std::span<const std::byte> range) const {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(range.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(range.data() + range.size());
  if (begin >= end) return true;
  auto* at = reinterpret_cast<void*>(begin);
#ifdef MADV_POPULATE_READ
  // EINVAL: a kernel before 5.14; pages come when they are touched.
  if (::madvise(at, end - begin, MADV_POPULATE_READ) != 0 && errno != EINVAL) return false;
#endif
  return true;
}

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  struct stat info{};
  const Descriptor d = open_regular(path, info);
  std::string text;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(d.fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      fail(ErrorCode::unavailable, "can't read {}: {}", path.string(), std::strerror(errno));
    if (n == 0) return text;
    if (text.size() + static_cast<std::size_t>(n) > max_bytes)
      fail(ErrorCode::bad_data, "{} is larger than the {} bytes that such a file may have",
           path.string(), max_bytes);
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace octet
