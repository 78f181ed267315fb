#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace octet::checkpoint {

/// What tells one state of a checkpoint's files from another without reading all of them.
///
/// Times alone don't: copies and archives restore the time of modification. The time of the last
/// change of the inode can't be set by a program, so a write in place shows even where size and
/// modification time are restored; where a file system or an image sets all times alike, the
/// samples tell checkpoints apart. What is not seen: a change between the sampled bytes of a file
/// that lies on a file system whose times don't move.
struct Fingerprint {
  struct File {
    std::string name;
    std::uint64_t bytes = 0;
    std::int64_t modified_ns = 0, changed_ns = 0;  ///< since 1970
    bool operator==(const File&) const = default;
  };
  std::vector<File> files;  ///< config.json, quantize_config.json if any, then the shards
  /// Hash of the configuration files, of the shards' headers, and of each tensor's middle KiB.
  std::string content;
  bool operator==(const Fingerprint&) const = default;
};

/// Reads a page for each tensor. Errors: not_found, unavailable.
Fingerprint take_fingerprint(const Checkpoint& checkpoint);

/// The first thing that differs, for a person ("model.safetensors: 10 bytes, were 12"); empty if
/// nothing does.
std::string describe_change(const Fingerprint& before, const Fingerprint& now);

}  // namespace octet::checkpoint
