#include "cli/serve_restart.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "runtime/base/error.h"

namespace octet::cli {

namespace {

constexpr int kFirstHanded = 3;
// Of a server that is restarted now and then over years.
constexpr std::size_t kMostTimes = 64;

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::string value_of(const Environment& variables, const char* name) {
  const auto it = variables.find(name);
  return it == variables.end() ? std::string() : it->second;
}

void close_on_exec_from(int first) {
  if (close_range(static_cast<unsigned>(first), ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
  // Kernels before 5.11.
  const long most = std::min(sysconf(_SC_OPEN_MAX), 1L << 20);
  for (int fd = first; fd < most; ++fd) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace

std::optional<HandedSocket> handed_socket(const Environment& variables, pid_t self) {
  if (whole_number(value_of(variables, "LISTEN_PID")) != self) return std::nullopt;
  const std::string count = value_of(variables, "LISTEN_FDS");
  if (count == "0") return std::nullopt;
  if (count != "1")
    fail(ErrorCode::invalid_argument,
         "$LISTEN_FDS is {}: expected 1, the server listens on one socket; the socket unit should "
         "have one ListenStream=",
         count.empty() ? "empty" : count);
  return HandedSocket{kFirstHanded, value_of(variables, "LISTEN_FDNAMES")};
}

void forget_handed_socket() {
  for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) ::unsetenv(name);
}

RestartHistory::RestartHistory(const std::string& variable) {
  for (std::size_t begin = 0; begin < variable.size();) {
    const std::size_t end = std::min(variable.find(',', begin), variable.size());
    const auto time = whole_number(std::string_view(variable).substr(begin, end - begin));
    if (!time || times_.size() == kMostTimes) {
      times_.clear();
      return;
    }
    times_.push_back(*time);
    begin = end + 1;
  }
}

bool RestartHistory::may_restart(double now) const {
  return std::ranges::count_if(times_, [now](std::int64_t time) {
           return static_cast<double>(time) > now - kSeconds;
         }) < kMost;
}

std::string RestartHistory::with(double now) const {
  std::string text;
  const std::size_t skipped = times_.size() == kMostTimes ? 1 : 0;
  for (std::size_t i = skipped; i < times_.size(); ++i) text += std::to_string(times_[i]) + ',';
  return text + std::to_string(static_cast<std::int64_t>(now));
}

ProgramImage this_program() {
  ProgramImage image{"/proc/self/exe", {}, process_environment()};
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string words{std::istreambuf_iterator<char>(file), {}};
  for (std::size_t begin = 0; begin < words.size();) {
    const std::size_t end = std::min(words.find('\0', begin), words.size());
    image.words.push_back(words.substr(begin, end - begin));
    begin = end + 1;
  }
  return image;
}

std::string replace_process(ProgramImage image, const HandedSocket& socket) {
  image.variables.insert_or_assign("LISTEN_FDS", std::to_string(1));
  image.variables["LISTEN_PID"] = std::to_string(getpid());
  image.variables["LISTEN_FDNAMES"] = socket.name;
  std::vector<std::string> variables;
  for (const auto& [name, value] : image.variables) variables.push_back(name + '=' + value);
  const auto argv = pointers(image.words), envp = pointers(variables);
  // The mask outlives the change, handlers become defaults; ignored signals stay ignored.
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  // Whatever uses descriptor 3 now is about to end.
  if (socket.fd == kFirstHanded ? fcntl(socket.fd, F_SETFD, 0) != 0
                                : dup2(socket.fd, kFirstHanded) < 0)
    return fmt::format("the listening socket: {}", std::strerror(errno));
  close_on_exec_from(kFirstHanded + 1);
  execve(image.path.c_str(), argv.data(), envp.data());
  return fmt::format("{}: {}", image.path, std::strerror(errno));
}

}  // namespace octet::cli
