// How a process becomes itself anew: sockets that are handed over, the times of earlier restarts.
#include "cli/serve_restart.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "runtime/base/error.h"

namespace octet::cli {
namespace {

TEST(HandedSocket, IsForTheProcessThatIsNamed) {
  const Environment one{{"LISTEN_FDS", "1"}, {"LISTEN_PID", "77"}, {"LISTEN_FDNAMES", "web"}};
  ASSERT_TRUE(handed_socket(one, 77));
  EXPECT_EQ(handed_socket(one, 77)->fd, 3);
  EXPECT_EQ(handed_socket(one, 77)->name, "web");
  EXPECT_FALSE(handed_socket(one, 78));
  EXPECT_FALSE(handed_socket({}, 77));
  EXPECT_FALSE(handed_socket({{"LISTEN_FDS", "1"}}, 77));
  EXPECT_FALSE(handed_socket({{"LISTEN_FDS", "0"}, {"LISTEN_PID", "77"}}, 77));
  for (const char* pid : {"", "77x", "-77", " 77", "99999999999999999999"})
    EXPECT_FALSE(handed_socket({{"LISTEN_FDS", "1"}, {"LISTEN_PID", pid}}, 77)) << pid;
  EXPECT_EQ(handed_socket({{"LISTEN_FDS", "1"}, {"LISTEN_PID", "77"}}, 77)->name, "");
  for (const char* count : {"2", "", "-1", "1 ", "one", "4294967297"})
    EXPECT_THROW(handed_socket({{"LISTEN_FDS", count}, {"LISTEN_PID", "77"}}, 77), Error) << count;
}

TEST(RestartHistory, ThreeInTenMinutesAreEnough) {
  std::string variable;
  for (const double now : {1000.0, 1100.5, 1200.0}) {
    EXPECT_TRUE(RestartHistory(variable).may_restart(now));
    variable = RestartHistory(variable).with(now);
  }
  const RestartHistory history(variable);
  EXPECT_EQ(variable, "1000,1100,1200");
  EXPECT_EQ(history.count(), 3);
  EXPECT_FALSE(history.may_restart(1201));
  EXPECT_FALSE(history.may_restart(1599));
  EXPECT_TRUE(history.may_restart(1601));  // one is long ago
}

TEST(RestartHistory, WhatIsNoListIsNone) {
  for (const char* variable :
       {"", "x", "1,2,x", "1,,2", "-5", "1;2", ",1", "99999999999999999999", "1 ,2", "0x10"})
    EXPECT_EQ(RestartHistory(variable).count(), 0) << variable;
  EXPECT_EQ(RestartHistory("7,").count(), 1);
  EXPECT_EQ(RestartHistory(std::string(1 << 20, '1')).count(), 0);
}

TEST(RestartHistory, DoesNotGrowForEver) {
  std::string variable;
  for (int i = 0; i < 1000; ++i) variable = RestartHistory(variable).with(1e6 * i);
  EXPECT_EQ(RestartHistory(variable).count(), 64);
  EXPECT_TRUE(variable.ends_with(",999000000")) << variable;
}

TEST(ThisProgram, IsWhatWasStarted) {
  ::setenv("OCTET_TEST_OF_ITSELF", "a=b", 1);
  const ProgramImage image = this_program();
  ASSERT_FALSE(image.words.empty());
  EXPECT_NE(image.words[0].find("serve_restart_test"), std::string::npos);
  EXPECT_EQ(image.variables.at("OCTET_TEST_OF_ITSELF"), "a=b");
}

int listening_socket(int& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(fd, 5), 0);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

// Runs in a child that has threads, blocked signals and open files; what the script prints.
std::string replaced(const std::string& script, int at, pid_t& child, int& port) {
  int out[2];
  EXPECT_EQ(::pipe(out), 0);
  const int made = listening_socket(port);
  child = ::fork();
  if (child == 0) {
    ::dup2(out[1], STDOUT_FILENO);
    // Descriptors that have forgotten to close themselves, 3 among them.
    for (const int fd : {3, 5, 9, 200})
      if (fd != made && fd != at) ::dup2(STDOUT_FILENO, fd);
    if (at != made) ::dup2(made, at);
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    std::thread([] {
      for (;;) ::pause();
    }).detach();
    std::thread([] {
      for (std::atomic<int> spin = 0;;) ++spin;
    }).detach();
    ProgramImage image{"/bin/sh",
                       {"sh", "-c", script, "name", "a b", ""},
                       {{"PATH", ::getenv("PATH")}, {"KEPT", "x=y"}}};
    const std::string problem = replace_process(std::move(image), {at, "octet-own"});
    ::_exit(problem.empty() ? 1 : 99);
  }
  ::close(out[1]);
  ::close(made);
  std::string text;
  char bytes[4096];
  for (ssize_t n; (n = ::read(out[0], bytes, sizeof bytes)) > 0;)
    text.append(bytes, static_cast<std::size_t>(n));
  ::close(out[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status << text;
  return text;
}

TEST(ReplaceProcess, KeepsThePidTheSocketAndNothingElse) {
  const std::string script =
      "echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES $KEPT \"$1\" $#; cd /proc/$$/fd; for fd "
      "in 4 5 6 7 8 9 10 77 200; do [ -e $fd ] && echo open $fd; done; "
      "grep SigBlk /proc/self/status; readlink 3";
  for (const int at : {3, 4, 77}) {
    pid_t child = 0;
    int port = 0;
    const std::string text = replaced(script, at, child, port);
    const std::string pid = std::to_string(child);
    EXPECT_TRUE(text.starts_with(pid + " " + pid + " 1 octet-own x=y a b 2\n")) << text;
    EXPECT_EQ(text.find("open "), std::string::npos) << text;
    EXPECT_NE(text.find("SigBlk:\t0000000000000000\n"), std::string::npos) << text;
    EXPECT_NE(text.find("\nsocket:["), std::string::npos) << text;
  }
}

TEST(ReplaceProcess, SaysWhyItCanNot) {
  ProgramImage image{"/nowhere/octet", {"octet"}, {}};
  const pid_t child = ::fork();
  if (child == 0) {
    int port = 0;
    const std::string problem = replace_process(image, {listening_socket(port), ""});
    ::_exit(problem == "/nowhere/octet: No such file or directory" ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace octet::cli
