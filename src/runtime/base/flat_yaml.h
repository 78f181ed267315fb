#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace octet {

/// One `key: value` of a file of settings.
struct FlatYamlEntry {
  std::string key;
  std::vector<std::string> values;  ///< one, or a list's items
  bool is_list = false;
  std::size_t line = 0;  ///< counted from 1
};

/// Reads the part of YAML that lists of settings are written in: `key: value` at the margin; values
/// plain, 'quoted' or "quoted" (JSON's escapes), [lists, of, those] on one line or `- item` lines
/// below the key, {inline JSON} as it stands; comments; `---` at the beginning. null and ~ mean
/// that the key isn't there. What goes beyond (nested maps, block texts, anchors, tags) is refused.
/// `where` names the source in messages. Errors: bad_data with the line, also for keys that come
/// twice. Linear time.
std::vector<FlatYamlEntry> parse_flat_yaml(std::string_view text, std::string_view where);

/// A scalar as parse_flat_yaml reads it back: plain if it can be, else quoted.
std::string flat_yaml_scalar(std::string_view text);

}  // namespace octet
