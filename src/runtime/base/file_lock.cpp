#include "runtime/base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"

namespace octet {

namespace {

bool lock(int fd, int how) {
  int result;
  do {
    result = ::flock(fd, how | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

// Network file systems lock a file alone only if it is open for writing; others lock it however it
// is open, and a file of another user may only be read.
int open_to_lock(const std::filesystem::path& path, int flags) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | flags, 0644);
  const int code = errno;
  if (fd >= 0 || (code != EACCES && code != EPERM && code != EROFS)) return fd;
  const int read_only = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (read_only < 0) errno = code;
  return read_only;
}

int open_and_lock(const std::filesystem::path& path, int how) {
  const int fd =
      how == LOCK_SH ? ::open(path.c_str(), O_RDONLY | O_CLOEXEC) : open_to_lock(path, 0);
  if (fd >= 0 && lock(fd, how)) return fd;
  if (fd >= 0) ::close(fd);
  return -1;
}

}  // namespace

std::optional<FileLock> FileLock::try_shared(const std::filesystem::path& path) {
  const int fd = open_and_lock(path, LOCK_SH);
  return fd < 0 ? std::nullopt : std::optional(FileLock(fd));
}

std::optional<FileLock> FileLock::try_exclusive(const std::filesystem::path& path) {
  const int fd = open_and_lock(path, LOCK_EX);
  return fd < 0 ? std::nullopt : std::optional(FileLock(fd));
}

std::optional<FileLock> FileLock::try_create(const std::filesystem::path& path) {
  for (;;) {
    const int fd = open_to_lock(path, O_CREAT);
    if (fd < 0)
      fail(ErrorCode::unavailable, "can't create {}: {}", path.string(), std::strerror(errno));
    if (!lock(fd, LOCK_EX)) {
      const int code = errno;
      ::close(fd);
      if (code == EWOULDBLOCK) return std::nullopt;
      fail(ErrorCode::unavailable, "can't lock {}: {}", path.string(), std::strerror(code));
    }
    FileLock made(fd);
    // An earlier holder may have removed the file between open and lock: then it locks nothing.
    if (!made.is_at(path)) continue;
    made.remove_ = path;
    return made;
  }
}

bool FileLock::is_at(const std::filesystem::path& path) const {
  struct stat open_file{}, named{};
  return ::fstat(fd_, &open_file) == 0 && ::stat(path.c_str(), &named) == 0 &&
         open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

FileLock::~FileLock() {
  if (fd_ < 0) return;
  if (!remove_.empty()) ::unlink(remove_.c_str());
  ::close(fd_);
}

FileLock::FileLock(FileLock&& other) noexcept {
  *this = std::move(other);
}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(remove_, other.remove_);
  return *this;
}

}  // namespace octet
