#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "cli/bench_quantize.h"
#include "cli/common.h"
#include "model/synthetic.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "runtime/ops/cpu/cpu_backend.h"

namespace octet::cli {

namespace {

struct Options {
  std::string model, synthetic;
  std::vector<std::int64_t> prompts{128, 512}, batches{1};
  std::int64_t decode = 32, repeat = 3;
  bool as_json = false;
  ComputeOptions compute;
  bool quantize = false;
  BenchQuantizeOptions quantize_options;
};

struct Case {
  std::string kind;
  std::int64_t prompt = 0, context = 0, batch = 1, rows = 0;
  std::vector<double> rates;  // tokens a second, one for each repetition
  double bytes_per_step = 0, flops_per_token = 0;
};

using Clock = std::chrono::steady_clock;

class Bench {
 public:
  Bench(const Options& o, Machine& machine, model::TextModel& model, model::SequencePool& pool)
      : o_(o), machine_(machine), model_(model), pool_(pool) {
    const auto& c = model.config();
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
      flops_ += 6.0 * static_cast<double>(c.hidden_size * c.intermediate_size);
      if (c.is_full_attention(i))
        flops_ += 2.0 * static_cast<double>(c.hidden_size * c.head_dim) *
                  static_cast<double>(3 * c.num_attention_heads + 2 * c.num_key_value_heads);
      else
        flops_ +=
            2.0 * static_cast<double>(c.hidden_size) *
            static_cast<double>(c.conv_dim() + 2 * c.value_dim() + 2 * c.linear_num_value_heads);
    }
    const double states = static_cast<double>(c.linear_num_value_heads * c.linear_key_head_dim *
                                              c.linear_value_head_dim);
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
      if (c.is_full_attention(i))
        kv_bytes_ += 2.0 * static_cast<double>(c.num_key_value_heads * c.head_dim) * 4;
      else
        state_bytes_ += 2 * states * 4;  // read and written
    }
  }

  Case prefill(std::int64_t prompt) {
    Case c{.kind = "prefill",
           .prompt = prompt,
           .context = 0,
           .batch = 1,
           .rows = prompt,
           .flops_per_token = flops_};
    for (std::int64_t r = 0; r < o_.repeat; ++r) {
      model::Sequence s = pool_.create();
      const auto start = Clock::now();
      feed(s, prompt);
      c.rates.push_back(static_cast<double>(prompt) / seconds(start));
    }
    return c;
  }

  Case decode(std::int64_t context, std::int64_t batch) {
    Case c{.kind = "decode", .prompt = 0, .context = context, .batch = batch, .rows = batch};
    c.bytes_per_step =
        static_cast<double>(model_.bytes_per_step()) +
        static_cast<double>(batch) *
            (state_bytes_ + kv_bytes_ * static_cast<double>(context + o_.decode / 2));
    std::vector<model::Sequence> sequences;
    for (std::int64_t i = 0; i < batch; ++i) {
      sequences.push_back(pool_.create());
      feed(sequences.back(), context);
    }
    const std::vector<std::int32_t> id{1};
    std::vector<float> logits;
    std::vector<std::int32_t> last;
    for (std::int64_t i = 0; i < batch; ++i) last.push_back(static_cast<std::int32_t>(i));
    const auto step = [&] {
      std::vector<model::StepRows> rows;
      for (auto& s : sequences) rows.push_back({.sequence = &s, .ids = id});
      model_.logits(model_.forward(rows, pool_), last, logits);
    };
    step();  // allocations happen now
    for (std::int64_t r = 0; r < o_.repeat; ++r) {
      check_interrupt();
      const auto start = Clock::now();
      for (std::int64_t i = 0; i < o_.decode; ++i) step();
      c.rates.push_back(static_cast<double>(batch * o_.decode) / seconds(start));
    }
    return c;
  }

