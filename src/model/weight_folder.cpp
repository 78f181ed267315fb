#include "model/weight_folder.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/file_lock.h"
#include "runtime/base/progress.h"

namespace octet::model {

namespace {

namespace fs = std::filesystem;

struct File {
  fs::path path;
  std::uint64_t bytes = 0;
  fs::file_time_type used;
};

std::vector<File> files_ending(const fs::path& folder, const std::string& ending) {
  std::vector<File> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::error_code error;
    if (!entry.path().filename().string().ends_with(ending) || !entry.is_regular_file(error))
      continue;
    // Another process may remove files meanwhile: then there is nothing to count.
    const auto bytes = entry.file_size(error);
    if (error) continue;
    const auto used = entry.last_write_time(error);
    if (!error) files.push_back({entry.path(), bytes, used});
  }
  return files;
}

// Bytes that unfinished files take whose writers live; what the dead left is removed.
std::uint64_t unfinished_bytes(const fs::path& folder, const fs::path& keep) {
  const std::string partial = ".partial";
  std::error_code ignored;
  std::uint64_t bytes = 0;
  for (const File& f : files_ending(folder, kWeightFileEnding + partial)) {
    const std::string file = f.path.string();
    const std::string finished = file.substr(0, file.size() - partial.size());
    // A writer holds its lock as long as it lives.
    std::optional<FileLock> turn;
    if (finished != keep.string()) turn = FileLock::try_create(finished + kWeightLockEnding);
    const bool dead = turn || finished == keep.string();
    if (!dead || !fs::remove(f.path, ignored)) bytes += f.bytes;
  }
  return bytes;
}

}  // namespace

std::uint64_t make_weight_room(const fs::path& folder, const fs::path& keep, std::uint64_t bytes,
                               const WeightLimits& limits) {
  const std::uint64_t limit = limits.limit_bytes;
  std::uint64_t total = unfinished_bytes(folder, keep);
  auto files = files_ending(folder, kWeightFileEnding);
  std::erase_if(files, [&](const File& f) { return f.path == keep; });
  for (const File& f : files) total += f.bytes;
  const auto fits = [&](std::uint64_t freed) {
    return bytes <= limit && total - freed <= limit - bytes;
  };
  // Chosen and locked first, removed when it is certain that this is enough.
  std::ranges::sort(files, {}, &File::used);
  std::vector<std::pair<const File*, FileLock>> chosen;
  std::uint64_t freed = 0;
  for (const File& f : files) {
    if (bytes > limit || fits(freed)) break;
    auto alone = FileLock::try_exclusive(f.path);
    if (!alone) continue;
    chosen.emplace_back(&f, std::move(*alone));
    freed += f.bytes;
  }
  const auto refuse = [&] {
    fail(ErrorCode::unavailable, "{}: {} more than the {} in use there would pass its limit of {}",
         folder.string(), format_bytes(static_cast<double>(bytes)),
         format_bytes(static_cast<double>(total - freed)),
         format_bytes(static_cast<double>(limit)));
  };
  if (!fits(freed)) refuse();
  require_weight_room(folder, bytes, limits, freed);
  std::error_code ignored;
  for (const auto& [file, alone] : chosen)
    // Another process may have put a new file there since: that one is not ours to remove.
    if (!alone.is_at(file->path) || !fs::remove(file->path, ignored)) freed -= file->bytes;
  if (!fits(freed)) refuse();
  return limit - (total - freed);
}

void require_weight_room(const fs::path& folder, std::uint64_t bytes, const WeightLimits& limits,
                         std::uint64_t freed) {
  const fs::space_info space = limits.space(folder);
  const std::uint64_t keep = std::min<std::uint64_t>(limits.free_bytes, space.capacity / 10);
  const std::uint64_t available = space.available + freed;
  if (available < keep || available - keep < bytes)
    fail(ErrorCode::unavailable, "{}: {} are needed and {} are to stay free, found {}",
         folder.string(), format_bytes(static_cast<double>(bytes)),
         format_bytes(static_cast<double>(keep)), format_bytes(static_cast<double>(available)));
}

bool lies_in_memory(const fs::path& folder) {
  std::error_code ignored;
  fs::path at = fs::absolute(folder, ignored);
  while (!fs::exists(at, ignored) && at.has_relative_path()) at = at.parent_path();
  struct statfs info{};
  if (::statfs(at.c_str(), &info) != 0) return false;
  // Its type is signed here and unsigned there.
  const auto type = static_cast<std::uint32_t>(info.f_type);
  return type == TMPFS_MAGIC || type == RAMFS_MAGIC;
}

fs::path default_weight_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value ? value : "");
  };
  // The standard says that a relative path is to be ignored.
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute())
    return cache / "octet" / "weights";
  if (const fs::path home = variable("HOME"); home.is_absolute())
    return home / ".cache" / "octet" / "weights";
  return {};
}

}  // namespace octet::model
