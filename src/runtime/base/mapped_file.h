#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace octet {

/// A file mapped read-only; pages are read from disk when touched. Move only.
class MappedFile {
 public:
  MappedFile() = default;
  /// Maps the whole file. Errors: not_found, or unavailable if it can't be mapped.
  explicit MappedFile(const std::filesystem::path& path);
  /// Maps bytes [offset, offset + size) of a file that may still grow; bytes() is aligned as offset
  /// is, up to the size of a page.
  /// Errors: as above; bad_data if the file ends before.
  MappedFile(const std::filesystem::path& path, std::size_t offset, std::size_t size);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  /// Tells the kernel that a range won't be needed soon, so that one resident layer stays one.
  void release(std::span<const std::byte> range) const;
  /// Brings a range into memory and into this process's page tables now. False if that fails: a
  /// later touch may end the process. A kernel before 5.14 can't be asked: true, and nothing done.
  bool populate(std::span<const std::byte> range) const;

 private:
  void map(int fd, std::size_t offset);
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0, before_ = 0;  // mapped before data_: a mapping begins with a page
  std::filesystem::path path_;
};

/// Reads a small file whole. Errors: not_found; bad_data if larger than max_bytes.
std::string read_file(const std::filesystem::path& path, std::size_t max_bytes = 1u << 30);

}  // namespace octet
