#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/serve_flags.h"

namespace octet::cli {

/// A listening socket that another process left open for this one, and what that calls it.
struct HandedSocket {
  int fd = -1;
  std::string name;
};
/// The name of a socket that an earlier life of this process made.
inline constexpr const char* kOwnSocket = "octet-own";

/// Of the variables LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES; nullopt if they are for another
/// process or not there. Errors: invalid_argument for anything but one socket.
/// Source: sd_listen_fds(3).
std::optional<HandedSocket> handed_socket(const Environment& variables, pid_t self);
/// Removes those variables, so that no child takes them for its own. Before there are threads.
void forget_handed_socket();

/// When the process replaced itself: what it hands to itself in $OCTET_RESTARTS.
class RestartHistory {
 public:
  static constexpr int kMost = 3;          ///< restarts
  static constexpr double kSeconds = 600;  ///< in so long
  static constexpr const char* kVariable = "OCTET_RESTARTS";

  /// Whatever is no list of times is none.
  explicit RestartHistory(const std::string& variable);
  std::int64_t count() const { return static_cast<std::int64_t>(times_.size()); }
  /// now: seconds of the machine's steady clock, which processes share.
  bool may_restart(double now) const;
  /// The variable for the next life, with a restart at `now`.
  std::string with(double now) const;

 private:
  std::vector<std::int64_t> times_;
};

/// What a process is started from.
struct ProgramImage {
  std::string path;
  std::vector<std::string> words;  ///< argv
  Environment variables;
};
/// This process's own, its file even if it was replaced since.
ProgramImage this_program();

/// Makes this process run the image, with the same pid, with the socket as descriptor 3 by the
/// protocol of handed_socket() and no others but standard ones. All threads end, whatever they do.
/// Returns only if that can't be: what the system says.
std::string replace_process(ProgramImage image, const HandedSocket& socket);

}  // namespace octet::cli
