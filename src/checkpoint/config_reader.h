#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace octet::checkpoint {

/// Typed access to the keys of a JSON object; every mismatch is a bad_data that names file and key.
/// A key that is absent or null leaves the value as it is.
class ConfigReader {
 public:
  /// asked: gets the path ("text_config.head_dim") of every key that is looked for; may be null.
  ConfigReader(const json::object& object, std::string where,
               std::set<std::string>* asked = nullptr)
      : ConfigReader(object, std::move(where), "", asked) {}

  void read(const char* key, std::int64_t& value, std::int64_t min, std::int64_t max) const;
  void read(const char* key, double& value, double min, double max) const;
  void read(const char* key, bool& value) const;
  void read(const char* key, std::string& value) const;
  /// A number or a list of numbers.
  void read_ids(const char* key, std::vector<std::int64_t>& value) const;
  /// nullptr if absent or null.
  const json::value* find(const char* key) const;
  /// The object under a key; nullptr if absent. Errors if it is something else.
  const json::object* object(const char* key) const;
  /// A reader of the object under a key; nullopt if absent. Errors if it is something else.
  std::optional<ConfigReader> child(const char* key) const;

  template <typename... Args>
  [[noreturn]] void bad(const char* key, fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::bad_data, "{}: {}: {}", where_, key,
         fmt::format(format, std::forward<Args>(args)...));
  }
  const std::string& where() const { return where_; }

 private:
  ConfigReader(const json::object& object, std::string where, std::string path,
               std::set<std::string>* asked)
      : object_(object), where_(std::move(where)), path_(std::move(path)), asked_(asked) {}
  const json::object& object_;
  std::string where_, path_;  // path_: of the object, with a dot behind
  std::set<std::string>* asked_;
};

}  // namespace octet::checkpoint
