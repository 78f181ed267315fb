#include "quantize/output_folder.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "quantize/model_card.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "runtime/base/progress.h"

namespace octet::quantize {

namespace fs = std::filesystem;

namespace {

std::uint64_t bytes_in(const fs::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.is_regular_file(error)) bytes += entry.file_size(error);
  return bytes;
}

// "damp_percent: 0.05 there, 0.06 here; ..." for two JSON texts.
void add_differences(const json::value& there, const json::value& here, const std::string& key,
                     std::vector<std::string>& list) {
  if (there == here) return;
  if (!there.is_object() || !here.is_object()) {
    list.push_back(fmt::format("{}: {} there, {} here", key, to_json(there), to_json(here)));
    return;
  }
  for (const auto& member : here.get_object()) {
    const json::value* other = there.get_object().if_contains(member.key());
    add_differences(other ? *other : json::value(), member.value(), std::string(member.key()),
                    list);
  }
}

std::string differences(const std::string& there, const std::string& here) {
  std::vector<std::string> list;
  try {
    add_differences(parse_json(there, "state"), parse_json(here, "settings"), "settings", list);
  } catch (const Error&) {
    list = {"settings that can't be read"};
  }
  return fmt::format("{}", fmt::join(list, "; "));
}

}  // namespace

OutputFolder::OutputFolder(fs::path output, const fs::path& source, bool overwrite,
                           std::uint64_t needed_bytes, const std::string& settings)
    : output_(fs::absolute(output).lexically_normal()) {
  if (output_.filename().empty()) output_ = output_.parent_path();  // OUT/
  const bool holds_something =
      fs::exists(output_) && !(fs::is_directory(output_) && fs::is_empty(output_));
  if (fs::exists(output_) && fs::equivalent(output_, source))
    fail(ErrorCode::invalid_argument, "{} is the model itself; name another output folder",
         output_.string());
  if (holds_something && !overwrite)
    fail(ErrorCode::invalid_argument,
         "{} exists and is not empty; name another folder, or replace it with --overwrite",
         output_.string());
  // Only a model may be replaced: a slip of the hand must not cost a home folder.
  if (holds_something && !fs::exists(output_ / "config.json"))
    fail(ErrorCode::invalid_argument, "{} holds something that is not a model; it stays as it is",
         output_.string());
  partial_ = output_.string() + ".partial";
  open_partial(settings, overwrite);
  std::error_code error;
  const auto space = fs::space(partial_, error);
  const std::uint64_t there = bytes_in(partial_);
  const std::uint64_t missing = needed_bytes > there ? needed_bytes - there : 0;
  if (error || space.available >= missing) return;
  const std::string reason =
      fmt::format("{} has {} free, the result needs {}; free some space", partial_.string(),
                  format_bytes(static_cast<double>(space.available)),
                  format_bytes(static_cast<double>(missing)));
  if (!keep_) fs::remove_all(partial_, error);
  ::close(lock_);
  fail(ErrorCode::unavailable, "{}", reason);
}

