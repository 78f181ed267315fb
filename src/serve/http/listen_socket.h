#pragma once

#include <sys/socket.h>
#include <sys/stat.h>

#include <string>

#include "serve/http/server.h"

namespace octet::serve {

/// A bound and listening socket, TCP or Unix. Closes the descriptor unless released; removes the
/// Unix socket's file if it still is its own.
class ListenSocket {
 public:
  /// listen_fd of the options, or uds, or host and port. A Unix socket's file that nobody listens
  /// on any more is replaced. Errors: AddressInUse; unavailable with errno's text; invalid_argument
  /// for a path that is too long or is no socket, and for a listen_fd that does not listen.
  explicit ListenSocket(const HttpOptions& options);
  ~ListenSocket();
  ListenSocket(const ListenSocket&) = delete;
  ListenSocket& operator=(const ListenSocket&) = delete;

  int release();                       ///< the descriptor, for the caller to close
  void keep_path() { path_.clear(); }  ///< its file stays
  int family() const { return family_; }
  int port() const { return port_; }                         ///< 0 for a Unix socket
  bool loopback() const { return loopback_; }                ///< TCP that only this machine reaches
  const std::string& url_host() const { return url_host_; }  ///< as it stands in a URL

 private:
  void adopt(int fd, bool remove_path);
  void listen_unix(const std::string& path);
  void listen_tcp(const std::string& host, int port);
  void take_tcp_address(const sockaddr_storage& bound);

  int fd_ = -1, family_ = 0, port_ = 0;
  bool loopback_ = false;
  std::string url_host_, path_;
  struct stat file_{};
};

/// "127.0.0.1:5312", "[::1]:5312", "unix"; "?" if it can't be told.
std::string peer_name(int fd);

}  // namespace octet::serve
