#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace octet {

/// What a person watches during long work, on stderr: on a terminal one line that is redrawn (bar,
/// rate, ETA, what is being done), otherwise a plain line at most every ten seconds.
/// Threads: one at a time.
class Progress {
 public:
  /// unit: what is counted ("tokens", "layers"); total 0: unknown.
  Progress(std::string title, std::int64_t total, std::string unit, bool quiet = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(std::int64_t done, std::string_view doing = {});
  /// Clears the line (terminal) or prints the last state (otherwise); further updates are ignored.
  void finish();

 private:
  void draw(bool last);
  std::string title_, unit_, doing_;
  std::int64_t total_, done_ = 0;
  bool quiet_, terminal_, finished_ = false;
  std::chrono::steady_clock::time_point start_, drawn_;
};

/// 3723 s -> "1 h 02 min", 75 -> "1 min 15 s", 3.2 -> "3.2 s".
std::string format_duration(double seconds);
/// 33528145376 -> "33.53 GB" (decimal).
std::string format_bytes(double bytes);

}  // namespace octet
