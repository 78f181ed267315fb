#include <zlib.h>

#include <array>
#include <cstring>
#include <type_traits>

#include "checkpoint/gguf_format.h"
#include "runtime/base/error.h"

namespace octet::checkpoint {

namespace {

constexpr std::uint64_t kAlignment = 32;

std::uint64_t aligned(std::uint64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

// The part of a file before its data.
class Header {
 public:
  template <typename T>
  void number(T value) {
    const auto* bytes = reinterpret_cast<const char*>(&value);
    text_.append(bytes, sizeof value);
  }
  void text(const std::string& s) {
    number<std::uint64_t>(s.size());
    text_ += s;
  }
  void value(const GgufValue& v) {
    std::visit([&](const auto& x) { put(x); }, v);
  }
  std::string take() {
    text_.resize(aligned(text_.size()));
    return std::move(text_);
  }

 private:
  template <typename T>
  static constexpr std::uint32_t type_of() {
    if constexpr (std::is_same_v<T, bool>) return 7;
    if constexpr (std::is_same_v<T, std::uint32_t>) return 4;
    if constexpr (std::is_same_v<T, std::int32_t>) return 5;
    if constexpr (std::is_same_v<T, std::uint64_t>) return 10;
    if constexpr (std::is_same_v<T, std::int64_t>) return 11;
    if constexpr (std::is_same_v<T, float>) return 6;
    if constexpr (std::is_same_v<T, double>) return 12;
    return 8;
  }
  template <typename T>
  void element(const T& x) {
    if constexpr (std::is_same_v<T, std::string>)
      text(x);
    else if constexpr (std::is_same_v<T, bool>)
      number<std::uint8_t>(x);
    else
      number(x);
  }
  template <typename T>
  void put(const T& x) {
    number(type_of<T>());
    element(x);
  }
  template <typename T>
  void put(const std::vector<T>& list) {
    number<std::uint32_t>(9);
    number(type_of<T>());
    number<std::uint64_t>(list.size());
    for (const T& x : list) element<T>(x);
  }
  std::string text_;
};

std::string header_of(const GgufMetadata& metadata, const std::vector<GgufTensor>& tensors) {
  Header h;
  h.number(std::array{'G', 'G', 'U', 'F'});
  h.number<std::uint32_t>(3);
  h.number<std::uint64_t>(tensors.size());
  h.number<std::uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) {
    h.text(key);
    h.value(value);
  }
  std::uint64_t offset = 0;
  for (const GgufTensor& t : tensors) {
    h.text(t.name);
    h.number(static_cast<std::uint32_t>(t.shape.size()));
    for (auto size = t.shape.rbegin(); size != t.shape.rend(); ++size)
      h.number(static_cast<std::uint64_t>(*size));
    h.number(static_cast<std::uint32_t>(t.type));
    h.number(offset);
    offset += aligned(ggml_bytes(t));
  }
  return h.take();
}

}  // namespace

std::uint32_t crc32_of(std::uint32_t crc, std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(
      ::crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
                       std::vector<GgufTensor> tensors)
    : tensors_(std::move(tensors)), file_(path) {
  file_.write(header_of(metadata, tensors_));
}

void GgufWriter::add(const std::function<void(const ByteSink&)>& produce) {
  OCTET_CHECK(checksums_.size() < tensors_.size(), "more tensors than planned");
  const GgufTensor& t = tensors_[checksums_.size()];
  std::uint64_t bytes = 0;
  std::uint32_t crc = 0;
  produce([&](std::span<const std::byte> piece) {
    bytes += piece.size();
    crc = crc32_of(crc, piece);
    file_.write(piece);
  });
  OCTET_CHECK(bytes == ggml_bytes(t), "{}: {} bytes planned, {} given", t.name, ggml_bytes(t),
              bytes);
  checksums_.push_back(crc);
  pad();
}

// Zeros up to where the next tensor begins.
void GgufWriter::pad() {
  constexpr std::byte zeros[kAlignment]{};
  file_.write(std::span(zeros).first(aligned(file_.size()) - file_.size()));
}

void GgufWriter::require_complete() const {
  OCTET_CHECK(checksums_.size() == tensors_.size(), "{} of {} tensors given", checksums_.size(),
              tensors_.size());
}

void GgufWriter::sync() {
  require_complete();
  file_.sync();
}

void GgufWriter::finish() {
  require_complete();
  file_.commit();
}

}  // namespace octet::checkpoint
