#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "checkpoint/locate.h"
#include "cli/common.h"
#include "cli/quantize_options.h"
#include "generate/self_text.h"
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
  bool as_json = false, dry_run = false, resume = true;
  std::string serve_dtype = "float32", foem, refine, mtp_from;
  double mse = -1, damp = 0;
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
  const quantize::PhaseSeconds& p = r.phases;
  fmt::print("  forward {}, statistics {}, factors {}, columns {}, writing {}\n",
             format_duration(p.forward), format_duration(p.statistics), format_duration(p.factor),
             format_duration(p.solve), format_duration(p.write));
  if (r.resumed_layers > 0)
    fmt::print("  {} layers were done by an earlier run\n", r.resumed_layers);
  fmt::print("  peak memory {} (planned {}); report in {}\n",
             format_bytes(static_cast<double>(peak_rss_bytes())),
             format_bytes(static_cast<double>(r.planned_bytes)),
             (r.output / "quantize_report.json").string());
}

json::object plan_object(const quantize::QuantizeForecast& f, double seconds) {
  json::array items;
  for (const auto& item : f.plan.items)
    items.push_back({{"what", item.what}, {"bytes", item.bytes}});
  return {{"planned_bytes", f.plan.peak_bytes},
          {"peak_at", f.plan.peak_at},
          {"items", std::move(items)},
          {"spill_bytes", f.plan.spill_bytes},
          {"output_bytes", f.output_bytes},
          {"tokens", f.plan.tokens},
          {"passes", f.plan.passes},
          {"seconds", seconds}};
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
        {"solve", r.phases.solve},
        {"write", r.phases.write}}},
      {"peak_rss_bytes", peak_rss_bytes()},
      {"planned_bytes", r.planned_bytes},
      {"resumed_layers", r.resumed_layers},
      {"bytes", {{"source", r.source_bytes}, {"output", r.output_bytes}}},
      {"calibration",
       {{"rows", r.calibration_rows},
        {"tokens", r.calibration_tokens},
        {"sha256", r.calibration_sha256}}},
      {"relative_error", {{"mean", sum / static_cast<double>(r.modules.size())}, {"max", worst}}}};
}

// `--calibration self[:TOKENS]`: rows that the model writes, half of them documents, half chats.
void add_self_text(Options& o, const checkpoint::Checkpoint& source,
                   const tokenizer::Tokenizer& tokenizer, Machine& machine,
                   const std::string& text) {
  quantize::CalibrationOptions& c = o.calibration_options;
  generate::SelfTextOptions self{.min_tokens = c.min_tokens,
                                 .max_tokens = c.max_tokens,
                                 .seed = c.seed,
                                 .num_tokens = tokenizer.size()};
  if (text.size() > 5) {
    char* end = nullptr;
    self.tokens = std::strtoll(text.c_str() + 5, &end, 10);
    if (*end != '\0' || self.tokens < 1)
      fail(ErrorCode::invalid_argument, "--calibration {}: expected self or self:TOKENS", text);
  }
  const auto separator = tokenizer.find("<|endoftext|>");
  self.beginnings = {{separator.value_or(tokenizer.encode("\n").front())}};
  if (tokenizer.find("<|im_start|>"))
    self.beginnings.push_back(tokenizer.encode("<|im_start|>user\n"));
  require_memory(source, {.num_sequences = self.batch, .num_tokens = self.batch * self.max_tokens},
                 o.compute.memory_limit());
  // Every rank writes all of it: the rows are the same everywhere.
  model::TextModel model(*machine.backend, source);
  Progress bar("writing calibration text", self.tokens, "tokens", machine.ranks->rank() != 0);
  c.more_rows =
      generate::write_self_text(model, self, [&](std::int64_t done) { bar.update(done); });
  bar.finish();
}

