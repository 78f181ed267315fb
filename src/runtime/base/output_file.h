#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace octet {

/// A file written aside (`NAME.partial` in the same folder) that takes its name only in commit():
/// a reader never sees half a file. Without commit() the destructor removes it.
/// Every failure (also of close and fsync) throws unavailable with the path and the system's
/// reason; a full disk leaves nothing under the final name.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  /// Goes on with what an earlier process left: the first keep_bytes of `NAME.partial` (or of NAME,
  /// if it had got its name already). Errors: bad_data if less is there.
  OutputFile(const std::filesystem::path& path, std::size_t keep_bytes);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  std::size_t size() const { return size_; }
  /// Where it lies until commit().
  const std::filesystem::path& partial() const { return partial_; }
  /// Flushes to the disk what is written so far. `between` is called before each 64 MB and may
  /// throw to stop: a flush of a large file lasts minutes, and nothing else ends it.
  void sync(const std::function<void()>& between = {});
  /// From now on the destructor leaves `NAME.partial` for a later process to go on with.
  void keep_partial() { keep_partial_ = true; }

  /// Flushes to the disk, renames, flushes the folder. Nothing may be written afterwards.
  void commit();

 private:
  std::filesystem::path path_, partial_;
  int fd_ = -1;
  std::size_t size_ = 0;
  bool keep_partial_ = false;
};

/// OutputFile, write, commit.
void write_file(const std::filesystem::path& path, std::string_view text);

/// fsync of a folder, so that renames in it survive a power loss.
void sync_folder(const std::filesystem::path& folder);

}  // namespace octet
