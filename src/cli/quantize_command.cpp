#include <CLI/CLI.hpp>
#include <cstdio>

#include "checkpoint/locate.h"
#include "cli/common.h"
#include "quantize/quantize_model.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model, output, method = "gptq", preset = "best", order, shard_size = "4GB";
  std::vector<std::string> calibration;
  quantize::QuantizeOptions quantize;
  quantize::CalibrationOptions calibration_options;
  ComputeOptions compute;
  bool as_json = false;
};

void print(const quantize::QuantizeResult& r) {
  double sum = 0, worst = 0;
  std::string worst_name;
  for (const auto& m : r.modules) {
    sum += m.report.relative_error;
    if (m.report.relative_error > worst) worst = m.report.relative_error, worst_name = m.name;
  }
  fmt::print("{}: {} modules, {} -> {} in {}\n", r.output.string(), r.modules.size(),
             format_bytes(static_cast<double>(r.source_bytes)),
             format_bytes(static_cast<double>(r.output_bytes)), format_duration(r.seconds));
  if (r.calibration_rows > 0)
    fmt::print(
        "  calibrated on {} rows, {} tokens; relative error mean {:.2e}, largest {:.2e} ({})\n",
        r.calibration_rows, r.calibration_tokens, sum / static_cast<double>(r.modules.size()),
        worst, worst_name);
  fmt::print("  peak memory {}; report in {}\n",
             format_bytes(static_cast<double>(peak_rss_bytes())),
             (r.output / "quantize_report.json").string());
}

json::object to_object(const quantize::QuantizeResult& r) {
  double sum = 0, worst = 0;
  for (const auto& m : r.modules) {
    sum += m.report.relative_error;
    worst = std::max(worst, m.report.relative_error);
  }
  return {
      {"output", r.output.string()},
      {"modules", r.modules.size()},
      {"seconds",
       {{"total", r.seconds},
        {"load", r.phases.load},
        {"forward", r.phases.forward},
        {"statistics", r.phases.statistics},
        {"factor", r.phases.factor},
        {"solve", r.phases.solve}}},
      {"peak_rss_bytes", peak_rss_bytes()},
      {"bytes", {{"source", r.source_bytes}, {"output", r.output_bytes}}},
      {"calibration",
       {{"rows", r.calibration_rows},
        {"tokens", r.calibration_tokens},
        {"sha256", r.calibration_sha256}}},
      {"relative_error", {{"mean", sum / static_cast<double>(r.modules.size())}, {"max", worst}}}};
}

// The preset's choices, then single ones over them.
void apply_preset(Options& o) {
  quantize::GptqOptions& g = o.quantize.gptq;
  if (o.preset == "reference") {
    g.scales = quantize::ScaleSource::stale;
    g.scale_rule = {.bits = g.scale_rule.bits,
                    .grid = quantize::ScaleGrid::f32,
                    .search = quantize::ScaleSearch::none,
                    .reference_quirk = true};
    g.target_shift = 0;
    g.refine_rounds = 0;
    g.row_fallback = false;
    g.token_weights = false;
    if (g.scale_rule.bits < 8) {
      // FOEM with its columns in natural order: it never applied group-aware order.
      g.order = quantize::ColumnOrder::natural;
      g.foem_alpha = 0.25;
      g.foem_beta = 0.2;
      g.scale_rule.search = quantize::ScaleSearch::mse;
    }
  } else if (o.preset != "best") {
    fail(ErrorCode::invalid_argument, "--preset {}: expected best or reference", o.preset);
  }
  if (const char* x = std::getenv("X_SCALES")) g.scales = std::string(x)=="original"?quantize::ScaleSource::original:std::string(x)=="fresh"?quantize::ScaleSource::fresh:quantize::ScaleSource::feedback;
  if (const char* x = std::getenv("X_REFINE")) g.refine_rounds = atoi(x);
  if (const char* x = std::getenv("X_SWEEPS")) g.refine_sweeps = atoi(x);
  if (const char* x = std::getenv("X_SHIFT")) g.target_shift = atof(x);
  if (const char* x = std::getenv("X_TOKW")) g.token_weights = atoi(x);
  if (const char* x = std::getenv("X_FALL")) g.row_fallback = atoi(x);
  if (const char* x = std::getenv("X_GRID")) g.scale_rule.grid = quantize::ScaleGrid(atoi(x));
  if (const char* x = std::getenv("X_SERVE")) g.scale_rule.serve = quantize::ServeType(atoi(x));
  if (o.order == "natural") {
    g.order = quantize::ColumnOrder::natural;
  } else if (o.order == "descending") {
    g.order = quantize::ColumnOrder::descending;
    g.scales = quantize::ScaleSource::original;
  } else if (!o.order.empty() && o.order != "group_aware") {
    fail(ErrorCode::invalid_argument, "--order {}: expected group_aware, descending or natural",
         o.order);
  }
}

