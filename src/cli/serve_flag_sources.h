#pragma once

#include <string>
#include <vector>

#include "cli/serve_flag_table.h"

namespace octet::cli {

/// A flag as one source gave it, once.
struct FlagSetting {
  const ServeFlag* flag = nullptr;
  std::vector<std::string> path;   ///< --NAME.a.b: "a", "b"
  std::vector<std::string> words;  ///< its values
  std::string shown;               ///< for messages: "--port", "FILE:3: port", "$OCTET_PORT"
  std::string origin;              ///< "command line", "FILE:3", "$OCTET_PORT"
  bool translated = false;         ///< from another flag's name
};
using FlagSettings = std::vector<FlagSetting>;

/// Errors of all three: invalid_argument. Values are not looked at, but for booleans.
FlagSettings settings_of_arguments(const std::vector<std::string>& arguments);
FlagSettings settings_of_file(const std::string& path);
FlagSettings settings_of_environment(const Environment& environment);

}  // namespace octet::cli
