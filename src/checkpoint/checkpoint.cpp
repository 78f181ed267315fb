#include "checkpoint/checkpoint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/json.h"

namespace octet::checkpoint {

namespace {

namespace fs = std::filesystem;

std::string file_of(const TensorInfo& t) {
  return t.file ? t.file->path().string() : "checkpoint";
}

// Files that an index names, and which tensor each is to hold.
struct Index {
  std::vector<std::pair<std::string, std::string>> tensors;  // name, file
  std::set<std::string> files;
};

Index read_index(const fs::path& path) {
  const json::value value = read_json(path);
  const json::value* map =
      value.is_object() ? value.get_object().if_contains("weight_map") : nullptr;
  if (!map || !map->is_object())
    fail(ErrorCode::bad_data, "{}: no weight_map object", path.string());
  Index index;
  for (const auto& [name, file] : map->get_object()) {
    if (!file.is_string())
      fail(ErrorCode::bad_data, "{}: {}: expected a file name, found {}", path.string(),
           std::string_view(name), to_json(file));
    const std::string file_name(file.get_string());
    // The index may come from anywhere; it must not lead out of the folder.
    if (file_name.empty() || fs::path(file_name).filename() != file_name)
      fail(ErrorCode::bad_data, "{}: {}: `{}` is not a file name", path.string(),
           std::string_view(name), file_name);
    index.tensors.emplace_back(name, file_name);
    index.files.insert(file_name);
  }
  return index;
}

fs::path single_file(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  if (found.size() == 1) return found[0];
  if (fs::exists(folder / "model.safetensors")) return folder / "model.safetensors";
  fail(ErrorCode::not_found, "{} has {} .safetensors file and no model.safetensors.index.json",
       folder.string(), found.empty() ? "no" : "more than one");
}

}  // namespace

std::string Checkpoint::canonical_name(const std::string& stored) {
  if (stored.starts_with("model.mtp.")) return stored.substr(6);
  for (const char* part : {"layers.", "embed_tokens.", "norm."})
    if (stored.starts_with(std::string("model.") + part))
      return "model.language_model." + stored.substr(6);
  return stored;
}

Checkpoint Checkpoint::open(const fs::path& folder, const json::object& overrides) {
  if (!fs::is_directory(folder)) fail(ErrorCode::not_found, "{} is not a folder", folder.string());
  Checkpoint c;
  c.folder_ = folder;
  c.config_ = read_config(folder, overrides);
  const fs::path index_path = folder / "model.safetensors.index.json";
  Index index;
  if (fs::exists(index_path))
    index = read_index(index_path);
  else
    index.files.insert(single_file(folder).filename().string());
  for (const std::string& name : index.files) {
    if (!fs::exists(folder / name))
      fail(ErrorCode::not_found, "{}: missing; {} names it, fetch the shard again",
           (folder / name).string(), index_path.string());
    c.files_.push_back(std::make_unique<SafetensorsFile>(folder / name));
  }
  std::unordered_map<std::string, const SafetensorsFile*> by_file;
  for (const auto& file : c.files_) {
    by_file[file->path().filename().string()] = file.get();
    c.tensors_.insert(c.tensors_.end(), file->tensors().begin(), file->tensors().end());
  }
  for (const auto& [name, file] : index.tensors)
    if (!by_file.at(file)->find(name))
      fail(ErrorCode::bad_data, "{}: tensor {} is not in it, though {} says so",
           (folder / file).string(), name, index_path.string());
  for (std::size_t i = 0; i < c.tensors_.size(); ++i) {
    const auto [at, fresh] = c.by_name_.emplace(canonical_name(c.tensors_[i].name), i);
    if (!fresh)
      fail(ErrorCode::bad_data, "{}: tensor {} is also in {} as {}", file_of(c.tensors_[i]),
           c.tensors_[i].name, file_of(c.tensors_[at->second]), c.tensors_[at->second].name);
  }
  return c;
}

const TensorInfo* Checkpoint::find(const std::string& name) const {
  const auto it = by_name_.find(name);
  if (it != by_name_.end()) return &tensors_[it->second];
  if (name == "lm_head.weight" && config_.text.tie_word_embeddings)
    return find("model.language_model.embed_tokens.weight");
  return nullptr;
}

const TensorInfo& Checkpoint::require(const std::string& name) const {
  const TensorInfo* t = find(name);
  if (!t)
    fail(ErrorCode::bad_data, "{}: tensor {} is missing; the checkpoint is incomplete",
         folder_.string(), name);
  return *t;
}

TensorInfo Checkpoint::get(const std::string& name, const Shape& shape) const {
  const TensorInfo& t = require(name);
  if (t.shape != shape)
    fail(ErrorCode::bad_data, "{}: tensor {}: expected shape {}, found {}", file_of(t), t.name,
         to_string(shape), to_string(t.shape));
  if (t.dtype != DType::bf16 && t.dtype != DType::f16 && t.dtype != DType::f32)
    fail(ErrorCode::bad_data, "{}: tensor {}: expected BF16, F16 or F32, found {}", file_of(t),
         t.name, to_string(t.dtype));
  return t;
}

bool Checkpoint::is_quantized(const std::string& module) const {
  return !find(module + ".weight") && find(module + ".qweight");
}

LinearTensors Checkpoint::linear(const std::string& module, std::int64_t out,
                                 std::int64_t in) const {
  if (is_quantized(module)) return gptq(module, out, in);
  return get(module + ".weight", {out, in});
}

GptqLinear Checkpoint::gptq(const std::string& module, std::int64_t out, std::int64_t in) const {
  GptqLinear l;
  l.out_features = out;
  l.in_features = in;
  l.qweight = require(module + ".qweight");
  l.qzeros = require(module + ".qzeros");
  l.scales = require(module + ".scales");
  if (const TensorInfo* g = find(module + ".g_idx")) l.g_idx = *g;
  if (config_.quantization) {
    l.zeros_minus_one = config_.quantization->checkpoint_format == "gptq";
    l.sym = config_.quantization->sym;
  }
  const auto expect = [&](const TensorInfo& t, bool good, const std::string& expected) {
    if (!good)
      fail(ErrorCode::bad_data, "{}: tensor {}: expected {} for a linear of {} x {}, found {} {}",
           file_of(t), t.name, expected, out, in, to_string(t.dtype), to_string(t.shape));
  };
  expect(l.qweight, out % 32 == 0 && in % 32 == 0, "sizes that are multiples of 32");
  // The bits follow from the shape, so that files with rules for single modules read right.
  const std::int64_t words = l.qweight.shape.size() == 2 ? l.qweight.shape[0] : 0;
  l.bits = words * 32 / in;
  expect(l.qweight,
         l.qweight.dtype == DType::i32 && l.qweight.shape == Shape{in * l.bits / 32, out} &&
             (l.bits == 2 || l.bits == 3 || l.bits == 4 || l.bits == 8),
         fmt::format("I32 [{} * bits / 32, {}] with 2, 3, 4 or 8 bits", in, out));
  l.num_groups = l.scales.shape.size() == 2 ? l.scales.shape[0] : 0;
  expect(l.scales,
         l.num_groups > 0 && l.scales.shape[1] == out && in % l.num_groups == 0 &&
             (l.scales.dtype == DType::f16 || l.scales.dtype == DType::bf16 ||
              l.scales.dtype == DType::f32),
         fmt::format("F16, BF16 or F32 [groups, {}] with groups that divide {}", out, in));
  l.group_size = in / l.num_groups;
  expect(l.qzeros,
         l.qzeros.dtype == DType::i32 && l.qzeros.shape == Shape{l.num_groups, out * l.bits / 32},
         fmt::format("I32 [{}, {}]", l.num_groups, out * l.bits / 32));
  if (l.g_idx)
    expect(*l.g_idx, l.g_idx->dtype == DType::i32 && l.g_idx->shape == Shape{in},
           fmt::format("I32 [{}]", in));
  if (config_.quantization && config_.quantization->dynamic.empty()) {
    const auto& q = *config_.quantization;
    const std::int64_t group = q.group_size < 0 ? in : q.group_size;
    if (q.bits != l.bits || group != l.group_size)
      fail(ErrorCode::bad_data,
           "{}: module {}: the configuration says {} bits in groups of {}, its tensors hold {} "
           "bits in groups of {}",
           file_of(l.qweight), module, q.bits, group, l.bits, l.group_size);
  }
  return l;
}

std::uint64_t Checkpoint::file_bytes() const {
  std::uint64_t n = 0;
  for (const auto& file : files_) n += file->file().bytes().size();
  return n;
}

std::vector<std::string> Checkpoint::missing(TensorClass part) const {
  std::vector<std::string> names;
  for (const ExpectedTensor& t : expected_tensors(config_)) {
    if (t.part != part || find(t.name)) continue;
    const std::string module = t.name.substr(0, t.name.size() - std::string(".weight").size());
    if (!t.quantizable || !is_quantized(module)) names.push_back(t.name);
  }
  return names;
}

void Checkpoint::require_text() const {
  const auto names = missing(TensorClass::text);
  if (names.empty()) return;
  fail(
      ErrorCode::bad_data, "{}: {} of the text model's tensors are missing: {}{}; fetch it again",
      folder_.string(), names.size(),
      fmt::join(names.begin(),
                names.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, names.size())),
                ", "),
      names.size() > 3 ? ", ..." : "");
}

}  // namespace octet::checkpoint
