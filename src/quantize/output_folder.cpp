#include "quantize/output_folder.h"

#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "runtime/base/progress.h"

namespace octet::quantize {

namespace fs = std::filesystem;

OutputFolder::OutputFolder(fs::path output, const fs::path& source, bool overwrite,
                           std::uint64_t needed_bytes)
    : output_(fs::absolute(output).lexically_normal()), overwrite_(overwrite) {
  if (output_.filename().empty()) output_ = output_.parent_path();  // OUT/
  if (fs::exists(output_) && fs::equivalent(output_, source))
    fail(ErrorCode::invalid_argument, "{} is the model itself; name another output folder",
         output_.string());
  if (fs::exists(output_) && !(fs::is_directory(output_) && fs::is_empty(output_)) && !overwrite)
    fail(ErrorCode::invalid_argument,
         "{} exists and is not empty; name another folder, or replace it with --overwrite",
         output_.string());
  // Only a model may be replaced: a slip of the hand must not cost a home folder.
  if (fs::exists(output_) && !(fs::is_directory(output_) && fs::is_empty(output_)) &&
      !fs::exists(output_ / "config.json"))
    fail(ErrorCode::invalid_argument, "{} holds something that is not a model; it stays as it is",
         output_.string());
  partial_ = output_.string() + ".partial";
  std::error_code error;
  fs::remove_all(partial_, error);
  fs::create_directories(partial_, error);
  if (error)
    fail(ErrorCode::unavailable, "can't create {}: {}", partial_.string(), error.message());
  const auto space = fs::space(partial_, error);
  if (!error && space.available < needed_bytes)
    fail(ErrorCode::unavailable, "{} has {} free, the result needs {}; free some space",
         partial_.string(), format_bytes(static_cast<double>(space.available)),
         format_bytes(static_cast<double>(needed_bytes)));
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!done_) fs::remove_all(partial_, ignored);
}

void OutputFolder::commit() {
  sync_folder(partial_);
  std::error_code error;
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
            {"scale_search", g.scale_rule.search == ScaleSearch::fine},
            {"mse", 0.0},
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

void write_configuration(const checkpoint::Checkpoint& source, const QuantizeOptions& options,
                         const fs::path& folder) {
  const json::object quantization = quantization_config(options);
  json::object config = multimodal_config(source.config());
  config["quantization_config"] = quantization;
  write_file(folder / "config.json", to_json(config, 2) + "\n");
  write_file(folder / "quantize_config.json", to_json(quantization, 2) + "\n");
  for (const auto& entry : fs::directory_iterator(source.folder())) {
    const fs::path name = entry.path().filename();
    const std::string extension = name.extension().string();
    const bool ours = name == "config.json" || name == "quantize_config.json" ||
                      name == "README.md" || name == "quantize_report.json" ||
                      name == "quant_log.csv" || name == "model.safetensors.index.json";
    if (!entry.is_regular_file() || ours || extension == ".safetensors" || extension == ".bin" ||
        extension == ".gguf" || name.string().starts_with("."))
      continue;
    write_file(folder / name, read_file(entry.path()));
  }
}

void write_report(const QuantizeResult& result, const QuantizeOptions& options,
                  const fs::path& folder) {
  json::array modules;
  std::string csv = "layer,module,loss,samples,damp,time\n";
  for (const ModuleLine& m : result.modules) {
    modules.push_back({{"module", m.name},
                       {"loss", m.report.loss},
                       {"relative_error", m.report.relative_error},
                       {"damp_percent", m.report.damp_percent},
                       {"dead_columns", m.report.dead_columns},
                       {"clipped", m.report.clipped},
                       {"seconds", m.seconds}});
    // model.language_model.layers.N.module
    const auto dot = m.name.find('.', sizeof("model.language_model.layers.") - 1);
    const auto layer = m.name.substr(sizeof("model.language_model.layers.") - 1,
                                     dot - (sizeof("model.language_model.layers.") - 1));
    csv += fmt::format("{},{},{:.10f},{},{},{:.3f}\n", layer, m.name.substr(dot + 1), m.report.loss,
                       m.num_tokens, m.report.damp_percent, m.seconds);
  }
  const json::object report{
      {"method", options.method == Method::rtn ? "rtn" : "gptq"},
      {"quantization_config", quantization_config(options)},
      {"calibration",
       {{"rows", result.calibration_rows},
        {"tokens", result.calibration_tokens},
        {"sha256", result.calibration_sha256},
        {"seed", options.calibration.seed}}},
      {"bytes", {{"source", result.source_bytes}, {"output", result.output_bytes}}},
      {"seconds", result.seconds},
      {"modules", std::move(modules)}};
  write_file(folder / "quantize_report.json", to_json(report, 2) + "\n");
  write_file(folder / "quant_log.csv", csv);
}

}  // namespace octet::quantize
