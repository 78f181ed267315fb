#include "support/support.h"

#include <cstdlib>

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"

namespace octet::test {

std::filesystem::path tiny_model() {
  return std::filesystem::path(OCTET_SOURCE_DIR) / "models" / "tiny";
}

std::filesystem::path shipped_data(const std::string& name) {
  return std::filesystem::path(OCTET_SOURCE_DIR) / "data" / name;
}

std::filesystem::path golden(const std::string& name) {
  const auto path = std::filesystem::path(OCTET_SOURCE_DIR) / "tests" / "golden" / name;
  if (!std::filesystem::exists(path)) fail(ErrorCode::not_found, "no {}", path.string());
  return path;
}

std::optional<std::filesystem::path> external_golden(const std::string& name) {
  const char* folder = std::getenv("OCTET_GOLDEN");
  if (!folder || !*folder) return std::nullopt;
  const auto path = std::filesystem::path(folder) / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

std::vector<json::value> read_json_lines(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  std::vector<json::value> values;
  std::size_t begin = 0;
  while (begin < text.size()) {
    auto end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    if (end > begin)
      values.push_back(
          parse_json(std::string_view(text).substr(begin, end - begin), path.string()));
    begin = end + 1;
  }
  return values;
}

ScratchFolder::ScratchFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "octet-test-XXXXXX").string();
  if (!::mkdtemp(name.data())) fail(ErrorCode::unavailable, "can't make a scratch folder");
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace octet::test
