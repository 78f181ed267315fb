#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "cli/bench_cases.h"
#include "cli/bench_engine.h"
#include "cli/bench_quantize.h"
#include "cli/common.h"
#include "model/synthetic.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/timed_backend.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model, synthetic;
  std::vector<std::int64_t> prompts{128, 512}, batches{1}, contexts{128};
  std::int64_t decode = 32, repeat = 3, speculative = 0;
  bool as_json = false, kernels = false;
  ComputeOptions compute;
  bool engine = false, http = false, sampled = false;
  bool quantize = false;
  BenchQuantizeOptions quantize_options;
};

// Room for all cases at once: they keep their sequences while they take turns.
model::PoolOptions pool_options(const Options& o) {
  model::PoolOptions caches{.num_sequences = 1,
                            .num_tokens = *std::ranges::max_element(o.prompts) + 64,
                            .kv_dtype = o.compute.kv_dtype()};
  if (o.speculative > 0) caches.max_draft_rows = o.speculative + 1;
  // A round more than measured: the first step, and the one that --kernels looks at.
  const auto tokens = [&](std::int64_t context) {
    return context + o.decode * (o.repeat + 1) + 1 + o.speculative + 2 * ops::kPageTokens;
  };
  for (const std::int64_t context : o.contexts) {
    for (const std::int64_t batch : o.batches) {
      caches.num_sequences += batch;
      caches.num_tokens += batch * tokens(context);
    }
    if (o.speculative > 0) {
      caches.num_sequences += 1;
      caches.num_tokens += tokens(context);
    }
  }
  return caches;
}

double bandwidth_fraction(const BenchCase& c, const ops::cpu::MachineSpeed& speed) {
  return median(c.rates()) / static_cast<double>(c.rows) * c.bytes_per_step /
         speed.read_bytes_per_second;
}

double peak_fraction(const BenchCase& c, double codes_peak) {
  return median(c.rates()) * c.flops_per_token / codes_peak;
}

// The case of one row at the same context, which others are compared with.
const BenchCase* single_row(const std::vector<std::unique_ptr<BenchCase>>& cases,
                            const BenchCase& like) {
  for (const auto& c : cases)
    if (c->kind == "decode" && c->batch == 1 && c->context == like.context && c.get() != &like)
      return c.get();
  return nullptr;
}

void print_cases(const std::vector<std::unique_ptr<BenchCase>>& cases,
                 const ops::cpu::MachineSpeed& speed, double codes_peak) {
  fmt::print("  {:<9}{:>8}{:>9}{:>7}{:>6}{:>12}{:>11}{:>11}{:>11}{:>12}\n", "case", "prompt",
             "context", "batch", "rows", "tokens/s", "min", "max", "of limit", "of 1 row");
  for (const auto& c : cases) {
    const std::vector<double> rates = c->rates();
    const BenchCase* one = c->kind == "prefill" ? nullptr : single_row(cases, *c);
    fmt::print("  {:<9}{:>8}{:>9}{:>7}{:>6}{:>12.2f}{:>11.2f}{:>11.2f}{:>9.1f} %{:>12}\n", c->kind,
               c->prompt, c->context, c->batch, c->rows, median(rates), rates.front(), rates.back(),
               100 * std::max(bandwidth_fraction(*c, speed), peak_fraction(*c, codes_peak)),
               one ? fmt::format("{:.2f}x", median(rates) / median(one->rates())) : "");
  }
}

json::object case_json(const BenchCase& c, const ops::cpu::MachineSpeed& speed, double codes_peak) {
  const std::vector<double> rates = c.rates();
  return {{"kind", c.kind},
          {"prompt", c.prompt},
          {"context", c.context},
          {"batch", c.batch},
          {"rows", c.rows},
          {"tokens_per_second",
           {{"median", median(rates)}, {"min", rates.front()}, {"max", rates.back()}}},
          {"bandwidth_fraction",
           c.bytes_per_step > 0 ? json::value(bandwidth_fraction(c, speed)) : json::value()},
          {"peak_fraction",
           c.flops_per_token > 0 ? json::value(peak_fraction(c, codes_peak)) : json::value()}};
}

