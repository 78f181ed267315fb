#pragma once

#include <cstddef>
#include <filesystem>
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
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  std::size_t size() const { return size_; }

  /// Flushes to the disk, renames, flushes the folder. Nothing may be written afterwards.
  void commit();

 private:
  std::filesystem::path path_, partial_;
  int fd_ = -1;
  std::size_t size_ = 0;
};

/// OutputFile, write, commit.
void write_file(const std::filesystem::path& path, std::string_view text);

/// fsync of a folder, so that renames in it survive a power loss.
void sync_folder(const std::filesystem::path& folder);

}  // namespace octet
