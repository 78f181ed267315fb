#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/common.h"
#include "evaluate/perplexity.h"
#include "quantize/model_card.h"
#include "runtime/base/progress.h"
#include "runtime/base/text_file.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model, base, text, rows;
  evaluate::PerplexityOptions perplexity;
  ComputeOptions compute;
  bool as_json = false, write_card = false;
};

// Rows of a jsonl file with `text`, joined by blank lines.
std::string joined_rows(const std::string& path) {
  return fmt::format("{}", fmt::join(read_text_rows(path), "\n\n"));
}

json::object to_object(const Options& o, const evaluate::PerplexityResult& r) {
  json::object out{
      {"model", o.model},
      {"text", o.text.empty() ? o.rows : o.text},
      {"tokens", r.tokens},
      {"windows", r.windows},
      {"scored", r.scored},
      {"context", o.perplexity.context},
      {"stride", o.perplexity.stride},
      {"nll", r.nll},
      {"perplexity", r.perplexity},
      {"stderr", r.stderr_},
      {"variants", {{"a", r.perplexity}, {"a_prime", r.variant_a_prime}, {"b", r.variant_b}}},
      {"seconds", r.seconds},
      {"tokens_per_second", static_cast<double>(r.forwarded) / r.seconds}};
  if (r.base)
    out["base"] = {{"model", o.base},
                   {"nll", r.base->nll},
                   {"perplexity", r.base->perplexity},
                   {"delta_percent", r.base->delta_percent},
                   {"delta_stderr", r.base->delta_stderr},
                   {"kl_mean", r.base->kl_mean},
                   {"kl_stderr", r.base->kl_stderr},
                   {"kl_p99", r.base->kl_p99},
                   {"kl_max", r.base->kl_max},
                   {"same_top", r.base->same_top}};
  return out;
}

void print(const Options& o, const evaluate::PerplexityResult& r) {
  fmt::print("{}: {} tokens, {} windows of {} every {}\n", o.text.empty() ? o.rows : o.text,
             r.tokens, r.windows, o.perplexity.context, o.perplexity.stride);
  fmt::print("  perplexity  {:.5f} +- {:.5f}   (A' {:.5f}, B {:.5f})\n", r.perplexity, r.stderr_,
             r.variant_a_prime, r.variant_b);
  if (r.base) {
    fmt::print("  base        {:.5f}   {}\n", r.base->perplexity, o.base);
    fmt::print("  difference  {:+.4f} % +- {:.4f} %\n", r.base->delta_percent,
               r.base->delta_stderr);
    fmt::print(
        "  KL divergence from the base: mean {:.3e} +- {:.1e}, p99 {:.3e}, max {:.3e} nats\n",
        r.base->kl_mean, r.base->kl_stderr, r.base->kl_p99, r.base->kl_max);
    fmt::print("  same most likely token: {:.3f} %\n", 100 * r.base->same_top);
  }
  fmt::print("  {} at {:.0f} tokens/s\n", format_duration(r.seconds),
             static_cast<double>(r.forwarded) / r.seconds);
}

void write_card(const Options& o, const std::filesystem::path& folder,
                const evaluate::PerplexityResult& r) {
  const std::filesystem::path text(o.text.empty() ? o.rows : o.text);
  quantize::write_card_row(
      folder, {.text = text.filename().string(),
               .protocol = fmt::format("{} / {}", o.perplexity.context, o.perplexity.stride),
               .base = fmt::format("{:.5f}", r.base->perplexity),
               .perplexity = fmt::format("{:.5f}", r.perplexity),
               .difference =
                   fmt::format("{:+.3f} % ± {:.3f} %", r.base->delta_percent, r.base->delta_stderr),
               .divergence = fmt::format("{:.3e} ± {:.1e}", r.base->kl_mean, r.base->kl_stderr),
               .same_top = fmt::format("{:.2f} %", 100 * r.base->same_top)});
}

void run(const Options& o) {
  if (o.write_card && o.base.empty())
    fail(ErrorCode::invalid_argument, "--write-card compares two checkpoints; name one by --base");
  if (o.text.empty() == o.rows.empty())
    fail(ErrorCode::invalid_argument, "give the text by --text FILE or --rows FILE");
  Machine machine(o.compute);
  const bool first = machine.ranks->rank() == 0;
  const model::PoolOptions caches{
      .num_sequences = std::max<std::int64_t>(
          1, o.perplexity.step_rows / std::max<std::int64_t>(1, o.perplexity.context)),
      .num_tokens = std::max(o.perplexity.step_rows, o.perplexity.context)};
  LoadedModel loaded(o.model, machine, o.compute, caches, o.as_json || !first);
  std::unique_ptr<LoadedModel> base;
  if (!o.base.empty()) {
    ComputeOptions as_published = o.compute;
    as_published.hf_overrides.clear();  // what they change can be compared
    base =
        std::make_unique<LoadedModel>(o.base, machine, as_published, caches, o.as_json || !first);
  }
  const std::string text = o.text.empty() ? joined_rows(o.rows) : read_text_file(o.text);
  const auto ids = loaded.tokenizer->encode(text, false);
  std::unique_ptr<Progress> bar;
  const auto result =
      evaluate::perplexity(*loaded.model, base ? base->model.get() : nullptr, ids, o.perplexity,
                           machine.pool, *machine.ranks, [&](std::int64_t done, std::int64_t all) {
                             if (!first) return;
                             if (!bar)
                               bar = std::make_unique<Progress>("perplexity", all, "tokens");
                             bar->update(done);
                           });
  bar.reset();
  if (!first) return;
  if (o.write_card) write_card(o, loaded.checkpoint.folder(), result);
  if (o.as_json)
    fmt::print("{}\n", to_json(to_object(o, result)));
  else
    print(o, result);
}

}  // namespace

Command add_perplexity(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("perplexity",
                               "Measures perplexity, and divergence from another checkpoint");
  c->add_option("MODEL", o->model, "folder, `tiny`, or hub id")->required();
  c->add_option("--text", o->text, "text file, taken as it is");
  c->add_option("--rows", o->rows, "jsonl file with `text`; rows are joined by blank lines");
  c->add_option("--base", o->base, "checkpoint to compare with over the same windows");
  c->add_option("--context", o->perplexity.context, "tokens of a window")->capture_default_str();
  c->add_option("--stride", o->perplexity.stride, "tokens between windows")->capture_default_str();
  c->add_option("--max-windows", o->perplexity.max_windows, "stop after so many; 0: all")
      ->capture_default_str();
  c->add_flag("--write-card", o->write_card,
              "with --base: put the figures into MODEL/README.md, the model's card");
  c->add_flag("--json", o->as_json, "print one JSON object");
  o->compute.activations = "float32";  // exact unless asked otherwise: this command judges
  o->compute.add_to(*c, false);
  o->compute.add_loading_to(*c);
  return [o] { run(*o); };
}

}  // namespace octet::cli
