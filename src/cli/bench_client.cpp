#include "cli/bench_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/base/system.h"

namespace octet::cli {

namespace {

constexpr std::string_view kEnd = "data: [DONE]\n\n\r\n0\r\n\r\n";
constexpr std::size_t kHeadBytes = 400;

[[noreturn]] void fail_by_errno(const char* what) {
  fail(ErrorCode::unavailable, "the client of the measurement: {}: {}", what, std::strerror(errno));
}

double thread_cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace

BenchClient::~BenchClient() {
  for (const Stream& s : streams_)
    if (s.fd >= 0) ::close(s.fd);
  if (poll_ >= 0) ::close(poll_);
}

void BenchClient::connect(Stream& stream) {
  stream.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (stream.fd < 0) fail_by_errno("socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port_));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(stream.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail_by_errno("connect");
  const int on = 1;
  setsockopt(stream.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void BenchClient::read(Stream& stream, StreamRound& round) {
  std::array<char, 16 << 10> block{};
  const ssize_t n = ::recv(stream.fd, block.data(), block.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const std::string_view bytes(block.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  if (stream.head.size() < kHeadBytes)
    stream.head += bytes.substr(0, kHeadBytes - stream.head.size());
  if (n <= 0 || (stream.head.size() > 15 && !stream.head.starts_with("HTTP/1.1 200 OK")))
    fail(ErrorCode::unavailable, "the server did not answer with a stream: {}", stream.head);
  round.bytes += n;
  // A frame's line never begins inside a value: JSON has no line breaks.
  stream.tail += bytes;
  for (std::size_t at = 0; (at = stream.tail.find("\ndata: ", at)) != std::string::npos; ++at)
    ++round.frames;
  // Enough for the end, too little for a frame to be counted again.
  stream.done = stream.tail.ends_with(kEnd);
  const std::size_t keep = std::min(stream.tail.size(), kEnd.size());
  stream.tail.erase(0, stream.tail.size() - keep);
  for (std::size_t at = 0; (at = stream.tail.find("\ndata: ", at)) != std::string::npos; ++at)
    --round.frames;
}

StreamRound BenchClient::run(const std::string& path, const std::vector<std::string>& bodies) {
  if (poll_ < 0 && (poll_ = ::epoll_create1(EPOLL_CLOEXEC)) < 0) fail_by_errno("epoll_create1");
  while (streams_.size() < bodies.size()) {
    connect(streams_.emplace_back());
    epoll_event event{.events = EPOLLIN, .data = {.u64 = streams_.size() - 1}};
    if (::epoll_ctl(poll_, EPOLL_CTL_ADD, streams_.back().fd, &event) != 0)
      fail_by_errno("epoll_ctl");
  }
  StreamRound round;
  const double cpu = thread_cpu_seconds();
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    Stream& stream = streams_[i];
    stream.head.clear();
    stream.tail.clear();
    stream.done = false;
    const std::string request = fmt::format(
        "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n{}",
        path, bodies[i].size(), bodies[i]);
    if (::send(stream.fd, request.data(), request.size(), MSG_NOSIGNAL) != std::ssize(request))
      fail_by_errno("send");
  }
  for (std::size_t left = bodies.size(); left > 0;) {
    check_interrupt();
    std::array<epoll_event, 64> events{};
    const int n = ::epoll_wait(poll_, events.data(), std::ssize(events), 100);
    if (n < 0 && errno != EINTR) fail_by_errno("epoll_wait");
    for (int i = 0; i < n; ++i) {
      Stream& stream = streams_.at(events[static_cast<std::size_t>(i)].data.u64);
      read(stream, round);
      if (stream.done) --left;
    }
  }
  round.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  round.cpu_seconds = thread_cpu_seconds() - cpu;
  return round;
}

}  // namespace octet::cli
