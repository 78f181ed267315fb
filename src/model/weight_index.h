#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/fingerprint.h"
#include "runtime/base/hash.h"

namespace octet::model {

/// Bytes of a file of packed weights that share a hash.
inline constexpr std::size_t kWeightChunk = std::size_t{8} << 20;

/// What a file of packed weights says about itself. docs/formats/weight-cache.md
struct WeightIndex {
  struct Block {
    std::uint64_t offset = 0, bytes = 0;  ///< of the file; offset a multiple of 4096
  };
  struct Linear {
    std::string name;
    std::int64_t in_features = 0, out_features = 0;
    std::vector<std::int64_t> description;
    std::vector<Block> blocks;
  };
  std::string layout;  ///< Backend::weight_layout
  checkpoint::Fingerprint checkpoint;
  std::uint64_t data_bytes = 0;     ///< what the chunks cover, from the file's begin
  std::vector<std::string> chunks;  ///< hashes, as to_hex writes them
  std::vector<Linear> linears;
};

/// The first page of a file.
std::string weight_file_head();

/// What follows the data: the index, and the trailer that leads to it.
std::string write_weight_index(const WeightIndex& index);

/// Reads the index of a whole file; no byte of the data is looked at. Everything is checked: head,
/// trailer, hash of the index, every field, every block inside the data. `before_reading` gets each
/// part of the file before it is touched (a mapped page that the disk can't give ends the process)
/// and may throw.
/// Errors: bad_data with `name` and what is wrong.
WeightIndex parse_weight_index(
    std::span<const std::byte> file, const std::string& name,
    const std::function<void(std::span<const std::byte>)>& before_reading = {});

}  // namespace octet::model
