#include "export/gguf_export.h"

#include <algorithm>

#include "export/gguf_metadata.h"
#include "export/gguf_tensors.h"
#include "export/gguf_vision.h"
#include "runtime/base/error.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"

namespace octet::exporter {

namespace {

namespace fs = std::filesystem;
using checkpoint::GgmlType;
using checkpoint::GgufTensor;

// A tensor and how to get its bytes.
struct Item {
  GgufTensor tensor;
  std::function<void(const checkpoint::ByteSink&)> produce;
};

void require_free(const fs::path& path, bool overwrite, std::uint64_t bytes) {
  if (fs::is_directory(path))
    fail(ErrorCode::invalid_argument, "{} is a folder; name a file", path.string());
  if (fs::exists(path) && !overwrite)
    fail(ErrorCode::invalid_argument,
         "{} exists; name another file, or replace it with --overwrite", path.string());
  std::error_code error;
  const auto space = fs::space(fs::absolute(path).parent_path(), error);
  if (!error && space.available < bytes)
    fail(ErrorCode::unavailable, "{}: {} are free there, the file needs {}; free some space",
         path.string(), format_bytes(static_cast<double>(space.available)),
         format_bytes(static_cast<double>(bytes)));
}

// Reads the file as another program would and compares every tensor with what was given.
void read_back(const fs::path& path, const std::vector<Item>& items,
               const std::vector<std::uint32_t>& checksums) {
  const checkpoint::GgufFile file(path);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const GgufTensor* t = file.find_tensor(items[i].tensor.name);
    if (!t || t->shape != items[i].tensor.shape || t->type != items[i].tensor.type ||
        checkpoint::crc32_of(0, t->bytes) != checksums[i])
      fail(ErrorCode::unavailable,
           "{}: tensor {} reads back otherwise than it was written; check the disk", path.string(),
           items[i].tensor.name);
    file.file().release(t->bytes);
  }
}

GgufReport write(const fs::path& path, const checkpoint::GgufMetadata& metadata,
                 const std::vector<Item>& items, bool overwrite, const ExportProgress& progress) {
  GgufReport report{.path = path};
  std::vector<GgufTensor> tensors;
  for (const Item& item : items) {
    const std::uint64_t bytes = checkpoint::ggml_bytes(item.tensor);
    report.bytes += bytes;
    ++report.tensors[to_string(item.tensor.type)];
    report.bytes_by_type[to_string(item.tensor.type)] += bytes;
    tensors.push_back(item.tensor);
  }
  require_free(path, overwrite, report.bytes + (64u << 20));
  // Beside its final name until it has been read back.
  const fs::path aside = path.string() + ".new";
  struct Remover {
    const fs::path& path;
    ~Remover() {
      std::error_code ignored;
      fs::remove(path, ignored);
    }
  } remover{aside};
  checkpoint::GgufWriter writer(aside, metadata, tensors);
  std::uint64_t done = 0;
  for (const Item& item : items) {
    check_interrupt();
    if (progress) progress(done, report.bytes, item.tensor.name);
    writer.add(item.produce);
    done += checkpoint::ggml_bytes(item.tensor);
  }
  writer.finish();
  if (progress) progress(done, report.bytes, "reading back");
  read_back(aside, items, writer.checksums());
  fs::rename(aside, path);
  sync_folder(fs::absolute(path).parent_path());
  return report;
}

// A tensor's pages leave memory once it is written.
void release(const checkpoint::Checkpoint& checkpoint, const std::string& name) {
  for (const char* part : {"", ".weight", ".qweight", ".qzeros", ".scales"})
    if (const auto* t = checkpoint.find(name + part); t && t->file) t->file->release(t->bytes);
}

}  // namespace

GgufReport export_text(const checkpoint::Checkpoint& checkpoint, const fs::path& output,
                       const GgufOptions& options, const ExportProgress& progress) {
  checkpoint.require_text();
  const bool mtp = options.mtp && checkpoint.has_mtp();
  std::vector<Item> items;
  std::map<GgmlType, std::uint64_t> weights;
  std::int64_t widened = 0;
  for (SourceTensor& t : text_tensors(checkpoint, mtp)) {
    if (t.linear) weights[t.target.type] += static_cast<std::uint64_t>(num_elements(t.shape));
    if (t.linear && t.target.type == GgmlType::f32 && checkpoint.is_quantized(t.name)) ++widened;
    const GgufTensor target = t.target;
    items.push_back({target, [&checkpoint, t = std::move(t)](const checkpoint::ByteSink& sink) {
                       produce(checkpoint, t, sink);
                       release(checkpoint, t.name);
                     }});
  }
  const auto most =
      std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; });
  auto metadata = text_metadata(checkpoint, mtp, most->first);
  for (auto& entry : vocabulary_metadata(checkpoint)) metadata.push_back(std::move(entry));
  GgufReport report = write(output, metadata, items, options.overwrite, progress);
  report.widened = widened;
  return report;
}

GgufReport export_vision(const checkpoint::Checkpoint& checkpoint, const GgufOptions& options,
                         const ExportProgress& progress) {
  if (!checkpoint.has_vision())
    fail(ErrorCode::invalid_argument, "{} has no vision tower to export; leave --mmproj out",
         checkpoint.folder().string());
  std::vector<Item> items;
  for (VisionTensor& t : vision_tensors(checkpoint))
    items.push_back({t.target, std::move(t.produce)});
  return write(options.mmproj, vision_metadata(checkpoint), items, options.overwrite, progress);
}

}  // namespace octet::exporter
