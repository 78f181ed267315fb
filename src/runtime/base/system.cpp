#include "runtime/base/system.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <fstream>

#include "runtime/base/error.h"

namespace octet {

namespace {

// "Name:   123 kB" of a /proc file, in bytes.
std::size_t field_bytes(const std::filesystem::path& file, const std::string& name) {
  std::ifstream in(file);
  std::string key;
  std::size_t kb = 0;
  std::string rest;
  while (in >> key >> kb && std::getline(in, rest))
    if (key == name + ":") return kb * 1024;
  return 0;
}

// A number of a cgroup v2 file; 0 for "max" or none.
std::size_t cgroup_number(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::size_t n = 0;
  return in >> n ? n : 0;
}

// Bytes of a cgroup that the kernel takes back before it runs short: pages of files.
std::size_t cgroup_file_pages(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string key;
  std::size_t n = 0, bytes = 0;
  while (in >> key >> n)
    if (key == "active_file" || key == "inactive_file") bytes += n;
  return bytes;
}

std::atomic<bool> interrupt_seen{false};

void on_signal(int signal) {
  // The second signal ends the process in the ordinary way, as soon as this returns.
  if (interrupt_seen.exchange(true)) {
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    ::raise(signal);
  }
}

}  // namespace

std::size_t available_memory_bytes(const std::filesystem::path& root) {
  const auto cgroup = root / "sys/fs/cgroup";
  std::size_t bytes = field_bytes(root / "proc/meminfo", "MemAvailable");
  const std::size_t limit = cgroup_number(cgroup / "memory.max");
  if (bytes == 0 || limit == 0) return bytes;
  std::size_t used = cgroup_number(cgroup / "memory.current");
  used -= std::min(used, cgroup_file_pages(cgroup / "memory.stat"));
  // 0 would say that nothing is known.
  return std::min(bytes, std::max<std::size_t>(limit - std::min(limit, used), 4096));
}

std::size_t total_memory_bytes() {
  std::size_t bytes = field_bytes("/proc/meminfo", "MemTotal");
  const std::size_t limit = cgroup_number("/sys/fs/cgroup/memory.max");
  return limit > 0 ? std::min(bytes, limit) : bytes;
}

std::size_t current_rss_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  file >> pages >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t peak_rss_bytes() {
  struct rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line))
    if (line.rfind("model name", 0) == 0) {
      const auto at = line.find(": ");
      return at == std::string::npos ? "" : line.substr(at + 2);
    }
  return "";
}

void name_this_thread(const std::string& name) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
}

void install_interrupt_handler() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return interrupt_seen.load(std::memory_order_relaxed);
}

void check_interrupt() {
  if (interrupted()) throw Error(ErrorCode::interrupted, "interrupted");
}

}  // namespace octet
