#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/common.h"
#include "model/synthetic.h"
#include "runtime/base/cpu_features.h"
#include "runtime/base/fork_join.h"
#include "runtime/base/numa.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"
#include "runtime/ops/cpu/cpu_backend.h"
#include "runtime/ops/make_backend.h"

namespace octet::cli {

namespace {

struct Size {
  const char* name;
  double bf16_bytes, gptq8_bytes;  // of the whole published checkpoint; docs/model.md
};

// 8 bits in groups of 32: 35 bytes for 32 weights (scale and zero point) of the layers' linears,
// 16 bits for everything else. Parameters in all: docs/model.md §1.4.
std::vector<Size> published_sizes() {
  std::vector<Size> sizes;
  for (const auto& [name, total] : {std::pair<const char*, double>{"0.8b", 873438784.0},
                                    {"2b", 2274069824.0},
                                    {"4b", 4659865088.0},
                                    {"9b", 9653104368.0},
                                    {"27b", 27781427952.0}}) {
    const auto config = model::published_shape(name);
    double quantizable = 0;
    for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
      for (const auto& group : model::quantized_modules(config, layer))
        for (const auto& m : group)
          quantizable += static_cast<double>(m.out_features * m.in_features);
    sizes.push_back({name, 2 * total, 2 * (total - quantizable) + quantizable * 35 / 32});
  }
  return sizes;
}

// The machine's nodes and, if this process may use several, what each reads from each.
struct Nodes {
  std::vector<NumaNode> all;     // of the machine; those of memory only have no CPUs
  std::vector<NumaNode> usable;  // by this process
  std::vector<std::vector<double>> read_bytes_per_second;  // [usable reader][usable memory]
};

Nodes measure_nodes(const std::string& isa) {
  Nodes nodes{.all = numa_nodes(), .usable = {}, .read_bytes_per_second = {}};
  nodes.usable = usable_nodes(nodes.all, affinity_cpus());
  if (nodes.all.empty()) nodes.all = nodes.usable;
  if (nodes.usable.size() > 1)
    nodes.read_bytes_per_second = ops::cpu::measure_nodes(isa, nodes.usable);
  return nodes;
}

json::object to_object(const Nodes& nodes) {
  json::array list, reads;
  for (const NumaNode& node : nodes.all)
    list.push_back({{"node", node.id}, {"cpus", json::array(node.cpus.begin(), node.cpus.end())}});
  for (std::size_t reader = 0; reader < nodes.read_bytes_per_second.size(); ++reader)
    for (std::size_t memory = 0; memory < nodes.read_bytes_per_second.size(); ++memory)
      reads.push_back({{"reader", nodes.usable[reader].id},
                       {"memory", nodes.usable[memory].id},
                       {"read_gb_s", nodes.read_bytes_per_second[reader][memory] / 1e9}});
  return {{"nodes", std::move(list)}, {"usable", nodes.usable.size()}, {"reads", std::move(reads)}};
}

void print(const Nodes& nodes) {
  std::vector<std::string> sizes;
  for (const NumaNode& node : nodes.all) sizes.push_back(fmt::format("{}", node.cpus.size()));
  fmt::print("NUMA nodes     {}, CPUs of each: {}", nodes.all.size(), fmt::join(sizes, ", "));
  if (nodes.usable.size() < nodes.all.size()) fmt::print("; {} in use", nodes.usable.size());
  fmt::print("\n");
  for (std::size_t reader = 0; reader < nodes.read_bytes_per_second.size(); ++reader) {
    fmt::print("  node {:<4}    reads", nodes.usable[reader].id);
    for (std::size_t memory = 0; memory < nodes.read_bytes_per_second.size(); ++memory)
      fmt::print(" {:.1f} GB/s from {}{}", nodes.read_bytes_per_second[reader][memory] / 1e9,
                 nodes.usable[memory].id, memory == reader ? " (its own)" : "");
    fmt::print("\n");
  }
}

void run(bool as_json, const ComputeOptions& compute) {
  Machine machine(compute);
  const auto isas = available_isas();
  const auto speed = ops::cpu::measure_machine("auto", machine.pool);
  const ForkJoinSeconds fork_join = measure_fork_join(machine.pool);
  const Nodes nodes = measure_nodes("auto");
  const std::size_t total = total_memory_bytes(), free = available_memory_bytes();
  json::array fits;
  for (const Size& s : published_sizes())
    fits.push_back({{"model", s.name},
                    {"bf16", s.bf16_bytes < 0.8 * static_cast<double>(free)},
                    {"gptq_8bit", s.gptq8_bytes < 0.8 * static_cast<double>(free)}});
  if (as_json) {
    fmt::print("{}\n", to_json(json::object{
                           {"cpu", cpu_name()},
                           {"threads", machine.pool.num_threads()},
                           {"isas", json::array(isas.begin(), isas.end())},
                           {"memory", {{"total_bytes", total}, {"available_bytes", free}}},
                           {"read_gb_s", speed.read_bytes_per_second / 1e9},
                           {"int8_gop_s", speed.int8_ops_per_second / 1e9},
                           {"fp32_gflop_s", speed.f32_flops_per_second / 1e9},
                           {"fork_join_us",
                            {{"awake", fork_join.awake * 1e6}, {"asleep", fork_join.asleep * 1e6}}},
                           {"numa", to_object(nodes)},
                           {"gpus", json::array()},
                           {"fits", std::move(fits)}}));
    return;
  }
  fmt::print("processor      {}, {} threads\n", cpu_name().empty() ? "unknown" : cpu_name(),
             machine.pool.num_threads());
  fmt::print("instructions   {} (in use: {})\n", fmt::join(isas, ", "), machine.backend->name());
  fmt::print("memory         {} in all, {} free\n", format_bytes(static_cast<double>(total)),
             format_bytes(static_cast<double>(free)));
  fmt::print("speed          reads {:.1f} GB/s, {:.0f} GOP/s int8, {:.0f} GFLOP/s float32\n",
             speed.read_bytes_per_second / 1e9, speed.int8_ops_per_second / 1e9,
             speed.f32_flops_per_second / 1e9);
  fmt::print("threads        {:.1f} us to start and join all, {:.0f} us if they sleep\n",
             fork_join.awake * 1e6, fork_join.asleep * 1e6);
  print(nodes);
  fmt::print("GPUs           none used: this build has no CUDA backend\n\n");
  fmt::print("{:<8}{:>14}{:>18}\n", "model", "BF16", "GPTQ 8-bit g32");
  for (const Size& s : published_sizes()) {
    const auto cell = [&](double bytes) {
      return fmt::format("{} {}", format_bytes(bytes),
                         bytes < 0.8 * static_cast<double>(free) ? "fits" : "  no");
    };
    fmt::print("{:<8}{:>14}{:>18}\n", s.name, cell(s.bf16_bytes), cell(s.gptq8_bytes));
  }
}

}  // namespace

Command add_doctor(CLI::App& app) {
  auto as_json = std::make_shared<bool>(false);
  auto compute = std::make_shared<ComputeOptions>();
  auto* c = app.add_subcommand("doctor", "Shows what this machine offers and which models fit");
  c->add_flag("--json", *as_json, "print one JSON object");
  compute->add_to(*c, false);
  return [as_json, compute] { run(*as_json, *compute); };
}

}  // namespace octet::cli
