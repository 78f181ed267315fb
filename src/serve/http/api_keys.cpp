#include "serve/http/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "runtime/base/error.h"
#include "serve/http/target.h"

namespace octet::serve {

ApiKeys::Digest ApiKeys::digest(std::string_view key) {
  Digest out{};
  unsigned int size = 0;
  OCTET_CHECK(EVP_Digest(key.data(), key.size(), out.data(), &size, EVP_sha256(), nullptr) == 1 &&
                  size == out.size(),
              "SHA-256 of a key failed");
  return out;
}

ApiKeys::ApiKeys(std::vector<std::string> keys, std::string file) : file_(std::move(file)) {
  for (const std::string& key : keys) {
    if (trim(key).empty())
      fail(ErrorCode::invalid_argument,
           "an empty API key was given: it would open the server to everybody; give a key or leave "
           "the option out");
    fixed_.push_back(digest(key));
  }
  reload();
}

void ApiKeys::reload() {
  std::vector<Digest> digests = fixed_;
  if (!file_.empty()) {
    errno = 0;
    std::ifstream in(file_);
    if (!in)
      fail(ErrorCode::not_found, "{}: the file of API keys can't be read: {}", file_,
           std::strerror(errno));
    const std::size_t before = digests.size();
    std::string line;
    while (std::getline(in, line)) {
      if (line.ends_with('\r')) line.pop_back();
      const std::string_view key = trim(line);
      if (!key.empty() && !key.starts_with('#')) digests.push_back(digest(key));
    }
    if (in.bad()) fail(ErrorCode::unavailable, "{}: reading the API keys failed", file_);
    if (digests.size() == before)
      fail(ErrorCode::invalid_argument,
           "{}: no API key in the file; expected one a line. Without any the server would be open",
           file_);
  }
  auto next = std::make_shared<const std::vector<Digest>>(std::move(digests));
  const std::scoped_lock lock(mutex_);
  digests_ = std::move(next);
}

bool ApiKeys::required() const {
  const std::scoped_lock lock(mutex_);
  return !digests_->empty();
}

bool ApiKeys::knows(std::string_view key) const {
  std::shared_ptr<const std::vector<Digest>> digests;
  {
    const std::scoped_lock lock(mutex_);
    digests = digests_;
  }
  const Digest asked = digest(key);
  bool found = false;
  for (const Digest& known : *digests)
    found |= CRYPTO_memcmp(known.data(), asked.data(), asked.size()) == 0;
  return found;
}

}  // namespace octet::serve
