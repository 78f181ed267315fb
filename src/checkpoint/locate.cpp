#include "checkpoint/locate.h"

#include <fmt/ranges.h>

#include <cctype>
#include <cstdlib>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"

namespace octet::checkpoint {

namespace fs = std::filesystem;

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_model(const fs::path& folder) {
  return fs::exists(folder / "config.json");
}

fs::path hub_cache() {
  if (const auto cache = environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const auto home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  return fs::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

std::string replace_slash(const std::string& id) {
  std::string s = id;
  s.replace(s.find('/'), 1, "--");
  return s;
}

bool looks_like_hub_id(const std::string& name) {
  const auto slash = name.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == name.size()) return false;
  return name.find('/', slash + 1) == std::string::npos &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./") ==
             std::string::npos &&
         name[0] != '.' && name.find("..") == std::string::npos;
}

}  // namespace

fs::path locate_model(const std::string& name) {
  if (fs::is_directory(name)) return name;
  std::vector<std::string> searched{name};
  if (name == "tiny") {
    std::vector<fs::path> places;
    if (const auto data = environment("OCTET_DATA"); !data.empty()) {
      places.push_back(fs::path(data) / "models" / "tiny");
      places.push_back(fs::path(data) / "tiny");
    }
    places.push_back(fs::path(OCTET_SOURCE_DIR) / "models" / "tiny");
    places.push_back(fs::path(OCTET_INSTALL_PREFIX) / "share" / "octet" / "models" / "tiny");
    for (const fs::path& place : places) {
      if (is_model(place)) return place;
      searched.push_back(place.string());
    }
  } else if (looks_like_hub_id(name)) {
    const fs::path cache = hub_cache() / ("models--" + replace_slash(name));
    searched.push_back(cache.string());
    const fs::path reference = cache / "refs" / "main";
    if (fs::exists(reference)) {
      std::string revision = read_file(reference, 4096);
      while (!revision.empty() && std::isspace(static_cast<unsigned char>(revision.back())))
        revision.pop_back();
      const fs::path snapshot = cache / "snapshots" / revision;
      if (is_model(snapshot)) return snapshot;
      searched.push_back(snapshot.string());
    }
    fail(ErrorCode::not_found,
         "model {} is not on this machine; searched {}. Fetch it with `huggingface-cli download "
         "{}`, or name a folder",
         name, fmt::join(searched, ", "), name);
  }
  fail(ErrorCode::not_found,
       "no model `{}`; searched {}. Name a folder with a config.json, `tiny`, or a hub id "
       "owner/name",
       name, fmt::join(searched, ", "));
}

}  // namespace octet::checkpoint