void run(const Options& o) {
  if (o.quantize) {
    if (o.synthetic.empty() || !o.model.empty())
      fail(ErrorCode::invalid_argument, "--quantize takes --synthetic SHAPE, like 27b:layers=4");
    BenchQuantizeOptions q = o.quantize_options;
    q.synthetic = o.synthetic;
    q.as_json = o.as_json;
    bench_quantize(q, o.compute);
    return;
  }
  if (!o.engine && (o.http || o.sampled))
    fail(ErrorCode::invalid_argument, "--http and --sampled: expected --engine, too");
  if (!o.engine && o.model.empty() == o.synthetic.empty())
    fail(ErrorCode::invalid_argument, "name a MODEL or a shape by --synthetic");
  const auto positive = [](auto n) { return n >= 1; };
  if (!positive(o.repeat) || !positive(o.decode) || !std::ranges::all_of(o.prompts, positive) ||
      !std::ranges::all_of(o.batches, positive) || !std::ranges::all_of(o.contexts, positive))
    fail(ErrorCode::invalid_argument,
         "--prompt, --batch, --context, --decode, --repeat: expected 1 or more");
  if (o.engine) {
    BenchEngineOptions e{.synthetic = o.synthetic,
                         .concurrency = o.batches,
                         .tokens = o.decode,
                         .rounds = o.repeat,
                         .http = o.http,
                         .sampled = o.sampled,
                         .as_json = o.as_json};
    if (!o.model.empty()) e.model = o.model;
    bench_engine(e, o.compute);
    return;
  }
  if (o.speculative < 0 || o.speculative >= ops::kMaxDraftRows)
    fail(ErrorCode::invalid_argument, "--speculative {}: expected 0 to {}", o.speculative,
         ops::kMaxDraftRows - 1);
  Machine machine(o.compute);
  const std::string isa =
      machine.backend->name().starts_with("cpu/") ? machine.backend->name().substr(4) : "auto";
  ops::TimedBackend* timed = nullptr;
  if (o.kernels) {
    auto wrapped = std::make_unique<ops::TimedBackend>(std::move(machine.backend));
    timed = wrapped.get();
    machine.backend = std::move(wrapped);
  }
  const model::PoolOptions caches = pool_options(o);
  std::unique_ptr<LoadedModel> loaded;
  std::unique_ptr<model::TextModel> made;
  if (!o.model.empty()) {
    loaded = std::make_unique<LoadedModel>(o.model, machine, o.compute, caches, false);
  } else {
    const auto shape = model::published_shape(o.synthetic);
    fmt::print(stderr, "making random weights of {}\n", o.synthetic);
    made = std::make_unique<model::TextModel>(
        *machine.backend,
        model::synthetic_parts(*machine.backend, shape, model::synthetic_bits(o.synthetic)));
  }
  model::TextModel& model = loaded ? *loaded->model : *made;
  model::SequencePool pool(*machine.backend, model.config(), caches);
  BenchModel bench(model, pool, o.decode);
  std::vector<std::unique_ptr<BenchCase>> cases;
  for (const std::int64_t prompt : o.prompts) cases.push_back(bench.prefill(prompt));
  for (const std::int64_t context : o.contexts) {
    for (const std::int64_t batch : o.batches) cases.push_back(bench.decode(context, batch));
    if (o.speculative > 0) cases.push_back(bench.verify(context, o.speculative));
  }
  // Measured right before and after the cases: the machine's speed drifts.
  auto speed = ops::cpu::measure_machine(isa, machine.pool);
  run_rounds(cases, o.repeat);
  const auto after = ops::cpu::measure_machine(isa, machine.pool);
  speed.read_bytes_per_second = std::max(speed.read_bytes_per_second, after.read_bytes_per_second);
  speed.f32_flops_per_second = std::max(speed.f32_flops_per_second, after.f32_flops_per_second);
  speed.int8_ops_per_second = std::max(speed.int8_ops_per_second, after.int8_ops_per_second);
  const bool int8 = o.compute.activations != "float32" && o.compute.activations != "bf16" &&
                    o.compute.backend != "reference" &&
                    (!loaded || loaded->checkpoint.config().quantization);
  // Inputs of two int8 terms take two products each.
  const double codes_peak = !int8                             ? speed.f32_flops_per_second
                            : o.compute.activations == "int8" ? speed.int8_ops_per_second
                                                              : speed.int8_ops_per_second / 2;
  if (!o.as_json) {
    fmt::print(
        "{} on {} threads, {}: reads {:.1f} GB/s, {:.0f} GOP/s int8, {:.0f} GFLOP/s "
        "float32\n",
        o.model.empty() ? "random weights of " + o.synthetic : o.model, machine.pool.num_threads(),
        machine.backend->name(), speed.read_bytes_per_second / 1e9, speed.int8_ops_per_second / 1e9,
        speed.f32_flops_per_second / 1e9);
    if (loaded)
      fmt::print("  loaded in {:.2f} s, weights {}\n", loaded->seconds,
                 loaded->start().at("weights").as_string().c_str());
    fmt::print("  weights read by a step: {}\n",
               format_bytes(static_cast<double>(model.bytes_per_step())));
    print_cases(cases, speed, codes_peak);
    fmt::print(
        "  limit of decode and verify: bytes of weights, states and KV cache over the read "
        "bandwidth;\n"
        "  of prefill: multiply-adds of the linears over the {} peak. Both measured in this run.\n",
        !int8                             ? "float32"
        : o.compute.activations == "int8" ? "int8"
                                          : "halved int8");
  }
  json::array list;
  for (const auto& c : cases) {
    json::object entry = case_json(*c, speed, codes_peak);
    if (timed) {
      timed->reset();
      c->round();
      if (o.as_json)
        entry["kernels"] = kernels_json(timed->times(), speed, codes_peak);
      else
        print_kernels(*c, timed->times(), speed, codes_peak);
    }
    list.push_back(std::move(entry));
  }
  if (!o.as_json) {
    if (timed)
      fmt::print(
          "  limit: what is larger of bytes over the read bandwidth (m) and operations over their "
          "peak (a);\n  what stays in a cache from one operation to the next may exceed it.\n");
    return;
  }
  fmt::print("{}\n",
             to_json(json::object{{"machine",
                                   {{"read_gb_s", speed.read_bytes_per_second / 1e9},
                                    {"int8_gop_s", speed.int8_ops_per_second / 1e9},
                                    {"fp32_gflop_s", speed.f32_flops_per_second / 1e9},
                                    {"threads", machine.pool.num_threads()},
                                    {"isa", isa},
                                    {"activations", o.compute.activations}}},
                                  {"start", loaded ? json::value(loaded->start()) : json::value()},
                                  {"cases", std::move(list)}}));
}

}  // namespace

