#include <CLI/CLI.hpp>
#include <cstdio>

#include "checkpoint/inventory.h"
#include "checkpoint/locate.h"
#include "cli/common.h"
#include "cli/inspect_gguf.h"
#include "runtime/base/progress.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model;
  std::int64_t context = 0;
  bool as_json = false;
};

json::object to_object(const checkpoint::Inventory& i) {
  return {{"architecture", i.architecture},
          {"bits", i.bits},
          {"group_size", i.group_size},
          {"sym", i.sym},
          {"desc_act", i.desc_act},
          {"checkpoint_format", i.checkpoint_format},
          {"layers", {{"linear", i.linear_layers}, {"full", i.full_layers}}},
          {"tensors",
           {{"quantized_modules", i.quantized_modules},
            {"vision", i.vision_tensors},
            {"mtp", i.mtp_tensors},
            {"total", i.total_tensors}}},
          {"bytes",
           {{"file", i.file_bytes},
            {"quantized", i.quantized_bytes},
            {"vision", i.vision_bytes},
            {"mtp", i.mtp_bytes},
            {"embeddings", i.embedding_bytes},
            {"other", i.other_bytes}}},
          {"context", i.context},
          {"memory",
           {{"weights", i.text_weight_bytes},
            {"kv_bytes_per_token", i.kv_bytes_per_token},
            {"state_bytes_per_sequence", i.state_bytes_per_sequence}}},
          {"missing", json::array(i.missing.begin(), i.missing.end())}};
}

void print(const checkpoint::Checkpoint& c, const checkpoint::Inventory& i, std::int64_t context) {
  const auto bytes = [](std::uint64_t n) { return format_bytes(static_cast<double>(n)); };
  const auto& config = c.config().text;
  fmt::print("{}\n", c.folder().string());
  fmt::print("  architecture   {}{}\n", i.architecture, i.dtype.empty() ? "" : ", " + i.dtype);
  fmt::print("  layers         {} Gated DeltaNet + {} full attention, hidden {}, vocabulary {}\n",
             i.linear_layers, i.full_layers, config.hidden_size, config.vocab_size);
  if (i.quantized_modules > 0)
    fmt::print("  quantized      {} modules, {} bits in groups of {}{}{}\n", i.quantized_modules,
               i.bits, i.group_size, i.sym ? ", symmetric" : "", i.desc_act ? ", act-order" : "");
  else
    fmt::print("  quantized      no\n");
  const auto part = [](const char* name, bool wanted, std::int64_t tensors) {
    return wanted ? fmt::format("{} ({} tensors)", name, tensors) : fmt::format("no {}", name);
  };
  fmt::print("  parts          text, {}, {}\n", part("vision", c.has_vision(), i.vision_tensors),
             part("MTP", c.has_mtp(), i.mtp_tensors));
  fmt::print("\n  {:<22}{:>12}\n", "files", bytes(i.file_bytes));
  fmt::print("  {:<22}{:>12}\n", "quantized modules", bytes(i.quantized_bytes));
  fmt::print("  {:<22}{:>12}\n", "embeddings and head", bytes(i.embedding_bytes));
  fmt::print("  {:<22}{:>12}\n", "vision", bytes(i.vision_bytes));
  fmt::print("  {:<22}{:>12}\n", "MTP", bytes(i.mtp_bytes));
  fmt::print("  {:<22}{:>12}\n", "other", bytes(i.other_bytes));
  fmt::print("\n  memory for one sequence of {} tokens\n", context);
  const std::uint64_t kv = i.kv_bytes_per_token * static_cast<std::uint64_t>(context);
  fmt::print("  {:<22}{:>12}\n", "text weights", bytes(i.text_weight_bytes));
  fmt::print("  {:<22}{:>12}   ({} a token)\n", "KV cache, 16 bits", bytes(kv),
             bytes(i.kv_bytes_per_token));
  fmt::print("  {:<22}{:>12}\n", "recurrent state", bytes(i.state_bytes_per_sequence));
  fmt::print("  {:<22}{:>12}\n", "together",
             bytes(i.text_weight_bytes + kv + i.state_bytes_per_sequence));
  if (!i.missing.empty()) {
    fmt::print("\n  missing: {} tensors that the configuration names\n", i.missing.size());
    for (std::size_t k = 0; k < std::min<std::size_t>(5, i.missing.size()); ++k)
      fmt::print("    {}\n", i.missing[k]);
    if (i.missing.size() > 5) fmt::print("    ...\n");
  }
}

}  // namespace

Command add_inspect(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("inspect", "Shows what is in a checkpoint and what memory it needs");
  c->add_option("MODEL", o->model, "folder, `tiny`, hub id, or a GGUF file")->required();
  c->add_option("--context", o->context, "tokens for the memory table; 0: all that the model knows")
      ->capture_default_str();
  c->add_flag("--json", o->as_json, "print one JSON object");
  return [o] {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(o->model, ignored)) {
      inspect_gguf(o->model, o->as_json);
      return;
    }
    const auto checkpoint = checkpoint::Checkpoint::open(checkpoint::locate_model(o->model));
    const auto inventory = checkpoint::take_inventory(checkpoint);
    if (o->as_json)
      fmt::print("{}\n", to_json(to_object(inventory)));
    else
      print(checkpoint, inventory, o->context > 0 ? o->context : inventory.context);
  };
}

}  // namespace octet::cli
