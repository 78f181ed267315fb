#include "checkpoint/config_overrides.h"

#include <algorithm>

#include "checkpoint/expected_tensors.h"
#include "runtime/base/error.h"

namespace octet::checkpoint {

namespace {

constexpr const char* kFlag = "--hf-overrides";

json::object* object_in(json::object& object, std::string_view key) {
  json::value* v = object.if_contains(key);
  return v ? v->if_object() : nullptr;
}

// Where a key of `from` is to go, if not to `into` itself: rope_theta and the like lie in
// rope_parameters where there are any, and those are what is read.
json::object* newer_place(json::object& into, const json::object& from, std::string_view key) {
  if (key != "rope_theta" && key != "partial_rotary_factor") return nullptr;
  json::object* rope = object_in(into, "rope_parameters");
  return rope && !from.contains("rope_parameters") ? rope : nullptr;
}

std::string_view newer_name(const json::object& into, const json::object& from,
                            std::string_view key) {
  if (key == "rope_scaling" && into.contains("rope_parameters") &&
      !from.contains("rope_parameters"))
    return "rope_parameters";
  if (key == "type" && into.contains("rope_type") && !from.contains("rope_type"))
    return "rope_type";
  return key;
}

void merge(json::object& into, const json::object& from, const std::string& path,
           std::vector<std::string>& set) {
  for (const auto& [key, value] : from) {
    if (json::object* place = newer_place(into, from, key)) {
      (*place)[key] = value;
      set.push_back(path + "rope_parameters." + std::string(key));
      continue;
    }
    const std::string name(newer_name(into, from, key));
    const json::object* more = value.if_object();
    if (!more || more->empty()) {
      // An empty object leaves what is there.
      if (!more || !object_in(into, name)) into[name] = value;
      set.push_back(path + name);
      continue;
    }
    if (path.empty() && name == "text_config" && !into.contains(name)) {
      merge(into, *more, path, set);
      continue;
    }
    if (!object_in(into, name)) into[name] = json::object();
    merge(*object_in(into, name), *more, path + name + ".", set);
  }
}

// The first part of a path that nobody asked for; empty if it is read. What lies below a key that
// is taken whole is read with it.
std::string unread_part(const std::string& path, const std::set<std::string>& asked) {
  for (std::size_t end = path.find('.');; end = path.find('.', end + 1)) {
    const std::string part = path.substr(0, end);
    if (!asked.contains(part)) return part;
    const auto below = asked.lower_bound(part + ".");
    const bool whole = below == asked.end() || !below->starts_with(part + ".");
    if (whole || end == std::string::npos) return "";
  }
}

bool same_tensors(const ModelConfig& a, const ModelConfig& b) {
  const auto quantization = [](const ModelConfig& c) {
    const json::value* v = c.raw.if_contains("quantization_config");
    return v ? *v : json::value();
  };
  const auto same = [](const ExpectedTensor& x, const ExpectedTensor& y) {
    return x.name == y.name && x.shape == y.shape;
  };
  return std::ranges::equal(expected_tensors(a), expected_tensors(b), same) &&
         quantization(a) == quantization(b);
}

// nullopt: the file alone has an error.
std::optional<ModelConfig> without_overrides(const json::value& file, const std::string& where) {
  try {
    return parse_config(file, where);
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

std::vector<std::string> merge_overrides(json::object& config, const json::object& overrides) {
  std::vector<std::string> set;
  merge(config, overrides, "", set);
  return set;
}

ModelConfig parse_overridden(const json::value& file, const std::string& where,
                             const json::object& overrides) {
  if (!file.is_object()) return parse_config(file, where);  // says what is wrong
  const auto own = without_overrides(file, where);
  json::object merged = file.get_object();
  const std::vector<std::string> set = merge_overrides(merged, overrides);
  std::set<std::string> asked;
  ModelConfig config;
  try {
    config = parse_config(merged, own ? kFlag : where, &asked);
  } catch (const Error& e) {
    // The file was right without them.
    if (own && e.code() == ErrorCode::bad_data) fail(ErrorCode::invalid_argument, "{}", e.what());
    throw;
  }
  OverrideReport& report = config.overrides;
  report.changes_tensors = !own || !same_tensors(*own, config);
  for (const std::string& path : set)
    if (const std::string part = unread_part(path, asked);
        !part.empty() && std::ranges::find(report.unread, part) == report.unread.end())
      report.unread.push_back(part);
  if (!report.unread.empty()) report.known.assign(asked.begin(), asked.end());
  return config;
}

}  // namespace octet::checkpoint