// What the user should know about the text before hours of work.
void warn(const checkpoint::Checkpoint& source, const quantize::CalibrationSet& set, bool shipped) {
  std::uint64_t parameters = 0;
  for (const auto& t : source.tensors())
    parameters += static_cast<std::uint64_t>(num_elements(t.shape));
  if (shipped && parameters > 1'000'000'000)
    fmt::print(
        stderr,
        "octet: warning: {:.1f} billion parameters calibrated on the text that ships with "
        "octet, which was made for small models. Name real text of what the model will do by "
        "--calibration (docs/calibration.md)\n",
        static_cast<double>(parameters) / 1e9);
  if (set.rows.size() < 128 || set.num_tokens < 65536)
    fmt::print(
        stderr,
        "octet: warning: {} rows, {} tokens of calibration text: with fewer than 128 rows or "
        "65,536 tokens the result fits them rather than the model's work\n",
        set.rows.size(), set.num_tokens);
}

void choose_serve_dtype(const std::string& name, quantize::ScaleRule& rule) {
  if (name == "float16") {
    rule.serve = quantize::ServeType::f16;
  } else if (name == "bfloat16") {
    rule.serve = quantize::ServeType::bf16;
    // The server casts the scales too: only a scale that it can hold stays what it was.
    rule.grid = quantize::ScaleGrid::f16_bf16;
  } else if (name != "float32") {
    fail(ErrorCode::invalid_argument, "--serve-dtype {}: expected float32, float16 or bfloat16",
         name);
  }
}

// The preset's choices, then single ones over them.
void apply_preset(Options& o) {
  quantize::GptqOptions& g = o.quantize.gptq;
  const quantize::GptqOptions given = g;
  g = preset_options(o.preset, given.scale_rule.bits);
  g.group_size = given.group_size;
  if (o.damp > 0) g.damp_percent = o.damp;
  choose_serve_dtype(o.serve_dtype, g.scale_rule);
  if (o.mse >= 0 && o.mse != 0 && o.mse != 2)
    fail(ErrorCode::invalid_argument, "--mse {}: expected 0 (off) or 2 (squares)", o.mse);
  if (o.mse == 2) g.scale_rule.search = quantize::ScaleSearch::mse;
  if (o.mse == 0) g.scale_rule.search = quantize::ScaleSearch::none;
  if (!o.foem.empty()) {
    char* end = nullptr;
    g.foem_alpha = std::strtod(o.foem.c_str(), &end);
    g.foem_beta = *end == ',' ? std::strtod(end + 1, &end) : -1;
    if (*end != '\0' || g.foem_alpha < 0 || g.foem_alpha > 1 || g.foem_beta < 0 || g.foem_beta > 1)
      fail(ErrorCode::invalid_argument,
           "--foem {}: expected ALPHA,BETA between 0 and 1, like 0.25,0.2", o.foem);
  }
  if (!o.refine.empty()) {
    char* end = nullptr;
    g.refine_rounds = std::strtol(o.refine.c_str(), &end, 10);
    if (*end == ',') g.refine_sweeps = std::strtol(end + 1, &end, 10);
    if (*end != '\0' || g.refine_rounds < 0 || g.refine_rounds > 100 || g.refine_sweeps < 1 ||
        g.refine_sweeps > 100)
      fail(ErrorCode::invalid_argument, "--refine {}: expected ROUNDS or ROUNDS,SWEEPS, like 3,2",
           o.refine);
  }
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
  // The Hessians must be those of the weights alone.
  if (o.compute.activations != "auto" && o.compute.activations != "float32")
    fail(ErrorCode::invalid_argument,
         "--activations {}: quantize computes with float32 activations; expected auto or float32",
         o.compute.activations);
  o.compute.activations = "float32";
  Machine machine(o.compute);
  const bool first = machine.ranks->rank() == 0;
  const auto source = checkpoint::Checkpoint::open(checkpoint::locate_model(o.model));
  const auto tokenizer = tokenizer::Tokenizer::load(source.folder());
  const bool shipped = o.calibration.empty();
  if (shipped) o.calibration.push_back(shipped_file("data/calibration.jsonl").string());
  for (const std::string& text : o.calibration)
    if (text == "self" || text.starts_with("self:"))
      add_self_text(o, source, tokenizer, machine, text);
    else
      o.calibration_options.sources.push_back(quantize::parse_source(text));
  // Texts are separated as they were in training: by the token that ends a document.
  o.calibration_options.separator = tokenizer.find("<|endoftext|>").value_or(-1);
  std::shared_ptr<chat_template::ChatTemplate> chat;
  if (chat_template::ChatTemplate::exists(source.folder()))
    chat = std::make_shared<chat_template::ChatTemplate>(
        chat_template::ChatTemplate::load(source.folder()));
  if (chat)
    o.calibration_options.render = [chat](const json::value& messages) {
      return chat->render(chat_template::with_parsed_arguments(messages), nullptr, {});
    };
  linalg::Linalg linalg(machine.pool, o.compute.isa);
  o.quantize.max_memory = o.compute.memory_limit();
  if (!o.mtp_from.empty()) o.quantize.mtp_from = checkpoint::locate_model(o.mtp_from);
  const auto calibration = o.quantize.method == quantize::Method::gptq
                               ? quantize::load_calibration(o.calibration_options, tokenizer,
                                                            source.config().text.vocab_size)
                               : quantize::CalibrationSet();
  const auto planned = quantize::forecast(source, calibration, o.quantize);
  const double estimate = quantize::estimate_seconds(planned.plan, quantize::measure_rates(linalg));
  if (!first && o.dry_run) return;
  if (o.dry_run && o.as_json) {
    fmt::print("{}\n", to_json(plan_object(planned, estimate)));
    return;
  }
  if (first)
    fmt::print(o.dry_run ? stdout : stderr, "{}",
               quantize::describe(planned.plan, planned.output_bytes, estimate));
  if (first && o.quantize.method == quantize::Method::gptq) warn(source, calibration, shipped);
  if (o.dry_run) return;
  Progress bar("quantize", source.config().text.num_hidden_layers, "layers", !first);
  // On a terminal the modules scroll by above the bar.
  if (first && !o.as_json && ::isatty(2)) {
    fmt::print(stderr, "{:<44}{:>12}{:>12}{:>8}{:>9}{:>8}\n", "module", "rel. error", "loss",
               "damp", "clipped", "s");
    o.quantize.on_layer = [](std::span<const quantize::ModuleLine> modules) {
      for (const auto& m : modules) {
        const auto name = m.name.substr(m.name.find("layers.") + 7);
        fmt::print(stderr, "\r\033[K{:<44}{:>12.3e}{:>12.3e}{:>8.2f}{:>9}{:>8.1f}\n", name,
                   m.report.relative_error, m.report.loss, m.report.damp_percent, m.report.clipped,
                   m.seconds);
      }
    };
  }
  const auto result = quantize::quantize_model(
      source, calibration, o.output, o.quantize, *machine.backend, linalg, *machine.ranks,
      [&](std::int64_t done, std::int64_t, const std::string& what) { bar.update(done, what); });
  bar.finish();
  if (!first) return;
  if (o.as_json)
    fmt::print("{}\n", to_json(to_object(result)));
  else
    print(result);
}

}  // namespace

