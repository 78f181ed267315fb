// checkpoint: from files to named tensors and a configuration, and back. Knows the published
// layout of the family and GPTQ's file format; knows no backend and computes nothing.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/mapped_file.h"
#include "runtime/tensor/dtype.h"

namespace octet::checkpoint {

/// A tensor inside a mapped file. The bytes are row-major, little-endian and may be unaligned;
/// they live as long as the file.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::span<const std::byte> bytes;
  const MappedFile* file = nullptr;
};

/// A .safetensors file, mapped. Reading the header touches no tensor data.
class SafetensorsFile {
 public:
  /// Validates everything that the header says: its length, JSON, types, shapes against offsets,
  /// offsets inside the file without overlaps or holes, no name twice.
  /// Errors: not_found; bad_data with the file and, where there is one, the tensor.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  /// In the order of the file's data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// nullptr if there is none of that name.
  const TensorInfo* find(const std::string& name) const;
  const MappedFile& file() const { return *file_; }

 private:
  std::unique_ptr<MappedFile> file_;  // at a fixed address: TensorInfo points to it
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, std::size_t> index_;
};

/// The header's own checks, for files in memory (and the fuzzer). `name` goes into messages.
std::vector<TensorInfo> parse_safetensors(std::span<const std::byte> file, const std::string& name);

}  // namespace octet::checkpoint
