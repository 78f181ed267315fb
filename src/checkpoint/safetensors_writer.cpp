#include "checkpoint/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace octet::checkpoint {

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorPlan> plan)
    : plan_(std::move(plan)), file_(path) {
  json::object header;
  // Readers of PyTorch files refuse a file that doesn't say so.
  header["__metadata__"] = {{"format", "pt"}};
  std::uint64_t offset = 0;
  for (const TensorPlan& t : plan_) {
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
  file_.write(std::string_view(prefix, 8));
  file_.write(text);
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
                         std::uint64_t shard_bytes)
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
  open_shard();
}

void ShardWriter::open_shard() {
  if (shard_ < shards_.size())
    writer_ = std::make_unique<SafetensorsWriter>(folder_ / names_[shard_], shards_[shard_]);
}

void ShardWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  OCTET_CHECK(writer_ != nullptr, "{} after the last planned tensor", name);
  writer_->add(name, bytes);
  if (++in_shard_ < shards_[shard_].size()) return;
  writer_->finish();
  writer_.reset();
  ++shard_;
  in_shard_ = 0;
  open_shard();
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
