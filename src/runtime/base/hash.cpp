#include "runtime/base/hash.h"

// The state as a member: the library's own allocation would have to be checked.
#define XXH_STATIC_LINKING_ONLY
#include <openssl/evp.h>
#include <xxhash.h>

#include <cstring>

#include "runtime/base/error.h"

namespace octet {

namespace {
Hash128 canonical(const XXH128_hash_t& hash) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, hash);
  Hash128 result;
  std::memcpy(result.data(), bytes.digest, result.size());
  return result;
}
}  // namespace

struct Hasher128::State {
  XXH3_state_t xxh;
};

Hash128 hash128(std::span<const std::byte> bytes) {
  return canonical(XXH3_128bits(bytes.data(), bytes.size()));
}

std::string to_hex(const Hash128& hash) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t b : hash) {
    text += kDigits[b >> 4];
    text += kDigits[b & 15];
  }
  return text;
}

Hash256 sha256(std::span<const std::byte> bytes) {
  Hash256 hash;
  unsigned int size = 0;
  const int good =
      EVP_Digest(bytes.data(), bytes.size(), hash.data(), &size, EVP_sha256(), nullptr);
  OCTET_CHECK(good == 1 && size == hash.size(), "SHA-256 failed");
  return hash;
}

Hasher128::Hasher128() : state_(std::make_unique<State>()) {
  reset();
}
Hasher128::~Hasher128() = default;

void Hasher128::reset() {
  XXH3_INITSTATE(&state_->xxh);
  XXH3_128bits_reset(&state_->xxh);
}

void Hasher128::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

Hash128 Hasher128::digest() const {
  return canonical(XXH3_128bits_digest(&state_->xxh));
}

}  // namespace octet
