#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

namespace octet::model {

/// Endings of the files that octet makes, and removes, in a folder of packed weights. Nothing else
/// there is touched.
inline constexpr const char* kWeightFileEnding = ".octet-weights";
inline constexpr const char* kWeightLockEnding = ".lock";  ///< after the file's name

/// What a folder of packed weights may take.
struct WeightLimits {
  /// All files of the folder together; the longest unused go first.
  std::uint64_t limit_bytes = 64'000'000'000;
  /// What must stay free on the disk: this or a tenth of it, whichever is less.
  std::uint64_t free_bytes = 10'000'000'000;
  /// Size of the disk of a folder and what is free there.
  std::function<std::filesystem::space_info(const std::filesystem::path&)> space =
      [](const std::filesystem::path& folder) { return std::filesystem::space(folder); };
};

/// Removes what dead writers left (also of `keep`, whose lock the caller holds), then the longest
/// unused files until `bytes` more keep the folder within its limits; never `keep`, nor a file that
/// a process uses or writes. Returns what `keep` may take within limit_bytes, at least `bytes`.
/// Errors: unavailable if that would not be enough; then no finished file was removed.
std::uint64_t make_weight_room(const std::filesystem::path& folder,
                               const std::filesystem::path& keep, std::uint64_t bytes,
                               const WeightLimits& limits);

/// Errors: unavailable if `bytes` more would leave less free than must stay, `freed` bytes being
/// given back before.
void require_weight_room(const std::filesystem::path& folder, std::uint64_t bytes,
                         const WeightLimits& limits, std::uint64_t freed = 0);

/// True if the files of a folder (or, while it is absent, of the nearest above it) are held in
/// memory only: there they take what the weights need, and never give it back.
bool lies_in_memory(const std::filesystem::path& folder);

/// $XDG_CACHE_HOME/octet/weights or ~/.cache/octet/weights; empty if neither variable is set.
std::filesystem::path default_weight_cache();

}  // namespace octet::model
