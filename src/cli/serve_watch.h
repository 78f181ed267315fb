#pragma once

#include <string>

#include "generate/engine.h"

namespace octet::cli {

/// Whether an engine stands still though it has work. One thread.
class StallAlarm {
 public:
  /// Longer than any step of a machine that is fit for its model.
  static constexpr double kSeconds = 60;
  enum class Change { none, stalled, recovered };
  /// What is new since the last look.
  Change look(const generate::EngineStatus& now);
  bool stalled() const { return stalled_; }

 private:
  bool stalled_ = false;
};

/// The numbers of a status on one line, for the log.
std::string status_text(const generate::EngineStatus& status);

}  // namespace octet::cli
