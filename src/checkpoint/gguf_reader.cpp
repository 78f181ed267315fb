#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "checkpoint/gguf_format.h"
#include "runtime/base/error.h"

namespace octet::checkpoint {

namespace {

constexpr std::uint32_t kArray = 9;
constexpr std::uint32_t kMaxDims = 4;

// Reads forward through bytes that may say anything.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::bad_data, "{}: at byte {}: {}; the file is damaged or not GGUF", name_, at_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string text() {
    const auto length = number<std::uint64_t>();
    const auto bytes = take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A count of things that take at least `least` bytes each: what can't be there is not reserved.
  std::uint64_t count(std::uint64_t least, const char* what) {
    const auto n = number<std::uint64_t>();
    if (n > (bytes_.size() - at_) / least)
      bad("{} {} do not fit in the {} bytes that follow", n, what, bytes_.size() - at_);
    return n;
  }
  std::size_t at() const { return at_; }

 private:
  std::span<const std::byte> take(std::uint64_t n) {
    if (n > bytes_.size() - at_) bad("{} bytes are expected, {} follow", n, bytes_.size() - at_);
    at_ += n;
    return bytes_.subspan(at_ - n, n);
  }
  std::span<const std::byte> bytes_;
  const std::string& name_;
  std::size_t at_ = 0;
};

template <typename To, typename From>
GgufValue list(Cursor& c, std::uint64_t n) {
  std::vector<To> values;
  values.reserve(n);
  for (std::uint64_t i = 0; i < n; ++i) values.push_back(static_cast<To>(c.number<From>()));
  return values;
}

GgufValue read_list(Cursor& c) {
  const auto type = c.number<std::uint32_t>();
  // Bytes of an element at least; 0: no element type.
  constexpr std::uint64_t kLeast[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
  if (type >= std::size(kLeast) || kLeast[type] == 0) c.bad("a list of elements of type {}", type);
  const std::uint64_t n = c.count(kLeast[type], "elements");
  switch (type) {
    case 0:
      return list<std::int64_t, std::uint8_t>(c, n);
    case 1:
      return list<std::int64_t, std::int8_t>(c, n);
    case 2:
      return list<std::int64_t, std::uint16_t>(c, n);
    case 3:
      return list<std::int64_t, std::int16_t>(c, n);
    case 4:
      return list<std::int64_t, std::uint32_t>(c, n);
    case 5:
      return list<std::int32_t, std::int32_t>(c, n);
    case 6:
      return list<float, float>(c, n);
    case 7: {
      std::vector<bool> values;
      for (std::uint64_t i = 0; i < n; ++i) values.push_back(c.number<std::uint8_t>() != 0);
      return values;
    }
    case 8: {
      std::vector<std::string> values;
      for (std::uint64_t i = 0; i < n; ++i) values.push_back(c.text());
      return values;
    }
    case 10:
      return list<std::int64_t, std::uint64_t>(c, n);
    case 11:
      return list<std::int64_t, std::int64_t>(c, n);
    default:
      return list<double, double>(c, n);
  }
}

GgufValue read_value(Cursor& c) {
  const auto type = c.number<std::uint32_t>();
  switch (type) {
    case 0:
      return static_cast<std::uint32_t>(c.number<std::uint8_t>());
    case 1:
      return static_cast<std::int32_t>(c.number<std::int8_t>());
    case 2:
      return static_cast<std::uint32_t>(c.number<std::uint16_t>());
    case 3:
      return static_cast<std::int32_t>(c.number<std::int16_t>());
    case 4:
      return c.number<std::uint32_t>();
    case 5:
      return c.number<std::int32_t>();
    case 6:
      return c.number<float>();
    case 7:
      return c.number<std::uint8_t>() != 0;
    case 8:
      return c.text();
    case kArray:
      return read_list(c);
    case 10:
      return c.number<std::uint64_t>();
    case 11:
      return c.number<std::int64_t>();
    case 12:
      return c.number<double>();
    default:
      c.bad("a value of type {}", type);
  }
}

std::uint64_t alignment_of(const GgufMetadata& metadata, const Cursor& c) {
  for (const auto& [key, value] : metadata) {
    if (key != "general.alignment") continue;
    const auto* n = std::get_if<std::uint32_t>(&value);
    if (!n || *n == 0 || *n > 1u << 20) c.bad("general.alignment is not a size");
    return *n;
  }
  return 32;
}

}  // namespace

void parse_gguf(std::span<const std::byte> file, const std::string& name, GgufMetadata& metadata,
                std::vector<GgufTensor>& tensors) {
  Cursor c(file, name);
  if (file.size() < 24 || std::memcmp(file.data(), "GGUF", 4) != 0)
    fail(ErrorCode::bad_data, "{}: does not begin with GGUF", name);
  (void)c.number<std::uint32_t>();
  const auto version = c.number<std::uint32_t>();
  if (version != 2 && version != 3)
    fail(ErrorCode::bad_data, "{}: GGUF version {}, expected 2 or 3 (little-endian)", name,
         version);
  const std::uint64_t num_tensors = c.count(24, "tensors"), pairs = c.count(12, "metadata");
  std::unordered_set<std::string> names;
  for (std::uint64_t i = 0; i < pairs; ++i) {
    std::string key = c.text();
    if (!names.insert(key).second) c.bad("key {} comes twice", key);
    metadata.emplace_back(std::move(key), read_value(c));
  }
  std::vector<std::uint64_t> offsets;
  names.clear();
  for (std::uint64_t i = 0; i < num_tensors; ++i) {
    GgufTensor t;
    t.name = c.text();
    if (!names.insert(t.name).second) c.bad("tensor {} comes twice", t.name);
    const auto dims = c.number<std::uint32_t>();
    if (dims > kMaxDims) c.bad("tensor {}: {} dimensions", t.name, dims);
    std::uint64_t elements = 1;
    for (std::uint32_t d = 0; d < dims; ++d) {
      const auto size = c.number<std::uint64_t>();
      // No type has fewer than a tenth of a byte an element.
      if (size == 0 || elements > file.size() * 10 / size)
        c.bad("tensor {}: a dimension of {} in a file of {} bytes", t.name, size, file.size());
      elements *= size;
      t.shape.insert(t.shape.begin(), static_cast<std::int64_t>(size));
    }
    t.type = static_cast<GgmlType>(c.number<std::uint32_t>());
    offsets.push_back(c.number<std::uint64_t>());
    tensors.push_back(std::move(t));
  }
  const std::uint64_t alignment = alignment_of(metadata, c);
  const std::uint64_t begin = (c.at() + alignment - 1) / alignment * alignment;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::uint64_t bytes = 0;
    try {
      bytes = ggml_bytes(tensors[i]);
    } catch (const Error& e) {
      c.bad("{}", e.what());
    }
    if (begin > file.size() || offsets[i] > file.size() - begin ||
        bytes > file.size() - begin - offsets[i])
      c.bad("tensor {}: its {} bytes at {} lie outside the file of {}", tensors[i].name, bytes,
            offsets[i], file.size());
    tensors[i].bytes = file.subspan(begin + offsets[i], bytes);
  }
}

GgufFile::GgufFile(const std::filesystem::path& path) : file_(std::make_unique<MappedFile>(path)) {
  parse_gguf(file_->bytes(), path.string(), metadata_, tensors_);
}

const GgufValue* GgufFile::find(const std::string& key) const {
  const auto it = std::ranges::find(metadata_, key, &GgufMetadata::value_type::first);
  return it == metadata_.end() ? nullptr : &it->second;
}

const GgufTensor* GgufFile::find_tensor(const std::string& name) const {
  const auto it = std::ranges::find(tensors_, name, &GgufTensor::name);
  return it == tensors_.end() ? nullptr : &*it;
}

}  // namespace octet::checkpoint
