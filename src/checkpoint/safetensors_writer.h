#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/output_file.h"
#include "runtime/tensor/dtype.h"

namespace octet::checkpoint {

/// What is to be written.
struct TensorPlan {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t bytes() const {
    return static_cast<std::uint64_t>(num_elements(shape)) * dtype_bytes(dtype);
  }
};

/// Writes one .safetensors file: the header is complete from the start, data follow in the order
/// of the plan. The file appears under its name in finish(). Errors: unavailable (disk).
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorPlan> plan);
  /// Goes on after the first `tensors` of the plan, which an earlier process wrote and flushed.
  /// Errors: bad_data if the file holds less, or the beginning of something else.
  SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorPlan> plan,
                    std::size_t tensors);
  /// The next tensor of the plan; name and size must match (checked).
  void add(const std::string& name, std::span<const std::byte> bytes);
  /// All tensors must be there. Flushes and renames.
  void finish();
  /// Flushes what is written and leaves it for a later process, however this one ends.
  void sync();

 private:
  std::vector<TensorPlan> plan_;
  std::size_t next_ = 0;
  OutputFile file_;
};

/// Writes a plan into shards of at most shard_bytes (a larger tensor gets one of its own), in the
/// order of the plan: model.safetensors, or model-0000I-of-0000N.safetensors and, last of all, the
/// index. A shard appears when it is complete.
class ShardWriter {
 public:
  /// written: tensors of the plan that an earlier process wrote before its last sync().
  ShardWriter(std::filesystem::path folder, std::vector<TensorPlan> plan, std::uint64_t shard_bytes,
              std::size_t written = 0);
  void add(const std::string& name, std::span<const std::byte> bytes);
  void finish();
  /// Flushes what is written and leaves it for a later process. Returns the tensors written.
  std::size_t sync();
  /// A tensor that is written already. Errors: unavailable, bad_data if it can't be read.
  std::vector<std::byte> read_back(const std::string& name) const;
  /// Bytes of all tensors.
  std::uint64_t total_bytes() const { return total_bytes_; }

 private:
  void open_shard();
  std::filesystem::path folder_;
  std::vector<std::vector<TensorPlan>> shards_;
  std::vector<std::string> names_;  // file of each shard
  std::size_t shard_ = 0, in_shard_ = 0, written_ = 0;
  std::uint64_t total_bytes_ = 0;
  std::unique_ptr<SafetensorsWriter> writer_;
};

}  // namespace octet::checkpoint
