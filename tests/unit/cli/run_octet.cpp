#include "run_octet.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "support/support.h"

namespace octet::test {

Finished run_octet(const std::vector<std::string>& arguments,
                   const std::function<void(int)>& while_running, std::size_t largest_file) {
  std::vector<std::string> words{OCTET_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program(std::move(words), while_running, largest_file);
}

Finished run_program(std::vector<std::string> words, const std::function<void(int)>& while_running,
                     std::size_t largest_file) {
  const ScratchFolder folder;
  const std::string out = folder.path() / "out", err = folder.path() / "err";
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) fail(ErrorCode::unavailable, "can't fork");
  if (child == 0) {
    ::dup2(::open("/dev/null", O_RDONLY), 0);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0600), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT, 0600), 2);
    if (largest_file > 0) {
      ::signal(SIGXFSZ, SIG_IGN);
      const struct rlimit limit{largest_file, largest_file};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  if (while_running) while_running(child);
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out),
          read_file(err)};
}

std::map<std::string, std::string> lasting_files(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (name != "quantize_report.json" && name != "quant_log.csv")
      files[name] = read_file(entry.path());
  }
  return files;
}

}  // namespace octet::test
