#include "runtime/base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "runtime/base/error.h"

namespace octet {

using Clock = std::chrono::steady_clock;

Progress::Progress(std::string title, std::int64_t total, std::string unit, bool quiet)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      drawn_(start_ - std::chrono::hours(1)) {
  draw(false);
}

Progress::~Progress() {
  finish();
}

void Progress::update(std::int64_t done, std::string_view doing) {
  if (finished_) return;
  done_ = done;
  if (!doing.empty()) doing_ = doing;
  draw(false);
}

void Progress::finish() {
  if (finished_) return;
  draw(true);
  finished_ = true;
}

void Progress::draw(bool last) {
  if (quiet_) return;
  const auto now = Clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  if (!last && now - drawn_ < pause) return;
  drawn_ = now;
  if (last && terminal_) {
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
    return;
  }
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  std::string line = title_;
  if (total_ > 0) {
    const double share = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
    if (terminal_) {
      constexpr int kWidth = 24;
      const int full = static_cast<int>(share * kWidth);
      line += " [" + std::string(static_cast<std::size_t>(full), '#') +
              std::string(static_cast<std::size_t>(kWidth - full), '.') + "]";
    }
    line += fmt::format(" {:3.0f} % {}/{} {}", share * 100, done_, total_, unit_);
  } else {
    line += fmt::format(" {} {}", done_, unit_);
  }
  if (done_ > 0 && seconds > 0.5) {
    line += fmt::format(", {:.{}f}/s", rate, rate < 10 ? 2 : 0);
    if (total_ > done_)
      line += ", " + format_duration(static_cast<double>(total_ - done_) / rate) + " left";
  }
  if (!doing_.empty()) line += ": " + doing_;
  if (terminal_)
    fmt::print(stderr, "\r{}\033[K", line);
  else
    fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  const auto s = static_cast<long long>(std::llround(seconds));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02d} s", s / 60, s % 60);
  return fmt::format("{} h {:02d} min", s / 3600, s % 3600 / 60);
}

std::string format_bytes(double bytes) {
  if (bytes < 1e3) return fmt::format("{:.0f} B", bytes);
  if (bytes < 1e6) return fmt::format("{:.1f} kB", bytes / 1e3);
  if (bytes < 1e9) return fmt::format("{:.2f} MB", bytes / 1e6);
  return fmt::format("{:.2f} GB", bytes / 1e9);
}

}  // namespace octet
