#include "export/gguf_export.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "export/gguf_metadata.h"
#include "export/gguf_tensors.h"
#include "export/gguf_vision.h"
#include "runtime/base/error.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"

namespace octet::exporter {

namespace {

namespace fs = std::filesystem;
using checkpoint::Checkpoint;
using checkpoint::GgmlType;
using checkpoint::GgufTensor;

// A tensor and how to get its bytes.
struct Item {
  GgufTensor tensor;
  std::function<void(const checkpoint::ByteSink&)> produce;
};

// What a file will hold.
struct Contents {
  fs::path path;
  checkpoint::GgufMetadata metadata;
  std::vector<Item> items;
  std::uint64_t bytes() const {
    std::uint64_t n = 0;
    for (const Item& item : items) n += checkpoint::ggml_bytes(item.tensor);
    return n;
  }
};

// An output may be a new file or, if the user says so, replace a file that is not the model's.
void require_target(const Checkpoint& checkpoint, const fs::path& path, bool overwrite) {
  std::error_code error;
  const fs::path folder = fs::absolute(path, error).parent_path();
  if (path.filename().empty() || !fs::is_directory(folder, error))
    fail(ErrorCode::invalid_argument, "`{}`: expected the name of a file in a folder that exists",
         path.string());
  const auto status = fs::status(path, error);
  if (!fs::exists(status)) return;
  if (!fs::is_regular_file(status))
    fail(ErrorCode::invalid_argument, "{} is not a file; name one", path.string());
  if (fs::equivalent(folder, checkpoint.folder(), error))
    fail(ErrorCode::invalid_argument, "{} is a file of the model; name another", path.string());
  if (!overwrite)
    fail(ErrorCode::invalid_argument,
         "{} exists; name another file, or replace it with --overwrite", path.string());
}

void require_space(const fs::path& path, std::uint64_t bytes) {
  std::error_code error;
  const auto space = fs::space(fs::absolute(path).parent_path(), error);
  if (!error && space.available < bytes)
    fail(ErrorCode::unavailable, "{}: {} are free there, the export needs {}; free some space",
         path.string(), format_bytes(static_cast<double>(space.available)),
         format_bytes(static_cast<double>(bytes)));
}

// A tensor's pages leave memory once it is written.
void release(const Checkpoint& checkpoint, const std::string& name) {
  for (const char* part : {"", ".weight", ".qweight", ".qzeros", ".scales"})
    if (const auto* t = checkpoint.find(name + part); t && t->file) t->file->release(t->bytes);
}

Contents text_contents(const Checkpoint& checkpoint, const fs::path& path, bool mtp,
                       std::int64_t& widened) {
  Contents c{.path = path, .metadata = {}, .items = {}};
  std::map<GgmlType, std::uint64_t> weights;
  for (SourceTensor& t : text_tensors(checkpoint, mtp)) {
    if (t.linear) weights[t.target.type] += static_cast<std::uint64_t>(num_elements(t.shape));
    if (t.linear && t.target.type == GgmlType::f32 && checkpoint.is_quantized(t.name)) ++widened;
    const GgufTensor target = t.target;
    c.items.push_back({target, [&checkpoint, t = std::move(t)](const checkpoint::ByteSink& sink) {
                         produce(checkpoint, t, sink);
                         release(checkpoint, t.name);
                       }});
  }
  const auto most =
      std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; });
  c.metadata = text_metadata(checkpoint, mtp, most->first);
  for (auto& entry : vocabulary_metadata(checkpoint)) c.metadata.push_back(std::move(entry));
  return c;
}

Contents vision_contents(const Checkpoint& checkpoint, const fs::path& path) {
  Contents c{.path = path, .metadata = vision_metadata(checkpoint), .items = {}};
  for (VisionTensor& t : vision_tensors(checkpoint))
    c.items.push_back({t.target, std::move(t.produce)});
  return c;
}

// Writes a file aside and compares it, read as another program would, with what was given.
std::unique_ptr<checkpoint::GgufWriter> write(const Contents& contents, std::uint64_t total,
                                              std::uint64_t& done, const ExportProgress& progress) {
  std::vector<GgufTensor> tensors;
  for (const Item& item : contents.items) tensors.push_back(item.tensor);
  auto writer = std::make_unique<checkpoint::GgufWriter>(contents.path, contents.metadata, tensors);
  for (const Item& item : contents.items) {
    check_interrupt();
    if (progress) progress(done, total, item.tensor.name);
    writer->add(item.produce);
    done += checkpoint::ggml_bytes(item.tensor);
  }
  writer->sync();
  if (progress) progress(done, total, "reading back");
  const checkpoint::GgufFile file(writer->partial());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    check_interrupt();
    const GgufTensor* t = file.find_tensor(tensors[i].name);
    if (!t || t->shape != tensors[i].shape || t->type != tensors[i].type ||
        checkpoint::crc32_of(0, t->bytes) != writer->checksums()[i])
      fail(ErrorCode::unavailable,
           "{}: tensor {} reads back otherwise than it was written; check the disk",
           contents.path.string(), tensors[i].name);
    file.file().release(t->bytes);
  }
  return writer;
}

GgufFileReport report_of(const Contents& contents) {
  GgufFileReport report{.path = contents.path, .bytes = contents.bytes()};
  for (const Item& item : contents.items) {
    ++report.tensors[to_string(item.tensor.type)];
    report.bytes_by_type[to_string(item.tensor.type)] += checkpoint::ggml_bytes(item.tensor);
  }
  return report;
}

}  // namespace

GgufReport export_gguf(const Checkpoint& checkpoint, const fs::path& output,
                       const GgufOptions& options, const ExportProgress& progress) {
  const bool vision = !options.mmproj.empty();
  require_target(checkpoint, output, options.overwrite);
  if (vision) {
    require_target(checkpoint, options.mmproj, options.overwrite);
    if (fs::weakly_canonical(output) == fs::weakly_canonical(options.mmproj))
      fail(ErrorCode::invalid_argument, "--mmproj {}: the text model goes there; name another file",
           options.mmproj.string());
    if (!checkpoint.has_vision())
      fail(ErrorCode::invalid_argument, "{} has no vision tower to export; leave --mmproj out",
           checkpoint.folder().string());
  }
  checkpoint.require_text();
  GgufReport report;
  std::vector<Contents> files;
  files.push_back(
      text_contents(checkpoint, output, options.mtp && checkpoint.has_mtp(), report.widened));
  if (vision) files.push_back(vision_contents(checkpoint, options.mmproj));
  std::uint64_t total = 0, done = 0;
  for (const Contents& c : files) total += c.bytes();
  for (const Contents& c : files) require_space(c.path, total + (64u << 20));
  std::vector<std::unique_ptr<checkpoint::GgufWriter>> written;
  for (const Contents& c : files) written.push_back(write(c, total, done, progress));
  for (const auto& writer : written) writer->finish();
  report.text = report_of(files[0]);
  if (vision) report.mmproj = report_of(files[1]);
  return report;
}

}  // namespace octet::exporter
