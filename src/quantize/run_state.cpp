#include "quantize/run_state.h"

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"

namespace octet::quantize {

namespace {

constexpr const char* kName = "quantize_state.json";

json::object to_object(const ModuleLine& m) {
  const GptqReport& r = m.report;
  return {{"name", m.name},
          {"loss", r.loss},
          {"relative_error", r.relative_error},
          {"damp_percent", r.damp_percent},
          {"smallest_pivot", r.smallest_pivot},
          {"dead_columns", r.dead_columns},
          {"clipped", r.clipped},
          {"plain_rows", r.plain_rows},
          {"tokens", m.num_tokens},
          {"seconds", m.seconds},
          // As text: JSON readers keep 53 bits of a number.
          {"fingerprint", std::to_string(m.fingerprint)}};
}

ModuleLine module_line(const json::object& o) {
  const auto number = [&](const char* key) { return o.at(key).to_number<double>(); };
  const auto whole = [&](const char* key) { return o.at(key).to_number<std::int64_t>(); };
  return {.name = std::string(o.at("name").as_string()),
          .report = {.loss = number("loss"),
                     .relative_error = number("relative_error"),
                     .damp_percent = number("damp_percent"),
                     .smallest_pivot = number("smallest_pivot"),
                     .dead_columns = whole("dead_columns"),
                     .clipped = whole("clipped"),
                     .plain_rows = whole("plain_rows")},
          .num_tokens = whole("tokens"),
          .seconds = number("seconds"),
          .fingerprint = std::stoull(std::string(o.at("fingerprint").as_string()))};
}

}  // namespace

void save_state(const RunState& state, const std::filesystem::path& folder) {
  json::array modules;
  for (const ModuleLine& m : state.modules) modules.push_back(to_object(m));
  const PhaseSeconds& s = state.seconds;
  const json::object o{{"settings", state.settings},
                       {"layers_done", state.layers_done},
                       {"tensors_written", state.tensors_written},
                       {"seconds",
                        {{"load", s.load},
                         {"forward", s.forward},
                         {"statistics", s.statistics},
                         {"factor", s.factor},
                         {"solve", s.solve},
                         {"write", s.write},
                         {"total", state.total_seconds}}},
                       {"modules", std::move(modules)}};
  write_file(folder / kName, to_json(o) + "\n");
}

std::optional<RunState> load_state(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / kName)) return std::nullopt;
  try {
    const json::value v = parse_json(read_file(folder / kName), kName);
    const json::object& o = v.as_object();
    const auto seconds = [&](const char* key) {
      return o.at("seconds").at(key).to_number<double>();
    };
    RunState state{.settings = std::string(o.at("settings").as_string()),
                   .layers_done = o.at("layers_done").to_number<std::int64_t>(),
                   .tensors_written = o.at("tensors_written").to_number<std::size_t>(),
                   .seconds = {.load = seconds("load"),
                               .forward = seconds("forward"),
                               .statistics = seconds("statistics"),
                               .factor = seconds("factor"),
                               .solve = seconds("solve"),
                               .write = seconds("write")},
                   .total_seconds = seconds("total")};
    for (const json::value& m : o.at("modules").as_array())
      state.modules.push_back(module_line(m.as_object()));
    return state;
  } catch (const std::exception&) {
    return std::nullopt;  // not ours, or damaged: the run starts from its beginning
  }
}

void remove_state(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::filesystem::remove(folder / kName, ignored);
}

}  // namespace octet::quantize
