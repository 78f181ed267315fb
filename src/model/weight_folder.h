#pragma once

#include <cstdint>
#include <filesystem>

namespace octet::model {

/// Endings of the files that octet makes, and removes, in a folder of packed weights. Nothing else
/// there is touched.
inline constexpr const char* kWeightFileEnding = ".octet-weights";
inline constexpr const char* kWeightLockEnding = ".lock";  ///< after the file's name

/// Removes what dead writers left, then the longest unused files until `bytes` more keep the
/// folder below `limit`; never `keep`, nor a file that a process uses or writes.
/// Errors: unavailable if that is not enough.
void make_weight_room(const std::filesystem::path& folder, const std::filesystem::path& keep,
                      std::uint64_t bytes, std::uint64_t limit);

}  // namespace octet::model
