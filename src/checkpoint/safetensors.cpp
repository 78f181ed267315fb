#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_set>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace octet::checkpoint {

namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit

// The product of a shape's sizes and the element size; nullopt if it does not fit 64 bits.
std::optional<std::uint64_t> byte_size(const Shape& shape, DType dtype) {
  std::uint64_t n = dtype_bytes(dtype);
  for (const std::int64_t d : shape) {
    const auto size = static_cast<std::uint64_t>(d);
    if (size != 0 && n > std::numeric_limits<std::uint64_t>::max() / size) return std::nullopt;
    n *= size;
  }
  return n;
}

struct HeaderReader {
  const std::string& file;
  std::span<const std::byte> data;  // what follows the header

  template <typename... Args>
  [[noreturn]] void bad(const std::string& tensor, fmt::format_string<Args...> format,
                        Args&&... args) const {
    fail(ErrorCode::bad_data, "{}: tensor {}: {}; the file is damaged, fetch it again", file,
         tensor, fmt::format(format, std::forward<Args>(args)...));
  }

  std::uint64_t number(const std::string& tensor, const json::value& v, const char* what) const {
    // A 0 may parse as signed or unsigned; negative and fractional numbers are neither.
    if (v.is_uint64()) return v.get_uint64();
    if (v.is_int64() && v.get_int64() >= 0) return static_cast<std::uint64_t>(v.get_int64());
    bad(tensor, "{}: expected a whole number, found {}", what, to_json(v));
  }

  const json::value& member(const std::string& tensor, const json::object& o,
                            const char* key) const {
    const json::value* v = o.if_contains(key);
    if (!v) bad(tensor, "no `{}`", key);
    return *v;
  }

  TensorInfo tensor(const std::string& name, const json::value& v) const {
    if (!v.is_object()) bad(name, "expected an object, found {}", to_json(v));
    const json::object& o = v.get_object();
    TensorInfo info;
    info.name = name;
    const json::value& dtype = member(name, o, "dtype");
    const auto type =
        dtype.is_string() ? parse_dtype(std::string_view(dtype.get_string())) : std::nullopt;
    if (!type) bad(name, "unknown dtype {}", to_json(dtype));
    info.dtype = *type;
    const json::value& shape = member(name, o, "shape");
    if (!shape.is_array()) bad(name, "shape: expected a list, found {}", to_json(shape));
    for (const json::value& d : shape.get_array()) {
      const std::uint64_t size = number(name, d, "shape");
      if (size > std::numeric_limits<std::int32_t>::max() * std::uint64_t{1024})
        bad(name, "shape: a dimension of {}", size);
      info.shape.push_back(static_cast<std::int64_t>(size));
    }
    const json::value& offsets = member(name, o, "data_offsets");
    if (!offsets.is_array() || offsets.get_array().size() != 2)
      bad(name, "data_offsets: expected [begin, end], found {}", to_json(offsets));
    const std::uint64_t begin = number(name, offsets.get_array()[0], "data_offsets");
    const std::uint64_t end = number(name, offsets.get_array()[1], "data_offsets");
    if (begin > end || end > data.size())
      bad(name, "data_offsets [{}, {}] lie outside the file's {} bytes of data", begin, end,
          data.size());
    const auto need = byte_size(info.shape, info.dtype);
    if (!need || *need != end - begin)
      bad(name, "{} {} needs {} bytes, data_offsets give {}", to_string(info.dtype),
          to_string(info.shape), need ? fmt::format("{}", *need) : "more than 2^64", end - begin);
    info.bytes = data.subspan(begin, end - begin);
    return info;
  }
};

}  // namespace

std::vector<TensorInfo> parse_safetensors(std::span<const std::byte> file,
                                          const std::string& name) {
  std::uint64_t length = 0;
  if (file.size() < 8)
    fail(ErrorCode::bad_data, "{}: {} bytes are too few for a safetensors file", name, file.size());
  std::memcpy(&length, file.data(), 8);
  if (length < 2 || length > kMaxHeader || length > file.size() - 8)
    fail(ErrorCode::bad_data,
         "{}: the header claims {} bytes, the file has {} after its first 8; it is cut off or not "
         "a safetensors file",
         name, length, file.size() - 8);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  if (text[0] != '{')
    fail(ErrorCode::bad_data, "{}: the header doesn't begin with {{; not a safetensors file", name);
  const json::value header = parse_json(text, name);
  const HeaderReader reader{name, file.subspan(8 + length)};

  std::vector<TensorInfo> tensors;
  for (const auto& [key, value] : header.as_object()) {
    const std::string tensor_name(key);
    if (tensor_name == "__metadata__") {
      const bool strings =
          value.is_object() && std::ranges::all_of(value.get_object(), [](const auto& item) {
            return item.value().is_string();
          });
      if (!strings) fail(ErrorCode::bad_data, "{}: __metadata__ must map strings to strings", name);
      continue;
    }
    tensors.push_back(reader.tensor(tensor_name, value));
  }
  // In the order of the data, which must be covered without overlap or hole.
  const std::byte* base = reader.data.data();
  std::ranges::stable_sort(tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return a.bytes.data() != b.bytes.data() ? a.bytes.data() < b.bytes.data()
                                            : a.bytes.size() < b.bytes.size();
  });
  std::size_t next = 0;
  for (const TensorInfo& t : tensors) {
    const auto begin = static_cast<std::size_t>(t.bytes.data() - base);
    if (begin != next)
      reader.bad(t.name, "its data begin at byte {}, {} the end of the one before, {}", begin,
                 begin < next ? "inside, before" : "after a hole behind", next);
    next = begin + t.bytes.size();
  }
  if (next != reader.data.size())
    fail(ErrorCode::bad_data, "{}: the tensors cover {} of {} bytes of data; the file is damaged",
         name, next, reader.data.size());
  return tensors;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(std::make_unique<MappedFile>(path)),
      tensors_(parse_safetensors(file_->bytes(), path.string())) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    tensors_[i].file = file_.get();
    index_.emplace(tensors_[i].name, i);
  }
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &tensors_[it->second];
}

}  // namespace octet::checkpoint
