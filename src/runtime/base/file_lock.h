#pragma once

#include <filesystem>
#include <optional>

namespace octet {

/// An advisory lock (flock) of a file, held until destruction; the kernel frees it when the process
/// ends in whatever way. Locks of one process exclude each other, too. Move only.
class FileLock {
 public:
  FileLock() = default;
  /// Locks an existing file beside other sharers. nullopt: somebody holds it alone, or it can't be
  /// opened or locked.
  static std::optional<FileLock> try_shared(const std::filesystem::path& path);
  /// Locks a file alone. nullopt: others hold it, or it is absent or can't be locked.
  static std::optional<FileLock> try_exclusive(const std::filesystem::path& path);
  /// Makes the file if need be, locks it alone and removes it in the destructor, so that nothing
  /// is left (another user's stays where the folder forbids that). nullopt: another holds it.
  /// Errors: unavailable if it can't be made or locked.
  static std::optional<FileLock> try_create(const std::filesystem::path& path);
  ~FileLock();
  /// True if the path still leads to the locked file.
  bool is_at(const std::filesystem::path& path) const;
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
  std::filesystem::path remove_;
};

}  // namespace octet
