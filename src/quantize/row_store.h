#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace octet::quantize {

/// Values of the calibration rows between the layers: [tokens of row i, width] float32 for each
/// row, in memory or, for sets that don't fit, in a file that has no name any more (it is gone
/// when the process is, however it ends). Threads: one at a time.
class RowStore {
 public:
  /// In memory. Errors: out_of_memory.
  RowStore(const std::vector<std::int64_t>& row_tokens, std::int64_t width);
  /// In a file inside `folder`. Errors: unavailable (disk), with the path.
  RowStore(const std::vector<std::int64_t>& row_tokens, std::int64_t width,
           const std::filesystem::path& folder);
  ~RowStore();
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  std::int64_t width() const { return width_; }
  /// Values of another width from now on, at most the one that it was made for; what it held is
  /// gone if the width changes.
  void set_width(std::int64_t width);
  /// The whole of row i, tokens * width values. Errors: unavailable (disk).
  void read(std::size_t i, std::span<float> to) const;
  void write(std::size_t i, std::span<const float> from);

 private:
  std::int64_t width_, capacity_;
  std::vector<std::int64_t> offsets_;  // in tokens; one more than rows
  std::vector<float> memory_;
  int file_ = -1;
  std::filesystem::path folder_;
};

}  // namespace octet::quantize
