#include "checkpoint/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace octet::checkpoint {

namespace {

// Length and text of a file's header.
std::string header_of(const std::vector<TensorPlan>& plan) {
  json::object header;
  // Readers of PyTorch files refuse a file that doesn't say so.
  header["__metadata__"] = {{"format", "pt"}};
  std::uint64_t offset = 0;
  for (const TensorPlan& t : plan) {
    OCTET_CHECK(!header.contains(t.name), "{} planned twice", t.name);
    header[t.name] = {{"dtype", to_string(t.dtype)},
                      {"shape", json::array(t.shape.begin(), t.shape.end())},
                      {"data_offsets", {offset, offset + t.bytes()}}};
    offset += t.bytes();
  }
  std::string text = to_json(header);
  text.append((8 - text.size() % 8) % 8, ' ');  // data begin at a multiple of 8
  const auto length = static_cast<std::uint64_t>(text.size());
  char prefix[8];
  std::memcpy(prefix, &length, 8);
  return std::string(prefix, 8) + text;
}

std::size_t bytes_of(const std::vector<TensorPlan>& plan, std::size_t tensors) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < tensors; ++i) bytes += plan[i].bytes();
  return bytes;
}

// Some bytes of a file. Errors: unavailable, bad_data if it is shorter.
std::vector<std::byte> read_range(const std::filesystem::path& path, std::size_t begin,
                                  std::size_t count) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::byte> bytes(count);
  file.seekg(static_cast<std::streamoff>(begin));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(count));
  if (!file)
    fail(ErrorCode::bad_data, "{}: can't read {} bytes at {}", path.string(), count, begin);
  return bytes;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorPlan> plan)
    : plan_(std::move(plan)), file_(path) {
  file_.write(header_of(plan_));
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorPlan> plan, std::size_t tensors)
    : plan_(std::move(plan)),
      next_(tensors),
      file_(path, header_of(plan_).size() + bytes_of(plan_, tensors)) {
  file_.keep_partial();
  const std::string expected = header_of(plan_);
  const auto found = read_range(path.string() + ".partial", 0, expected.size());
  if (std::memcmp(found.data(), expected.data(), expected.size()) != 0)
    fail(ErrorCode::bad_data, "{}.partial begins like another file", path.string());
}

void SafetensorsWriter::sync() {
  file_.sync();
  file_.keep_partial();
}

void SafetensorsWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  OCTET_CHECK(
      next_ < plan_.size() && plan_[next_].name == name && plan_[next_].bytes() == bytes.size(),
      "{} with {} bytes is not what the plan expects next", name, bytes.size());
  file_.write(bytes);
  ++next_;
}

void SafetensorsWriter::finish() {
  OCTET_CHECK(next_ == plan_.size(), "{} of {} tensors written", next_, plan_.size());
  file_.commit();
}

ShardWriter::ShardWriter(std::filesystem::path folder, std::vector<TensorPlan> plan,
                         std::uint64_t shard_bytes, std::size_t written)
    : folder_(std::move(folder)) {
  std::uint64_t in_shard = 0;
  for (TensorPlan& t : plan) {
    if (shards_.empty() || (in_shard > 0 && in_shard + t.bytes() > shard_bytes)) {
      shards_.emplace_back();
      in_shard = 0;
    }
    in_shard += t.bytes();
    total_bytes_ += t.bytes();
    shards_.back().push_back(std::move(t));
  }
  for (std::size_t i = 0; i < shards_.size(); ++i)
    names_.push_back(shards_.size() == 1 ? "model.safetensors"
                                         : fmt::format("model-{:05d}-of-{:05d}.safetensors", i + 1,
                                                       shards_.size()));
  written_ = in_shard_ = written;
  while (shard_ < shards_.size() && in_shard_ >= shards_[shard_].size())
    in_shard_ -= shards_[shard_++].size();
  // Shards before this one are complete; if they are damaged, reading the result back tells.
  if (in_shard_ > 0)
    writer_ =
        std::make_unique<SafetensorsWriter>(folder_ / names_[shard_], shards_[shard_], in_shard_);
  else
    open_shard();
}

void ShardWriter::open_shard() {
  if (shard_ < shards_.size())
    writer_ = std::make_unique<SafetensorsWriter>(folder_ / names_[shard_], shards_[shard_]);
}

void ShardWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  OCTET_CHECK(writer_ != nullptr, "{} after the last planned tensor", name);
  writer_->add(name, bytes);
  ++written_;
  if (++in_shard_ < shards_[shard_].size()) return;
  writer_->finish();
  writer_.reset();
  ++shard_;
  in_shard_ = 0;
  open_shard();
}

std::size_t ShardWriter::sync() {
  if (writer_) writer_->sync();
  return written_;
}

std::vector<std::byte> ShardWriter::read_back(const std::string& name) const {
  for (std::size_t i = 0; i <= shard_ && i < shards_.size(); ++i) {
    const auto found = std::ranges::find(shards_[i], name, &TensorPlan::name);
    if (found == shards_[i].end()) continue;
    const auto index = static_cast<std::size_t>(found - shards_[i].begin());
    OCTET_CHECK(i < shard_ || index < in_shard_, "{} is not written yet", name);
    const std::string file = (folder_ / names_[i]).string() + (i < shard_ ? "" : ".partial");
    return read_range(file, header_of(shards_[i]).size() + bytes_of(shards_[i], index),
                      found->bytes());
  }
  OCTET_CHECK(false, "{} is in no shard", name);
}

void ShardWriter::finish() {
  OCTET_CHECK(shard_ == shards_.size(), "{} of {} shards written", shard_, shards_.size());
  if (shards_.size() < 2) return;
  std::map<std::string, std::string> sorted;
  for (std::size_t i = 0; i < shards_.size(); ++i)
    for (const TensorPlan& t : shards_[i]) sorted[t.name] = names_[i];
  json::object weight_map;
  for (const auto& [name, file] : sorted) weight_map[name] = file;
  const json::object index{{"metadata", {{"total_size", total_bytes_}}},
                           {"weight_map", std::move(weight_map)}};
  write_file(folder_ / "model.safetensors.index.json", to_json(index, 2) + "\n");
}

}  // namespace octet::checkpoint
