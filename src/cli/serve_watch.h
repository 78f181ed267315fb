#pragma once

#include <string>

#include "generate/engine.h"

namespace octet::cli {

/// Whether an engine stands still though it has work, or has lost its device. One thread.
class StallAlarm {
 public:
  /// timeout: seconds; 0: never.
  explicit StallAlarm(double timeout) : timeout_(timeout) {}
  /// gap: seconds since the last look. Only time in which somebody looked counts: a process that
  /// was stopped, or whose machine slept, has not stood still. True from the first time on.
  bool look(const generate::EngineStatus& now, double gap);

 private:
  const double timeout_;
  double stood_ = 0;
  bool stalled_ = false;
};

/// The numbers of a status on one line, for the log.
std::string status_text(const generate::EngineStatus& status);

/// The process's threads and what the kernel says of each (proc(5): R runs, S sleeps, D can't be
/// woken): "octet-engine S, octet-pool 3R 12S".
std::string threads_text();

}  // namespace octet::cli
