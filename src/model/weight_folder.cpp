#include "model/weight_folder.h"

#include <algorithm>
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

}  // namespace

void make_weight_room(const fs::path& folder, const fs::path& keep, std::uint64_t bytes,
                      std::uint64_t limit) {
  const std::string ending = kWeightFileEnding, partial = ".partial";
  std::error_code ignored;
  std::uint64_t total = 0;
  for (const File& f : files_ending(folder, ending + partial)) {
    const std::string file = f.path.string();
    const std::string finished = file.substr(0, file.size() - partial.size());
    if (finished == keep.string()) continue;  // the caller's own, to be written over
    // A writer holds its lock as long as it lives.
    if (const auto turn = FileLock::try_create(finished + kWeightLockEnding))
      fs::remove(f.path, ignored);
    else
      total += f.bytes;
  }
  auto files = files_ending(folder, ending);
  for (const File& f : files) total += f.path == keep ? 0 : f.bytes;
  std::ranges::sort(files, {}, &File::used);
  for (const File& f : files) {
    if (total + bytes <= limit) break;
    if (f.path == keep) continue;
    const auto alone = FileLock::try_exclusive(f.path);
    if (alone && fs::remove(f.path, ignored)) total -= f.bytes;
  }
  if (total + bytes > limit)
    fail(ErrorCode::unavailable, "{}: {} more than the {} in use there would pass its limit of {}",
         folder.string(), format_bytes(static_cast<double>(bytes)),
         format_bytes(static_cast<double>(total)), format_bytes(static_cast<double>(limit)));
}

}  // namespace octet::model
