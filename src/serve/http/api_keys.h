#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace octet::serve {

/// The keys that open the server, kept as SHA-256. Thread-safe.
class ApiKeys {
 public:
  /// keys: as given; file: one a line, blank lines and lines with # in front skipped; empty: none.
  /// Errors: as reload().
  ApiKeys(std::vector<std::string> keys, std::string file);
  /// Reads the file again. Errors: invalid_argument for an empty key or a file without keys (which
  /// would open the server), not_found if it can't be read; the old keys stay then.
  void reload();
  bool required() const;  ///< some key is asked for
  /// True if `key` is one of them. The time does not depend on the keys' bytes nor on which it is.
  bool knows(std::string_view key) const;

 private:
  using Digest = std::array<std::uint8_t, 32>;
  static Digest digest(std::string_view key);
  std::vector<Digest> fixed_;
  std::string file_;
  mutable std::mutex mutex_;
  std::shared_ptr<const std::vector<Digest>> digests_;
};

}  // namespace octet::serve
