#include "cli/serve_watch.h"

#include <fmt/format.h>

namespace octet::cli {

StallAlarm::Change StallAlarm::look(const generate::EngineStatus& now) {
  const bool stalled = now.seconds_since_step > kSeconds && now.running + now.waiting > 0;
  if (stalled == stalled_) return Change::none;
  stalled_ = stalled;
  return stalled ? Change::stalled : Change::recovered;
}

std::string status_text(const generate::EngineStatus& s) {
  return fmt::format(
      "running {}, waiting {}, paused {}, pages {} used and {} cached of {}, states {} of {}, "
      "snapshots {} of {}, steps {}, {:.0f} s since the last",
      s.running, s.waiting, s.paused, s.kv_pages_used, s.kv_pages_cached, s.kv_pages_total,
      s.slots_used, s.slots_total, s.snapshots_used, s.snapshots_total, s.steps,
      s.seconds_since_step);
}

}  // namespace octet::cli
