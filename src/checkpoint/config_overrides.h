#pragma once

#include <string>

#include "checkpoint/config.h"

namespace octet::checkpoint {

/// Merges overrides into a configuration, as vLLM's --hf-overrides does: objects key by key,
/// everything else replaces what was there. What an older key says (rope_scaling, type, rope_theta
/// beside them) goes to the newer key if the configuration has that, which would win; text_config
/// of a text-only file is the file itself. Returns the path of each value that was set.
std::vector<std::string> merge_overrides(json::object& config, const json::object& overrides);

/// parse_config of a file with the overrides merged in; `where` names the file. Errors:
/// invalid_argument naming --hf-overrides, or bad_data if the file has an error that they leave.
ModelConfig parse_overridden(const json::value& file, const std::string& where,
                             const json::object& overrides);

}  // namespace octet::checkpoint
