#include "runtime/base/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "runtime/base/error.h"

namespace octet {

namespace {
[[noreturn]] void io_error(const char* what, const std::filesystem::path& path) {
  const int code = errno;
  fail(ErrorCode::unavailable, "can't {} {}: {}{}", what, path.string(), std::strerror(code),
       code == ENOSPC || code == EDQUOT ? "; free some space and run the command again" : "");
}
}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path)
    : path_(path), partial_(path.string() + ".partial") {
  fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) io_error("create", partial_);
}

OutputFile::OutputFile(const std::filesystem::path& path, std::size_t keep_bytes)
    : path_(path), partial_(path.string() + ".partial"), size_(keep_bytes) {
  // It may have got its name just before the earlier process ended.
  std::error_code error;
  if (!std::filesystem::exists(partial_) && std::filesystem::exists(path_))
    std::filesystem::rename(path_, partial_, error);
  const auto size = std::filesystem::file_size(partial_, error);
  if (error || size < keep_bytes)
    fail(ErrorCode::bad_data, "{}: expected at least {} bytes of an earlier run, found {}",
         partial_.string(), keep_bytes, error ? error.message() : std::to_string(size));
  fd_ = ::open(partial_.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd_ < 0) io_error("open", partial_);
  if (::ftruncate(fd_, static_cast<off_t>(keep_bytes)) != 0 || ::lseek(fd_, 0, SEEK_END) < 0) {
    const int code = errno;
    ::close(fd_);
    errno = code;
    io_error("cut", partial_);
  }
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!keep_partial_) ::unlink(partial_.c_str());
}

void OutputFile::sync(const std::function<void()>& between) {
  constexpr std::size_t kPiece = 64'000'000;
  for (std::size_t at = 0; between && at < size_; at += kPiece) {
    between();
    // Not every file system can; what goes wrong here fsync says, too.
    (void)::sync_file_range(
        fd_, static_cast<off_t>(at), static_cast<off_t>(kPiece),
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  }
  if (::fsync(fd_) != 0) io_error("flush", partial_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  OCTET_CHECK(fd_ >= 0, "write to {} after commit", path_.string());
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) io_error("write", partial_);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    size_ += static_cast<std::size_t>(n);
  }
}

void OutputFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text)));
}

void OutputFile::commit() {
  OCTET_CHECK(fd_ >= 0, "{} committed twice", path_.string());
  if (::fsync(fd_) != 0) io_error("flush", partial_);
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) {
    ::unlink(partial_.c_str());
    io_error("close", partial_);
  }
  if (::rename(partial_.c_str(), path_.c_str()) != 0) {
    const int code = errno;
    ::unlink(partial_.c_str());
    errno = code;
    io_error("rename to", path_);
  }
  sync_folder(path_.parent_path());
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  OutputFile file(path);
  file.write(text);
  file.commit();
}

void sync_folder(const std::filesystem::path& folder) {
  const std::filesystem::path name = folder.empty() ? "." : folder;
  const int fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) io_error("open", name);
  const int result = ::fsync(fd);
  // Some file systems can't flush a folder and say EINVAL: nothing more can be done there.
  const bool bad = result != 0 && errno != EINVAL;
  if (bad) {
    const int code = errno;
    ::close(fd);
    errno = code;
    io_error("flush", name);
  }
  ::close(fd);
}

}  // namespace octet