// Takes the folder for this process alone and finds out whether there is something to go on with.
void OutputFolder::open_partial(const std::string& settings, bool overwrite) {
  std::error_code error;
  fs::create_directories(partial_, error);
  if (!error) lock_ = ::open((partial_ / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (error || lock_ < 0)
    fail(ErrorCode::unavailable, "can't create {}: {}", partial_.string(),
         error ? error.message() : std::strerror(errno));
  // A lock of the system: it goes with its process, however that ends.
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    fail(ErrorCode::unavailable, "{} is being written by another process; wait for its end",
         partial_.string());
  }
  if (!overwrite) state_ = load_state(partial_);
  if (state_ && state_->settings != settings) {
    ::close(lock_);
    fail(ErrorCode::invalid_argument,
         "{} holds {} layers of a run with other settings or another version; repeat those to go "
         "on, or start again with --overwrite ({})",
         partial_.string(), state_->layers_done, differences(state_->settings, settings));
  }
  keep_ = state_.has_value();
  if (state_) return;
  for (const auto& entry : fs::directory_iterator(partial_, error))
    if (entry.path().filename() != ".lock") fs::remove_all(entry.path(), error);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!done_ && !keep_) fs::remove_all(partial_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void OutputFolder::commit() {
  remove_state(partial_);
  std::error_code error;
  fs::remove(partial_ / ".lock", error);
  sync_folder(partial_);
  // A rename can't replace a folder that holds something: the old one steps aside first.
  const fs::path old = output_.string() + ".old";
  fs::remove_all(old, error);
  if (fs::exists(output_)) fs::rename(output_, old, error);
  if (!error) fs::rename(partial_, output_, error);
  if (error) {
    std::error_code ignored;
    if (!fs::exists(output_) && fs::exists(old)) fs::rename(old, output_, ignored);
    fail(ErrorCode::unavailable, "can't rename {} to {}: {}", partial_.string(), output_.string(),
         error.message());
  }
  done_ = true;
  sync_folder(output_.parent_path());
  fs::remove_all(old, error);
}

namespace {

const char* to_string(ScaleSource source) {
  switch (source) {
    case ScaleSource::stale:
      return "stale";
    case ScaleSource::fresh:
      return "fresh";
    case ScaleSource::original:
      return "original";
    case ScaleSource::feedback:
      return "feedback";
  }
  return "";
}

const char* to_string(ScaleGrid grid) {
  return grid == ScaleGrid::f32   ? "float32"
         : grid == ScaleGrid::f16 ? "float16"
                                  : "float16+bfloat16";
}

const char* to_string(ServeType type) {
  return type == ServeType::f32 ? "float32" : type == ServeType::f16 ? "float16" : "bfloat16";
}

json::object quantization_config(const QuantizeOptions& options) {
  const GptqOptions& g = options.gptq;
  return {{"bits", g.scale_rule.bits},
          // Older vLLM decides by these names what is not quantized; newer ones read the tensors.
          {"dynamic",
           {{"-:.*visual.*", json::object()},
            {"-:.*mtp.*", json::object()},
            {"-:.*in_proj_a.*", json::object()},
            {"-:.*in_proj_b.*", json::object()}}},
          {"group_size", g.group_size},
          {"desc_act", false},
          {"lm_head", false},
          {"quant_method", "gptq"},
          {"checkpoint_format", "gptq"},
          {"pack_dtype", "int32"},
          {"meta",
           {{"quantizer", {"octet:0.1.0"}},
            {"method", options.method == Method::rtn ? "rtn" : "gptq"},
            {"damp_percent", g.damp_percent},
            {"damp_auto_increment", g.damp_increment},
            {"static_groups", g.scales == ScaleSource::original},
            {"true_sequential", true},
            {"scales", to_string(g.scales)},
            {"scale_grid", to_string(g.scale_rule.grid)},
            {"serve_dtype", to_string(g.scale_rule.serve)},
            {"mse", g.scale_rule.search == ScaleSearch::mse ? 2.0 : 0.0},
            {"target_shift", g.target_shift},
            {"residual_shift", g.residual_shift},
            {"refine_rounds", g.refine_rounds},
            {"refine_sweeps", g.refine_sweeps},
            {"token_weights", g.token_weights},
            {"row_fallback", g.row_fallback},
            {"foem", g.foem_alpha != 0 || g.foem_beta != 0
                         ? json::value{{"alpha", g.foem_alpha}, {"beta", g.foem_beta}}
                         : json::value()},
            {"act_group_aware", g.order == ColumnOrder::group_aware}}},
          {"sym", true},
          {"format", "gptq"}};
}

// A text-only configuration as the text part of a multimodal one: the layout that is written.
json::object multimodal_config(const checkpoint::ModelConfig& config) {
  json::object raw = config.raw;
  if (raw.contains("text_config")) return raw;
  raw.erase("architectures");
  raw.erase("quantization_config");
  raw["model_type"] = "qwen3_5_text";
  return {{"architectures", {"Qwen3_5ForConditionalGeneration"}},
          {"model_type", "qwen3_5"},
          {"tie_word_embeddings", config.text.tie_word_embeddings},
          {"text_config", std::move(raw)}};
}

}  // namespace

std::string run_settings(const checkpoint::Checkpoint& source, const QuantizeOptions& options,
                         const std::string& calibration_sha256, const std::string& machine) {
  json::array files;
  for (const auto& entry : fs::directory_iterator(source.folder()))
    if (entry.path().extension() == ".safetensors") {
      const auto changed = fs::last_write_time(entry.path()).time_since_epoch();
      files.push_back({entry.path().filename().string(), entry.file_size(),
                       std::chrono::duration_cast<std::chrono::seconds>(changed).count()});
    }
  std::ranges::sort(files, {},
                    [](const json::value& v) { return std::string(v.as_array()[0].as_string()); });
  return to_json(json::object{{"source", fs::weakly_canonical(source.folder()).string()},
                              {"files", std::move(files)},
                              {"quantization_config", quantization_config(options)},
                              {"shard_bytes", options.shard_bytes},
                              {"mtp_from", options.mtp_from.string()},
                              {"calibration_sha256", calibration_sha256},
                              {"machine", machine}});
}

void write_configuration(const checkpoint::Checkpoint& source, const QuantizeOptions& options,
                         const fs::path& folder) {
  const json::object quantization = quantization_config(options);
  json::object config = multimodal_config(source.config());
  config["quantization_config"] = quantization;
  if (!options.mtp_from.empty()) {
    // Readers look here for how many MTP layers there are.
    const auto other = checkpoint::read_config(options.mtp_from);
    config["text_config"].as_object()["mtp_num_hidden_layers"] = other.text.mtp_num_hidden_layers;
  }
  write_file(folder / "config.json", to_json(config, 2) + "\n");
  write_file(folder / "quantize_config.json", to_json(quantization, 2) + "\n");
  for (const auto& entry : fs::directory_iterator(source.folder())) {
    const fs::path name = entry.path().filename();
    const std::string extension = name.extension().string();
    const bool ours = name == "config.json" || name == "quantize_config.json" ||
                      name == "README.md" || name == "quantize_report.json" ||
                      name == "quant_log.csv" || name == "calibration_ids.jsonl" ||
                      name == "model.safetensors.index.json";
    if (!entry.is_regular_file() || ours || extension == ".safetensors" || extension == ".bin" ||
        extension == ".gguf" || name.string().starts_with("."))
      continue;
    write_file(folder / name, read_file(entry.path()));
  }
}

void write_report(const checkpoint::Checkpoint& source, const QuantizeResult& result,
                  const QuantizeOptions& options, const fs::path& folder) {
  json::array modules;
  std::string csv = "layer,module,loss,samples,damp,time\n";
  for (const ModuleLine& m : result.modules) {
    modules.push_back({{"module", m.name},
                       {"loss", m.report.loss},
                       {"relative_error", m.report.relative_error},
                       {"damp_percent", m.report.damp_percent},
                       {"dead_columns", m.report.dead_columns},
                       {"clipped", m.report.clipped},
                       {"plain_rows", m.report.plain_rows},
                       {"smallest_pivot", m.report.smallest_pivot},
                       {"tokens", m.num_tokens},
                       {"seconds", m.seconds}});
    // model.language_model.layers.N.module
    const auto dot = m.name.find('.', sizeof("model.language_model.layers.") - 1);
    const auto layer = m.name.substr(sizeof("model.language_model.layers.") - 1,
                                     dot - (sizeof("model.language_model.layers.") - 1));
    csv += fmt::format("{},{},{:.10f},{},{},{:.3f}\n", layer, m.name.substr(dot + 1), m.report.loss,
                       m.num_tokens, m.report.damp_percent, m.seconds);
  }
  json::array sources;
  for (const auto& part : result.calibration_parts)
    sources.push_back({{"name", part.name},
                       {"weight", part.weight},
                       {"rows", part.rows},
                       {"tokens", part.tokens},
                       {"drawn_by_length", part.drawn}});
  const json::object report{
      {"method", options.method == Method::rtn ? "rtn" : "gptq"},
      {"quantization_config", quantization_config(options)},
      {"calibration",
       {{"rows", result.calibration_rows},
        {"tokens", result.calibration_tokens},
        {"sha256", result.calibration_sha256},
        {"seed", result.calibration_seed},
        {"sources", std::move(sources)}}},
      {"bytes", {{"source", result.source_bytes}, {"output", result.output_bytes}}},
      {"seconds", result.seconds},
      {"modules", std::move(modules)}};
  const fs::path source_card = source.folder() / "README.md";
  const std::string name = fs::weakly_canonical(source.folder()).filename().string();
  write_file(folder / "README.md",
             model_card(checkpoint::Checkpoint::open(folder), name, report,
                        fs::exists(source_card) ? read_file(source_card) : ""));
  write_file(folder / "quantize_report.json", to_json(report, 2) + "\n");
  write_file(folder / "quant_log.csv", csv);
}

}  // namespace octet::quantize
