#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace octet::cli {

/// What a round of streams cost and brought, as their reader sees it.
struct StreamRound {
  double seconds = 0;      ///< from the first byte sent to the last one read
  double cpu_seconds = 0;  ///< of the reader
  std::int64_t frames = 0, bytes = 0;
};

/// Reads many event streams at once on one thread of its own process, which is the caller's, with
/// as little work as can be: so that what is measured is the server. Connections are kept.
class BenchClient {
 public:
  explicit BenchClient(int port) : port_(port) {}
  ~BenchClient();
  BenchClient(const BenchClient&) = delete;
  BenchClient& operator=(const BenchClient&) = delete;

  /// POSTs all bodies at once and reads until each stream has said [DONE]. Errors: unavailable with
  /// the beginning of a response that is no stream; interrupted.
  StreamRound run(const std::string& path, const std::vector<std::string>& bodies);

 private:
  struct Stream {
    int fd = -1;
    std::string head;  ///< the first bytes, for errors
    std::string tail;  ///< the last bytes, by which the end is known
    bool done = false;
  };
  void connect(Stream& stream);
  void read(Stream& stream, StreamRound& round);

  int port_;
  int poll_ = -1;
  std::vector<Stream> streams_;
};

}  // namespace octet::cli
