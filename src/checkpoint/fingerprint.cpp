#include "checkpoint/fingerprint.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/hash.h"

namespace octet::checkpoint {

namespace {

namespace fs = std::filesystem;

std::int64_t nanoseconds(const struct timespec& t) {
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

Fingerprint::File stamp(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0)
    fail(ErrorCode::unavailable, "can't look at {}: {}", path.string(), std::strerror(errno));
  // In ASCII, so that any name can stand in JSON; names are compared only to be told.
  std::string name = path.filename().string();
  std::ranges::replace_if(name, [](unsigned char c) { return c < 32 || c > 126; }, '?');
  return {std::move(name), static_cast<std::uint64_t>(info.st_size), nanoseconds(info.st_mtim),
          nanoseconds(info.st_ctim)};
}

// Length first: no two lists of pieces give the same stream.
void add(Hasher128& hasher, std::span<const std::byte> bytes) {
  const std::uint64_t size = bytes.size();
  hasher.update(std::as_bytes(std::span(&size, 1)));
  hasher.update(bytes);
}

// What lies before the first tensor of a file; tensors come in the order of files and data.
std::span<const std::byte> header_of(const TensorInfo& first) {
  const auto file = first.file->bytes();
  return file.first(static_cast<std::size_t>(first.bytes.data() - file.data()));
}

std::span<const std::byte> sample_of(std::span<const std::byte> bytes) {
  constexpr std::size_t kSample = 1024;
  return bytes.size() <= kSample ? bytes : bytes.subspan((bytes.size() - kSample) / 2, kSample);
}

}  // namespace

Fingerprint take_fingerprint(const Checkpoint& checkpoint) {
  Fingerprint f;
  Hasher128 hasher;
  for (const char* name : {"config.json", "quantize_config.json"}) {
    const fs::path path = checkpoint.folder() / name;
    if (!fs::exists(path)) continue;
    f.files.push_back(stamp(path));
    const std::string text = read_file(path);
    add(hasher, std::as_bytes(std::span(text)));
  }
  const MappedFile* file = nullptr;
  for (const TensorInfo& t : checkpoint.tensors()) {
    if (t.file != file) {
      file = t.file;
      f.files.push_back(stamp(file->path()));
      add(hasher, header_of(t));
    }
    add(hasher, sample_of(t.bytes));
  }
  f.content = to_hex(hasher.digest());
  return f;
}

std::string describe_change(const Fingerprint& before, const Fingerprint& now) {
  for (std::size_t i = 0; i < std::max(before.files.size(), now.files.size()); ++i) {
    if (i == now.files.size()) return before.files[i].name + " is gone";
    const Fingerprint::File& n = now.files[i];
    if (i == before.files.size()) return n.name + " is new";
    const Fingerprint::File& b = before.files[i];
    if (b.name != n.name) return fmt::format("{} is there, {} was", n.name, b.name);
    if (b.bytes != n.bytes) return fmt::format("{}: {} bytes, were {}", n.name, n.bytes, b.bytes);
    if (b.modified_ns != n.modified_ns || b.changed_ns != n.changed_ns)
      return n.name + ": changed at another time";
  }
  return before.content != now.content ? "other contents" : "";
}

}  // namespace octet::checkpoint
