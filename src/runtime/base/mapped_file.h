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
  /// Maps bytes [offset, offset + size) of a file that may still grow; offset a multiple of 4096.
  /// Errors: as above; bad_data if the file ends before.
  MappedFile(const std::filesystem::path& path, std::size_t offset, std::size_t size);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  /// Tells the kernel that a range won't be needed soon, so that one resident layer stays one.
  void release(std::span<const std::byte> range) const;
  /// Brings a range into memory and into this process's page tables now. False if the disk fails:
  /// a later touch would end the process.
  bool populate(std::span<const std::byte> range) const;

 private:
  void map(int fd, std::size_t offset);
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::filesystem::path path_;
};

/// Reads a small file whole. Errors: not_found; bad_data if larger than max_bytes.
std::string read_file(const std::filesystem::path& path, std::size_t max_bytes = 1u << 30);

}  // namespace octet
