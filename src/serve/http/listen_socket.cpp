#include "serve/http/listen_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

namespace octet::serve {
namespace {

constexpr int kBacklog = 4096;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

std::string numeric(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (address.ss_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  else if (address.ss_family == AF_INET6)
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text,
              sizeof text);
  return address.ss_family == AF_INET6 ? fmt::format("[{}]", text) : std::string(text);
}

int port_of(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

bool is_loopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr) >> 24 == 127;
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

[[noreturn]] void fail_with(int error, const std::string& what) {
  if (error == EADDRINUSE)
    throw AddressInUse(
        fmt::format("{} is in use by another process; end it or choose another --port", what));
  fail(ErrorCode::unavailable, "can't listen on {}: {}", what, std::strerror(error));
}

}  // namespace

ListenSocket::ListenSocket(const HttpOptions& options) {
  if (options.listen_fd >= 0)
    adopt(options.listen_fd, options.remove_listen_path);
  else if (options.uds.empty())
    listen_tcp(options.host, options.port);
  else
    listen_unix(options.uds);
}

ListenSocket::~ListenSocket() {
  if (fd_ >= 0) close(fd_);
  struct stat now{};
  if (!path_.empty() && lstat(path_.c_str(), &now) == 0 && now.st_dev == file_.st_dev &&
      now.st_ino == file_.st_ino)
    unlink(path_.c_str());
}

int ListenSocket::release() {
  return std::exchange(fd_, -1);
}

void ListenSocket::listen_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos)
    fail(ErrorCode::invalid_argument, "{}: a Unix socket's path has at most {} bytes; this has {}",
         path, sizeof address.sun_path - 1, path.size());
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);

  struct stat there{};
  if (lstat(path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode))
      fail(ErrorCode::invalid_argument, "{}: is there and is no socket; it is left alone", path);
    // Only a refused connection says that nobody listens: a full queue or missing rights do not.
    const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (probe.get() < 0) fail_with(errno, path);
    if (connect(probe.get(), raw, sizeof address) == 0 || errno != ECONNREFUSED)
      throw AddressInUse(fmt::format("{}: another process listens on this socket", path));
    unlink(path.c_str());
  }
  Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0 || bind(fd.get(), raw, sizeof address) != 0) fail_with(errno, path);
  path_ = path;
  if (lstat(path.c_str(), &file_) != 0 || listen(fd.get(), kBacklog) != 0) fail_with(errno, path);
  fd_ = fd.release();
  family_ = AF_UNIX;
  url_host_ = path;
}

void ListenSocket::listen_tcp(const std::string& host, int port) {
  if (port < 0 || port > 65535)
    fail(ErrorCode::invalid_argument, "port {}: expected 0 to 65535", port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  // "[::1]" is how people copy it from a URL.
  std::string name = host;
  if (name.size() > 2 && name.front() == '[' && name.back() == ']')
    name = name.substr(1, name.size() - 2);
  addrinfo* found = nullptr;
  const int error = getaddrinfo(name.empty() ? nullptr : name.c_str(), std::to_string(port).c_str(),
                                &hints, &found);
  if (error != 0) fail(ErrorCode::unavailable, "can't listen on {}: {}", host, gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, freeaddrinfo);

  int last = EADDRNOTAVAIL;
  for (const addrinfo* a = found; a; a = a->ai_next) {
    Descriptor fd(socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) {
      last = errno;
      continue;
    }
    const int on = 1, off = 0;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd.get(), a->ai_addr, a->ai_addrlen) != 0 || listen(fd.get(), kBacklog) != 0) {
      last = errno;
      // Another of the host's addresses may be missing here, but not taken in this one's stead.
      if (last == EADDRINUSE) break;
      continue;
    }
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size);
    fd_ = fd.release();
    take_tcp_address(bound);
    return;
  }
  fail_with(last, fmt::format("{}:{}", host, port));
}

void ListenSocket::take_tcp_address(const sockaddr_storage& bound) {
  family_ = bound.ss_family;
  port_ = port_of(bound);
  loopback_ = is_loopback(bound);
  url_host_ = numeric(bound);
}

// Somebody else's choice of address: whatever is a stream and listens will do.
void ListenSocket::adopt(int fd, bool remove_path) {
  int type = 0, listens = 0;
  socklen_t size = sizeof type;
  sockaddr_storage bound{};
  socklen_t bound_size = sizeof bound;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
      getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &bound_size) != 0)
    fail(ErrorCode::invalid_argument,
         "descriptor {} was handed over: expected a stream socket that listens", fd);
  if (bound.ss_family == AF_UNIX) {
    const auto& address = reinterpret_cast<const sockaddr_un&>(bound);
    const std::size_t bytes = bound_size - offsetof(sockaddr_un, sun_path);
    const bool abstract = bytes > 0 && address.sun_path[0] == 0;
    const std::string path(address.sun_path + (abstract ? 1 : 0),
                           abstract ? bytes - 1 : strnlen(address.sun_path, bytes));
    family_ = AF_UNIX;
    url_host_ = abstract ? "@" + path : path;
    if (remove_path && !abstract && lstat(path.c_str(), &file_) == 0) path_ = path;
  } else if (bound.ss_family == AF_INET || bound.ss_family == AF_INET6) {
    take_tcp_address(bound);
  } else {
    fail(ErrorCode::invalid_argument,
         "descriptor {} was handed over: expected a TCP or Unix socket, found family {}", fd,
         bound.ss_family);
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fd_ = fd;
}

std::string peer_name(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "?";
  if (address.ss_family == AF_UNIX) return "unix";
  return fmt::format("{}:{}", numeric(address), port_of(address));
}

}  // namespace octet::serve
