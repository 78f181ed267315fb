// What tests share: where the data lies, scratch folders, JSON lines.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace octet::test {

/// models/tiny of the source tree.
std::filesystem::path tiny_model();
/// A file of data/ of the source tree.
std::filesystem::path shipped_data(const std::string& name);
/// A file of tests/golden; fails the test program if it is missing.
std::filesystem::path golden(const std::string& name);
/// A file of the full golden set in $OCTET_GOLDEN; empty if the variable is unset or the file
/// absent.
std::optional<std::filesystem::path> external_golden(const std::string& name);
/// The values of a .jsonl file.
std::vector<json::value> read_json_lines(const std::filesystem::path& path);

/// A new empty folder, removed with its content in the destructor.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace octet::test