Command add_bench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("bench", "Measures prefill and decode beside the machine's limits");
  c->add_option("MODEL", o->model, "folder, `tiny`, or hub id");
  c->add_option(
      "--synthetic", o->synthetic,
      "random weights of a published size: 0.8b, 2b, 4b, 9b, 27b; with :layers=N, :bits=4");
  c->add_option("--prompt", o->prompts, "prefill lengths")->delimiter(',')->capture_default_str();
  c->add_option("--decode", o->decode, "tokens of a decode measurement")->capture_default_str();
  c->add_option("--batch", o->batches, "sequences decoded together")
      ->delimiter(',')
      ->capture_default_str();
  c->add_option("--context", o->contexts, "tokens that each decoded sequence holds already")
      ->delimiter(',')
      ->capture_default_str();
  c->add_option("--speculative", o->speculative,
                "also measure a step that checks K drafted tokens of one sequence");
  c->add_flag("--kernels", o->kernels,
              "where each case's time goes: every operation beside its roofline");
  c->add_option("--repeat", o->repeat, "repetitions; the median is reported")
      ->capture_default_str();
  c->add_flag(
      "--engine", o->engine,
      "whole answers by the engine of `octet serve`: --batch at once, --decode tokens each; "
      "MODEL (default tiny) is the tokenizer of a --synthetic shape");
  c->add_flag("--http", o->http, "with --engine: the same through the server, by turns");
  c->add_flag("--sampled", o->sampled,
              "with --engine: temperature 1, top_k 20, top_p 0.95 instead of greedy");
  c->add_flag("--quantize", o->quantize,
              "quantize the --synthetic shape instead: time by phase, memory beside the plan");
  c->add_option("--preset", o->quantize_options.preset, "with --quantize: best or reference")
      ->capture_default_str();
  c->add_option("--bits", o->quantize_options.bits, "with --quantize: 8 or 4")
      ->capture_default_str();
  c->add_option("--samples", o->quantize_options.samples, "with --quantize: calibration rows")
      ->capture_default_str();
  c->add_option("--tokens", o->quantize_options.tokens, "with --quantize: tokens of a row")
      ->capture_default_str();
  c->add_option("--work-folder", o->quantize_options.work_folder,
                "with --quantize: where the weights go for that time; default: temporary folder");
  c->add_flag("--json", o->as_json, "print one JSON object");
  o->compute.add_to(*c);
  o->compute.add_loading_to(*c);
  return [o] { run(*o); };
}

}  // namespace octet::cli
