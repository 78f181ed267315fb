#include "cli/bench_quantize.h"

#include <cstdlib>
#include <random>

#include "checkpoint/synthetic_checkpoint.h"
#include "cli/quantize_options.h"
#include "model/synthetic.h"
#include "quantize/quantize_model.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "runtime/ops/cpu/cpu_backend.h"

namespace octet::cli {

namespace {

namespace fs = std::filesystem;

// A folder that goes with the object.
class WorkFolder {
 public:
  explicit WorkFolder(const std::string& parent) {
    std::string name =
        ((parent.empty() ? fs::temp_directory_path() : fs::path(parent)) / "octet-bench-XXXXXX")
            .string();
    if (!::mkdtemp(name.data()))
      fail(ErrorCode::unavailable, "can't create a folder like {}; name another by --work-folder",
           name);
    path = name;
  }
  ~WorkFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  fs::path path;
};

}  // namespace

void bench_quantize(const BenchQuantizeOptions& o, const ComputeOptions& given) {
  ComputeOptions compute = given;
  compute.activations = "float32";  // as in quantize
  if (o.samples < 1 || o.tokens < 1)
    fail(ErrorCode::invalid_argument, "--samples and --tokens: expected 1 or more");
  const bool shortened = o.synthetic.find(":vocab=") != std::string::npos;
  // The vocabulary is copied, not quantized: a short one leaves the time to the layers.
  const auto shape = model::published_shape(o.synthetic + (shortened ? "" : ":vocab=4096"));
  Machine machine(compute);
  const std::string isa =
      machine.backend->name().starts_with("cpu/") ? machine.backend->name().substr(4) : "auto";
  linalg::Linalg linalg(machine.pool, compute.isa);
  const WorkFolder folder(o.work_folder);
  fmt::print(stderr, "writing random weights of {} to {}\n", o.synthetic, folder.path.string());
  fs::create_directory(folder.path / "source");
  checkpoint::write_synthetic_checkpoint(shape, folder.path / "source");
  const auto source = checkpoint::Checkpoint::open(folder.path / "source");

  quantize::CalibrationSet calibration;
  std::mt19937_64 rng(1);
  for (std::int64_t i = 0; i < o.samples; ++i) {
    auto& row = calibration.rows.emplace_back();
    for (std::int64_t t = 0; t < o.tokens; ++t)
      row.push_back(
          static_cast<std::int32_t>(rng() % static_cast<std::uint64_t>(shape.vocab_size)));
    calibration.num_tokens += o.tokens;
  }
  quantize::QuantizeOptions options;
  options.gptq = preset_options(o.preset, o.bits);
  options.max_memory = compute.memory_limit();
  const auto speed = ops::cpu::measure_machine(isa, machine.pool);
  const auto rates = quantize::measure_rates(linalg);
  const auto planned = quantize::forecast(source, calibration, options);
  fmt::print(stderr, "{}",
             quantize::describe(planned.plan, planned.output_bytes,
                                quantize::estimate_seconds(planned.plan, rates)));
  Progress bar("quantize", shape.num_hidden_layers, "layers");
  const auto r = quantize::quantize_model(
      source, calibration, folder.path / "result", options, *machine.backend, linalg,
      *machine.ranks,
      [&](std::int64_t done, std::int64_t, const std::string& what) { bar.update(done, what); });
  bar.finish();

  const quantize::PhaseSeconds& p = r.phases;
  const auto layers = static_cast<double>(shape.num_hidden_layers);
  const std::pair<const char*, std::pair<double, double>> parts[] = {
      {"forward", {p.forward, planned.plan.forward_flops}},
      {"statistics", {p.statistics, planned.plan.statistics_flops}},
      {"factor", {p.factor, planned.plan.factor_flops}},
      {"solve", {p.solve, planned.plan.solve_flops}},
      {"load", {p.load, 0}},
      {"write", {p.write, 0}}};
  if (o.as_json) {
    json::object phases;
    for (const auto& [name, part] : parts)
      phases[name] = {{"seconds", part.first},
                      {"gflop_s", part.first > 0 ? part.second / part.first / 1e9 : 0}};
    json::array modules;
    for (const auto& m : r.modules) modules.push_back({{"name", m.name}, {"seconds", m.seconds}});
    fmt::print("{}\n", to_json(json::object{{"shape", o.synthetic},
                                            {"preset", o.preset},
                                            {"tokens", calibration.num_tokens},
                                            {"seconds", r.seconds},
                                            {"phases", std::move(phases)},
                                            {"fp32_gflop_s", speed.f32_flops_per_second / 1e9},
                                            {"gemm_f32_gflop_s", rates.f32 / 1e9},
                                            {"gemm_f64_gflop_s", rates.f64 / 1e9},
                                            {"planned_bytes", r.planned_bytes},
                                            {"peak_rss_bytes", peak_rss_bytes()},
                                            {"modules", std::move(modules)}}));
    return;
  }
  fmt::print("{}, preset {}, {} bits, {} tokens: {} ({} a layer)\n", o.synthetic, o.preset, o.bits,
             calibration.num_tokens, format_duration(r.seconds),
             format_duration(r.seconds / layers));
  fmt::print(
      "  products: {:.0f} GFLOP/s float32, {:.0f} float64; multiply-adds in registers {:.0f}\n",
      rates.f32 / 1e9, rates.f64 / 1e9, speed.f32_flops_per_second / 1e9);
  for (const auto& [name, part] : parts)
    if (part.second > 0)
      fmt::print(
          "  {:<12}{:>12}{:>10.0f} GFLOP/s{:>8.0f} % of the product\n", name,
          format_duration(part.first), part.second / part.first / 1e9,
          100 * part.second / part.first / (std::string(name) == "factor" ? rates.f64 : rates.f32));
    else
      fmt::print("  {:<12}{:>12}\n", name, format_duration(part.first));
  fmt::print(
      "  peak memory {}, planned {} ({:+.1f} %)\n",
      format_bytes(static_cast<double>(peak_rss_bytes())),
      format_bytes(static_cast<double>(r.planned_bytes)),
      100 * (static_cast<double>(r.planned_bytes) / static_cast<double>(peak_rss_bytes()) - 1));
}

}  // namespace octet::cli
