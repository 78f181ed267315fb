#include "cli/serve_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

namespace octet::cli {

namespace {

// Longer gaps between looks are not the engine's.
constexpr double kMostGap = 1;
// So many steps in a row that the device failed: it will not come back.
constexpr std::int64_t kMostLostSteps = 3;

}  // namespace

bool StallAlarm::look(const generate::EngineStatus& now, double gap) {
  // 0 without work. The counts are those of the last step: a request whose first one hangs is in
  // none of them.
  if (now.seconds_since_step <= gap)
    stood_ = std::min(now.seconds_since_step, kMostGap);
  else
    stood_ += std::min(gap, kMostGap);
  if (timeout_ > 0 && (stood_ > timeout_ || now.lost_steps >= kMostLostSteps)) stalled_ = true;
  return stalled_;
}

std::string status_text(const generate::EngineStatus& s) {
  return fmt::format(
      "running {}, waiting {}, paused {}, pages {} used and {} cached of {}, states {} of {}, "
      "snapshots {} of {}, steps {}, {:.0f} s since the last, {} lost with the device",
      s.running, s.waiting, s.paused, s.kv_pages_used, s.kv_pages_cached, s.kv_pages_total,
      s.slots_used, s.slots_total, s.snapshots_used, s.snapshots_total, s.steps,
      s.seconds_since_step, s.lost_steps);
}

std::string threads_text() {
  std::map<std::string, std::map<char, int>> threads;
  std::error_code error;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", error)) {
    // "7 (octet-engine) R ...": a name may hold anything, the last parenthesis is its end.
    std::string line;
    std::getline(std::ifstream(thread.path() / "stat"), line);
    const std::size_t begin = line.find('('), end = line.rfind(") ");
    if (begin == std::string::npos || end == std::string::npos || end + 2 >= line.size()) continue;
    std::string name = line.substr(begin + 1, end - begin - 1);
    const std::size_t last = name.find_last_not_of("0123456789");
    if (last != std::string::npos && last + 1 < name.size() && name[last] == '-') name.resize(last);
    ++threads[name][line[end + 2]];
  }
  std::string text;
  for (const auto& [name, states] : threads) {
    text += (text.empty() ? "" : ", ") + name;
    for (const auto& [state, count] : states)
      text += count == 1 ? fmt::format(" {}", state) : fmt::format(" {}{}", count, state);
  }
  return text;
}

}  // namespace octet::cli
