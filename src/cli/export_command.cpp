#include <CLI/CLI.hpp>
#include <cstdio>

#include "checkpoint/locate.h"
#include "cli/common.h"
#include "export/gguf_export.h"
#include "runtime/base/progress.h"

namespace octet::cli {

namespace {

namespace fs = std::filesystem;

struct Options {
  std::string model, output, mmproj;
  bool no_mtp = false, no_vision = false, overwrite = false, as_json = false;
};

json::object to_object(const exporter::GgufFileReport& r) {
  json::object types;
  for (const auto& [type, count] : r.tensors)
    types[type] = {{"tensors", count}, {"bytes", r.bytes_by_type.at(type)}};
  return {{"path", r.path.string()}, {"bytes", r.bytes}, {"types", std::move(types)}};
}

void print(const exporter::GgufFileReport& r) {
  fmt::print("{}: {}\n", r.path.string(), format_bytes(static_cast<double>(r.bytes)));
  for (const auto& [type, count] : r.tensors)
    fmt::print("  {:<8}{:>6} tensors{:>12}\n", type, count,
               format_bytes(static_cast<double>(r.bytes_by_type.at(type))));
}

void run(const Options& o) {
  const auto checkpoint = checkpoint::Checkpoint::open(checkpoint::locate_model(o.model));
  const fs::path output = o.output;
  exporter::GgufOptions options{.mmproj = o.mmproj, .mtp = !o.no_mtp, .overwrite = o.overwrite};
  if (o.mmproj.empty() && checkpoint.has_vision() && !o.no_vision)
    options.mmproj = output.parent_path() / ("mmproj-" + output.filename().string());
  Progress bar("export", static_cast<std::int64_t>(checkpoint.file_bytes() >> 20), "MiB");
  const auto report = exporter::export_gguf(
      checkpoint, output, options, [&](std::uint64_t done, std::uint64_t, const std::string& what) {
        bar.update(static_cast<std::int64_t>(done >> 20), what);
      });
  bar.finish();
  if (o.as_json) {
    json::object result{{"text", to_object(report.text)}, {"widened", report.widened}};
    if (report.mmproj) result["mmproj"] = to_object(*report.mmproj);
    fmt::print("{}\n", to_json(result));
    return;
  }
  print(report.text);
  if (report.mmproj) print(*report.mmproj);
  if (report.widened > 0)
    fmt::print(
        "{} modules fit no block of 32 weights exactly (zero points, act-order or scales "
        "that float16 can't hold): written as F32, same values\n",
        report.widened);
}

}  // namespace

Command add_export(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("export", "Writes a checkpoint as GGUF for llama.cpp");
  c->add_option("MODEL", o->model, "folder, `tiny`, or hub id; quantized or not")->required();
  c->add_option("OUT", o->output, "OUT.gguf; the vision tower goes to mmproj-OUT.gguf beside it")
      ->required();
  auto* mmproj = c->add_option("--mmproj", o->mmproj, "another name for the vision tower's file");
  c->add_flag("--no-vision", o->no_vision, "text only")->excludes(mmproj);
  c->add_flag("--no-mtp", o->no_mtp, "without the layers that predict more than one token ahead");
  c->add_flag("--overwrite", o->overwrite, "replace files that exist");
  c->add_flag("--json", o->as_json, "print one JSON object");
  return [o] { run(*o); };
}

}  // namespace octet::cli