quantize::GptqOptions preset_options(const std::string& preset, std::int64_t bits) {
  quantize::GptqOptions g;
  g.scale_rule.bits = bits;
  if (preset == "best") {
    // Fewer bits err more, also where the calibration text says little.
    if (bits < 8) g.damp_percent = 0.1;
    return g;
  }
  if (preset != "reference")
    fail(ErrorCode::invalid_argument, "--preset {}: expected best or reference", preset);
  g.scales = quantize::ScaleSource::stale;
  g.scale_rule = {.bits = bits,
                  .grid = quantize::ScaleGrid::f32,
                  .search = quantize::ScaleSearch::none,
                  .reference_quirk = true};
  g.target_shift = 0;
  g.residual_shift = 0;
  g.refine_rounds = 0;
  g.row_fallback = false;
  g.token_weights = false;
  if (bits == 8) return g;
  // FOEM visits columns in their natural order: it never applied the group-aware one.
  g.order = quantize::ColumnOrder::natural;
  g.foem_alpha = 0.25;
  g.foem_beta = 0.2;
  g.scale_rule.search = quantize::ScaleSearch::mse;
  return g;
}

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
  c->add_option("--damp", o->damp,
                "share of the mean diagonal added to the Hessian; default: the preset's");
  c->add_option("--calibration", o->calibration,
                "FILE[:WEIGHT], repeatable: jsonl (text, messages, instruction and output, "
                "input_ids) or plain text, also .gz and .zst; self[:TOKENS]: rows that the model "
                "writes itself; default: a generated mix");
  c->add_option("--samples", o->calibration_options.samples, "calibration rows at most")
      ->capture_default_str();
  c->add_option("--min-tokens", o->calibration_options.min_tokens,
                "tokens of a row at least, where rows are drawn by length")
      ->capture_default_str();
  c->add_option("--max-tokens", o->calibration_options.max_tokens, "tokens of a row at most")
      ->capture_default_str();
  c->add_option("--seed", o->calibration_options.seed, "choice of rows, if there are more")
      ->capture_default_str();
  c->add_option("--shard-size", o->shard_size, "largest file of the result")->capture_default_str();
  c->add_option(
       "--serve-dtype", o->serve_dtype,
       "what the server that codes and scales are chosen for multiplies in: float32 (octet), "
       "float16, bfloat16 (other servers' --dtype)")
      ->capture_default_str();
  c->add_option("--mse", o->mse, "2: scales by least squared error of the weights; 0: no search");
  c->add_option("--foem", o->foem, "ALPHA,BETA of first-order error correction, e.g. 0.25,0.2");
  c->add_option("--refine", o->refine,
                "ROUNDS[,SWEEPS] of coordinate descent after the columns; default 3,2 (best), 0 "
                "(reference)");
  c->add_option("--mtp-from", o->mtp_from,
                "checkpoint to take the mtp.* tensors from, if MODEL has none");
  c->add_flag("--dry-run", o->dry_run, "print the plan (memory, time, sizes) and stop");
  c->add_flag("--overwrite", o->quantize.overwrite,
              "replace OUT if it holds a model; start an unfinished run again");
  c->add_flag("--resume", o->resume,
              "go on with an unfinished run of the same settings: the default");
  c->add_flag("--json", o->as_json, "print one JSON object");
  o->compute.add_to(*c, false);
  return [o] { run(*o); };
}

}  // namespace octet::cli
