// GGUF, the file format of llama.cpp: what a file holds, a reader that trusts nothing, a writer.
// docs/formats/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "runtime/tensor/dtype.h"

namespace octet::checkpoint {

/// Element types that octet writes; files may hold others of gguf_types.cpp.
enum class GgmlType : std::uint32_t { f32 = 0, f16 = 1, q4_0 = 2, q8_0 = 8, bf16 = 30 };

/// Elements of a block and its bytes; elements 0: a type that octet doesn't know.
struct GgmlBlock {
  std::int64_t elements = 0;
  std::uint64_t bytes = 0;
};
GgmlBlock ggml_block(GgmlType type);
/// "Q8_0", "BF16", ...; "type 99" for a number without a name.
std::string to_string(GgmlType type);

/// A value of the metadata. Whole numbers narrower than 32 bits are read as 32, lists of whole
/// numbers other than i32 as 64.
using GgufValue = std::variant<bool, std::uint32_t, std::int32_t, std::uint64_t, std::int64_t,
                               float, double, std::string, std::vector<std::string>,
                               std::vector<std::int32_t>, std::vector<std::int64_t>,
                               std::vector<float>, std::vector<double>, std::vector<bool>>;
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

/// A tensor to be written or found. Shape is row-major as everywhere in octet; the file lists it
/// the other way round.
struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::f32;
  Shape shape;
  std::span<const std::byte> bytes;  ///< of a file that was read
};
/// Bytes of a tensor's data. Errors: bad_data if rows aren't whole blocks, or the type is unknown.
std::uint64_t ggml_bytes(const GgufTensor& tensor);

/// A GGUF file (version 2 or 3, little-endian), mapped.
class GgufFile {
 public:
  /// Validates counts, lengths, types, and that every tensor lies inside the file.
  /// Errors: not_found; bad_data with the file and the place.
  explicit GgufFile(const std::filesystem::path& path);

  const MappedFile& file() const { return *file_; }
  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// nullptr if there is none of that name.
  const GgufValue* find(const std::string& key) const;
  const GgufTensor* find_tensor(const std::string& name) const;

 private:
  std::unique_ptr<MappedFile> file_;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
};

/// The reader's own checks, for files in memory (and the fuzzer). `name` goes into messages.
void parse_gguf(std::span<const std::byte> file, const std::string& name, GgufMetadata& metadata,
                std::vector<GgufTensor>& tensors);

/// Takes the bytes of a tensor, piece by piece.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// Writes a GGUF file (version 3): metadata and the list of tensors first, data in that order. The
/// file appears under its name in finish(). Errors: unavailable (disk).
class GgufWriter {
 public:
  /// Of the tensors only name, type and shape are looked at.
  GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
             std::vector<GgufTensor> tensors);
  /// The next tensor; produce gives its bytes to the sink (their number is checked).
  void add(const std::function<void(const ByteSink&)>& produce);
  /// All tensors must be there. Flushes to the disk, to be read back from partial().
  void sync();
  const std::filesystem::path& partial() const { return file_.partial(); }
  /// All tensors must be there. Flushes and renames to the final name.
  void finish();
  /// CRC-32 of each tensor's bytes as they were given, to compare with the file.
  const std::vector<std::uint32_t>& checksums() const { return checksums_; }

 private:
  void pad();
  void require_complete() const;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> checksums_;
  OutputFile file_;
};

/// CRC-32 (that of zlib) of bytes that follow those of `crc`; 0 to begin.
std::uint32_t crc32_of(std::uint32_t crc, std::span<const std::byte> bytes);

}  // namespace octet::checkpoint
