#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace octet {

/// XXH3-128 in its canonical (big-endian) byte order. Finds damage at the speed of memory; it is no
/// protection against somebody who wants two inputs to agree.
using Hash128 = std::array<std::uint8_t, 16>;

Hash128 hash128(std::span<const std::byte> bytes);
/// 32 lower-case hexadecimal digits.
std::string to_hex(const Hash128& hash);

/// SHA-256: nobody finds two inputs that agree. About a microsecond for some hundred bytes.
using Hash256 = std::array<std::uint8_t, 32>;
Hash256 sha256(std::span<const std::byte> bytes);

/// XXH3-128 of bytes that come piece by piece.
class Hasher128 {
 public:
  Hasher128();
  ~Hasher128();
  Hasher128(const Hasher128&) = delete;
  Hasher128& operator=(const Hasher128&) = delete;
  void update(std::span<const std::byte> bytes);
  void update(const std::string& text) { update(std::as_bytes(std::span(text))); }
  /// Of all bytes since the beginning or the last reset.
  Hash128 digest() const;
  void reset();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octet