 private:
  static double seconds(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  void feed(model::Sequence& s, std::int64_t tokens) {
    const std::vector<std::int32_t> ids(512, 1);
    for (std::int64_t done = 0; done < tokens; done += 512) {
      check_interrupt();
      const model::StepRows rows[] = {{.sequence = &s,
                                       .ids = std::span(ids).first(static_cast<std::size_t>(
                                           std::min<std::int64_t>(512, tokens - done)))}};
      model_.forward(rows, pool_);
    }
  }

  const Options& o_;
  Machine& machine_;
  model::TextModel& model_;
  model::SequencePool& pool_;
  double flops_ = 0, state_bytes_ = 0, kv_bytes_ = 0;
};

double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v.size() % 2 ? v[v.size() / 2] : (v[v.size() / 2 - 1] + v[v.size() / 2]) / 2;
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
  if (o.model.empty() == o.synthetic.empty())
    fail(ErrorCode::invalid_argument, "name a MODEL or a shape by --synthetic");
  if (o.repeat < 1 || o.decode < 1 ||
      std::ranges::any_of(
          o.prompts, [](auto n) { return n < 1; }) ||
      std::ranges::any_of(o.batches, [](auto n) { return n < 1; }))
    fail(ErrorCode::invalid_argument, "--prompt, --batch, --decode, --repeat: expected 1 or more");
  Machine machine(o.compute);
  const std::string isa =
      machine.backend->name().starts_with("cpu/") ? machine.backend->name().substr(4) : "auto";
  std::unique_ptr<LoadedModel> loaded;
  std::unique_ptr<model::TextModel> made;
  const std::int64_t most = *std::ranges::max_element(o.batches);
  const std::int64_t longest = *std::ranges::max_element(o.prompts);
  const model::PoolOptions caches{
      .num_sequences = most,
      .num_tokens = std::max(longest, most * (128 + o.decode * (o.repeat + 1))) + most * 64,
      .kv_dtype = o.compute.kv_dtype()};
  if (!o.model.empty()) {
    loaded = std::make_unique<LoadedModel>(o.model, machine, o.compute, caches, false);
  } else {
    const auto shape = model::published_shape(o.synthetic);
    fmt::print(stderr, "making random weights of {}\n", o.synthetic);
    made = std::make_unique<model::TextModel>(*machine.backend,
                                              model::synthetic_parts(*machine.backend, shape));
  }
  model::TextModel& model = loaded ? *loaded->model : *made;
  model::SequencePool pool(*machine.backend, model.config(), caches);
  // Measured right before and after the cases: the machine's speed drifts.
  auto speed = ops::cpu::measure_machine(isa, machine.pool);
  Bench bench(o, machine, model, pool);
  std::vector<Case> cases;
  const auto add = [&](Case c) {
    cases.push_back(std::move(c));
    fmt::print(stderr, "  {} {}: {:.2f} tokens/s\n", cases.back().kind,
               cases.back().kind == "prefill" ? cases.back().prompt : cases.back().batch,
               median(cases.back().rates));
  };
  for (const std::int64_t prompt : o.prompts) add(bench.prefill(prompt));
  for (const std::int64_t batch : o.batches) add(bench.decode(128, batch));
  const auto after = ops::cpu::measure_machine(isa, machine.pool);
  speed.read_bytes_per_second = std::max(speed.read_bytes_per_second, after.read_bytes_per_second);
  speed.f32_flops_per_second = std::max(speed.f32_flops_per_second, after.f32_flops_per_second);
  speed.int8_ops_per_second = std::max(speed.int8_ops_per_second, after.int8_ops_per_second);
  const bool int8 = o.compute.activations != "float32" && o.compute.backend != "reference" &&
                    (!loaded || loaded->checkpoint.config().quantization);
  // Inputs of two int8 terms take two products each.
  const double prefill_peak = !int8                             ? speed.f32_flops_per_second
                              : o.compute.activations == "int8" ? speed.int8_ops_per_second
                                                                : speed.int8_ops_per_second / 2;

  json::array list;
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
    fmt::print("  {:<9}{:>8}{:>9}{:>7}{:>12}{:>11}{:>11}{:>11}\n", "case", "prompt", "context",
               "batch", "tokens/s", "min", "max", "of limit");
  }
  for (const Case& c : cases) {
    const double rate = median(c.rates);
    const double bandwidth =
        c.bytes_per_step > 0
            ? rate / static_cast<double>(c.batch) * c.bytes_per_step / speed.read_bytes_per_second
            : 0;
    const double peak = c.flops_per_token > 0 ? rate * c.flops_per_token / prefill_peak : 0;
    const double low = *std::ranges::min_element(c.rates),
                 high = *std::ranges::max_element(c.rates);
    if (!o.as_json)
      fmt::print("  {:<9}{:>8}{:>9}{:>7}{:>12.2f}{:>11.2f}{:>11.2f}{:>9.1f} %\n", c.kind, c.prompt,
                 c.context, c.batch, rate, low, high, 100 * std::max(bandwidth, peak));
    list.push_back(
        {{"kind", c.kind},
         {"prompt", c.prompt},
         {"context", c.context},
         {"batch", c.batch},
         {"rows", c.rows},
         {"tokens_per_second", {{"median", rate}, {"min", low}, {"max", high}}},
         {"bandwidth_fraction", c.bytes_per_step > 0 ? json::value(bandwidth) : json::value()},
         {"peak_fraction", c.flops_per_token > 0 ? json::value(peak) : json::value()}});
  }
  if (o.as_json)
    fmt::print("{}\n", to_json(json::object{
                           {"machine",
                            {{"read_gb_s", speed.read_bytes_per_second / 1e9},
                             {"int8_gop_s", speed.int8_ops_per_second / 1e9},
                             {"fp32_gflop_s", speed.f32_flops_per_second / 1e9},
                             {"threads", machine.pool.num_threads()},
                             {"isa", isa}}},
                           {"start", loaded ? json::value(loaded->start()) : json::value()},
                           {"cases", std::move(list)}}));
  else
    fmt::print(
        "  limit of decode: bytes of weights, states and KV cache over the read bandwidth;\n"
        "  of prefill: multiply-adds of the linears over the {} peak. Both measured in this run.\n",
        !int8                             ? "float32"
        : o.compute.activations == "int8" ? "int8"
                                          : "halved int8");
}

}  // namespace

Command add_bench(CLI::App& app) {
  auto o = std::make_shared<Options>();
  auto* c = app.add_subcommand("bench", "Measures prefill and decode beside the machine's limits");
  c->add_option("MODEL", o->model, "folder, `tiny`, or hub id");
  c->add_option("--synthetic", o->synthetic,
                "random weights of a published size: 0.8b, 2b, 4b, 9b, 27b; with :layers=N");
  c->add_option("--prompt", o->prompts, "prefill lengths")->delimiter(',')->capture_default_str();
  c->add_option("--decode", o->decode, "tokens of a decode measurement")->capture_default_str();
  c->add_option("--batch", o->batches, "sequences decoded together")
      ->delimiter(',')
      ->capture_default_str();
  c->add_option("--repeat", o->repeat, "repetitions; the median is reported")
      ->capture_default_str();
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
  o->compute.add_weight_cache_to(*c);
  return [o] { run(*o); };
}

}  // namespace octet::cli
