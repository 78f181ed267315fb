#include "quantize/row_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/error.h"

namespace octet::quantize {

namespace {

std::vector<std::int64_t> offsets_of(const std::vector<std::int64_t>& row_tokens) {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t n : row_tokens) offsets.push_back(offsets.back() + n);
  return offsets;
}

}  // namespace

RowStore::RowStore(const std::vector<std::int64_t>& row_tokens, std::int64_t width)
    : width_(width), capacity_(width), offsets_(offsets_of(row_tokens)) {
  try {
    memory_.resize(static_cast<std::size_t>(offsets_.back() * width));
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::out_of_memory,
         "the calibration rows need {} bytes between the layers; lower --samples, --max-tokens or "
         "--max-memory (then they are kept in a file)",
         offsets_.back() * width * 4);
  }
}

RowStore::RowStore(const std::vector<std::int64_t>& row_tokens, std::int64_t width,
                   const std::filesystem::path& folder)
    : width_(width), capacity_(width), offsets_(offsets_of(row_tokens)), folder_(folder) {
  std::string name = (folder / "rows-XXXXXX").string();
  file_ = ::mkstemp(name.data());
  if (file_ < 0)
    fail(ErrorCode::unavailable, "can't create a file in {}: {}", folder.string(),
         std::strerror(errno));
  ::unlink(name.c_str());
  // The room is taken now: better no start than a full disk after hours.
  if (const int error = ::posix_fallocate(file_, 0, offsets_.back() * width * 4); error != 0) {
    ::close(file_);
    fail(ErrorCode::unavailable, "{}: no room for {} bytes of calibration rows: {}",
         folder.string(), offsets_.back() * width * 4, std::strerror(error));
  }
}

void RowStore::set_width(std::int64_t width) {
  OCTET_CHECK(width <= capacity_, "rows of {} for {}", width, capacity_);
  width_ = width;
}

RowStore::~RowStore() {
  if (file_ >= 0) ::close(file_);
}

void RowStore::read(std::size_t i, std::span<float> to) const {
  OCTET_CHECK(static_cast<std::int64_t>(to.size()) == (offsets_[i + 1] - offsets_[i]) * width_,
              "row {}", i);
  if (file_ < 0) {
    std::copy_n(memory_.data() + offsets_[i] * width_, to.size(), to.data());
    return;
  }
  auto bytes = std::as_writable_bytes(to);
  for (off_t at = offsets_[i] * width_ * 4; !bytes.empty();) {
    const ssize_t n = ::pread(file_, bytes.data(), bytes.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      fail(ErrorCode::unavailable, "{}: can't read calibration rows back: {}", folder_.string(),
           n < 0 ? std::strerror(errno) : "end of file");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    at += n;
  }
}

void RowStore::write(std::size_t i, std::span<const float> from) {
  OCTET_CHECK(static_cast<std::int64_t>(from.size()) == (offsets_[i + 1] - offsets_[i]) * width_,
              "row {}", i);
  if (file_ < 0) {
    std::copy_n(from.data(), from.size(), memory_.data() + offsets_[i] * width_);
    return;
  }
  auto bytes = std::as_bytes(from);
  for (off_t at = offsets_[i] * width_ * 4; !bytes.empty();) {
    const ssize_t n = ::pwrite(file_, bytes.data(), bytes.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      fail(ErrorCode::unavailable, "{}: can't write calibration rows: {}", folder_.string(),
           std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    at += n;
  }
}

}  // namespace octet::quantize
