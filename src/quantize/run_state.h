#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "quantize/layer_quantizer.h"
#include "runtime/base/json.h"

namespace octet::quantize {

/// One module's line of the report.
struct ModuleLine {
  std::string name;
  GptqReport report;
  std::int64_t num_tokens = 0;
  double seconds = 0;
  std::uint64_t fingerprint = 0;  ///< of codes and scales as they were meant
};

/// What a run leaves behind after each layer, beside the tensors themselves: enough for the next
/// run to go on to the same bytes.
struct RunState {
  std::string settings;  ///< everything that the result depends on, as JSON text
  std::int64_t layers_done = 0;
  std::size_t tensors_written = 0;
  std::vector<ModuleLine> modules;
  PhaseSeconds seconds;
  double total_seconds = 0;
};

/// Written aside, flushed and renamed. Errors: unavailable.
void save_state(const RunState& state, const std::filesystem::path& folder);
/// nullopt if there is none, or if it can't be understood.
std::optional<RunState> load_state(const std::filesystem::path& folder);
/// It has served: the folder is complete.
void remove_state(const std::filesystem::path& folder);

}  // namespace octet::quantize