void run(Options& o) {
  if (o.method != "gptq" && o.method != "rtn")
    fail(ErrorCode::invalid_argument, "--method {}: expected gptq or rtn", o.method);
  o.quantize.method = o.method == "gptq" ? quantize::Method::gptq : quantize::Method::rtn;
  apply_preset(o);
  o.quantize.shard_bytes = parse_bytes(o.shard_size);
  if (o.calibration_options.samples < 1 || o.calibration_options.max_tokens < 16)
    fail(ErrorCode::invalid_argument, "--samples and --max-tokens: expected 1 and 16 or more");
  Machine machine(o.compute);
  const auto source = checkpoint::Checkpoint::open(checkpoint::locate_model(o.model));
  const auto tokenizer = tokenizer::Tokenizer::load(source.folder());
  if (o.calibration.empty())
    o.calibration.push_back(shipped_file("data/calibration.jsonl").string());
  o.calibration_options.files.assign(o.calibration.begin(), o.calibration.end());
  std::shared_ptr<chat_template::ChatTemplate> chat;
  if (chat_template::ChatTemplate::exists(source.folder()))
    chat = std::make_shared<chat_template::ChatTemplate>(
        chat_template::ChatTemplate::load(source.folder()));
  if (chat)
    o.calibration_options.render = [chat](const json::value& messages) {
      return chat->render(chat_template::with_parsed_arguments(messages), nullptr, {});
    };
  linalg::Linalg linalg(machine.pool, o.compute.isa);
  Progress bar("quantize", source.config().text.num_hidden_layers, "layers");
  const auto calibration =
      o.quantize.method == quantize::Method::gptq
          ? quantize::load_calibration(o.calibration_options, tokenizer, source.config().text.vocab_size)
          : quantize::CalibrationSet();
  const auto result = quantize::quantize_model(
      source, calibration, o.output, o.quantize, *machine.backend, linalg,
      [&](std::int64_t done, std::int64_t, const std::string& what) { bar.update(done, what); });
  bar.finish();
  if (o.as_json)
    fmt::print("{}\n", to_json(to_object(result)));
  else
    print(result);
}

}  // namespace

Command add_quantize(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("quantize", "Makes an 8- or 4-bit GPTQ checkpoint");
  c->add_option("MODEL", o->model, "16-bit checkpoint: folder, `tiny`, or hub id")->required();
  c->add_option("OUT", o->output, "folder of the result; complete or not there")->required();
  c->add_option("--bits", o->quantize.gptq.scale_rule.bits, "8 or 4")->capture_default_str();
  c->add_option("--group-size", o->quantize.gptq.group_size, "32, 64, 128, or -1 for whole rows")
      ->capture_default_str();
  c->add_option("--method", o->method, "gptq, or rtn (round to nearest, no calibration)")
      ->capture_default_str();
  c->add_option("--preset", o->preset,
                "best: scales searched beforehand; reference: the recipe of the published 8-bit "
                "checkpoints")
      ->capture_default_str();
  c->add_option("--order", o->order,
                "columns: group_aware (default), descending (scales set beforehand), natural");
  c->add_option("--damp", o->quantize.gptq.damp_percent,
                "share of the mean diagonal added to the Hessian")
      ->capture_default_str();
  c->add_option("--calibration", o->calibration,
                "text, repeatable: jsonl (text, messages, instruction and output, input_ids) or "
                "plain text; default: a generated mix");
  c->add_option("--samples", o->calibration_options.samples, "calibration rows at most")
      ->capture_default_str();
  c->add_option("--max-tokens", o->calibration_options.max_tokens, "tokens of a row at most")
      ->capture_default_str();
  c->add_option("--seed", o->calibration_options.seed, "choice of rows, if there are more")
      ->capture_default_str();
  c->add_option("--shard-size", o->shard_size, "largest file of the result")->capture_default_str();
  c->add_flag("--overwrite", o->quantize.overwrite, "replace OUT if it holds a model");
  c->add_flag("--json", o->as_json, "print one JSON object");
  o->compute.add_to(*c, false);
  return [o] { run(*o); };
}

}  // namespace octet::cli
