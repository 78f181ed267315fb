// A client of raw sockets, so that a test can send what no HTTP library would.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace octet::test {

/// True once f() is; false if it isn't after long enough for any machine.
inline bool eventually(const std::function<bool()>& f) {
  for (int i = 0; i < 20000; ++i) {
    if (f()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

struct Response {
  int status = 0;  ///< 0: the connection ended before a head came
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  std::string body;                                          ///< chunks joined
  bool complete = false;                                     ///< as its framing says

  std::string header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return value;
    return {};
  }
};

class SocketClient {
 public:
  /// receive_buffer: of the socket, in bytes; 0: the system's.
  explicit SocketClient(int port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0)
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  explicit SocketClient(const std::string& path) {
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~SocketClient() { close(); }
  SocketClient(SocketClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        buffer_(std::move(other.buffer_)) {}
  SocketClient(const SocketClient&) = delete;
  SocketClient& operator=(const SocketClient&) = delete;
  SocketClient& operator=(SocketClient&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(connected_, other.connected_);
    std::swap(buffer_, other.buffer_);
    return *this;
  }

  bool connected() const { return connected_; }
  int fd() const { return fd_; }

  /// False if the peer is gone.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void send_slowly(std::string_view bytes) const {
    for (const char c : bytes) send(std::string_view(&c, 1));
  }
  /// More bytes into the buffer. False: the connection ended, or nothing came for 20 s.
  bool receive() {
    pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&wait, 1, 20000) <= 0) return false;
    char bytes[16384];
    const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    buffer_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }
  /// Reads until `text` has come. False if the connection ended before.
  bool receive_until(std::string_view text) {
    while (buffer_.find(text) == std::string::npos)
      if (!receive()) return false;
    return true;
  }
  /// All until the end.
  std::string receive_all() {
    while (receive()) {
    }
    return std::exchange(buffer_, {});
  }
  const std::string& buffer() const { return buffer_; }
  void discard() { buffer_.clear(); }

  Response response(bool head = false) {
    Response r;
    if (!receive_until("\r\n\r\n")) return r;
    const std::size_t end = buffer_.find("\r\n\r\n");
    const std::string text = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    r.status = std::stoi(text.substr(9, 3));
    std::size_t at = text.find("\r\n") + 2;
    while (at < text.size()) {
      const std::size_t line = text.find("\r\n", at), colon = text.find(": ", at);
      std::string name = text.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      r.headers.emplace_back(name, text.substr(colon + 2, line - colon - 2));
      at = line + 2;
    }
    if (head || r.status == 204 || r.status == 100) {
      r.complete = true;
    } else if (r.header("transfer-encoding") == "chunked") {
      while (true) {
        if (!receive_until("\r\n")) return r;
        const std::size_t line = buffer_.find("\r\n");
        const std::size_t n = std::stoul(buffer_.substr(0, line), nullptr, 16);
        while (buffer_.size() < line + 2 + n + 2)
          if (!receive()) return r;
        r.body += buffer_.substr(line + 2, n);
        buffer_.erase(0, line + 2 + n + 2);
        if (n == 0) break;
      }
      r.complete = true;
    } else if (const std::string length = r.header("content-length"); !length.empty()) {
      const std::size_t n = std::stoul(length);
      while (buffer_.size() < n)
        if (!receive()) return r;
      r.body = buffer_.substr(0, n);
      buffer_.erase(0, n);
      r.complete = true;
    } else {
      r.body = receive_all();
    }
    return r;
  }
  Response ask(std::string_view request) {
    send(request);
    return response();
  }
  /// The server has closed (or closes) its side, and sent nothing more.
  bool ended() { return buffer_.empty() && !receive(); }

  void half_close() const { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  /// Ends with a reset instead of a FIN.
  void reset() {
    const linger hard{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
  }

 private:
  int fd_ = -1;
  bool connected_ = false;
  std::string buffer_;
};

inline std::string get(std::string_view path, std::string_view more = {}) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(more) +
         "\r\n";
}
inline std::string post(std::string_view path, std::string_view body, std::string_view more = {}) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n" + std::string(more) + "\r\n" + std::string(body);
}

}  // namespace octet::test
