#include <algorithm>
#include <cstdio>

#include "cli/bench_cases.h"
#include "runtime/base/json.h"

namespace octet::cli {

namespace {

struct Roofline {
  double memory = 0, arithmetic = 0;  // seconds that bytes and operations would take alone
  bool bound_by_memory() const { return memory >= arithmetic; }
  double limit() const { return std::max(memory, arithmetic); }
};

Roofline roofline(const ops::OpTime& op, const ops::cpu::MachineSpeed& speed,
                  double codes_per_second) {
  return {
      .memory = op.bytes / speed.read_bytes_per_second,
      .arithmetic = op.operations / (op.on_codes ? codes_per_second : speed.f32_flops_per_second)};
}

double total_seconds(const std::vector<ops::OpTime>& times) {
  double sum = 0;
  for (const ops::OpTime& op : times) sum += op.seconds;
  return sum;
}

}  // namespace

void print_kernels(const BenchCase& c, const std::vector<ops::OpTime>& times,
                   const ops::cpu::MachineSpeed& speed, double codes_per_second) {
  const double all = total_seconds(times);
  fmt::print("\n  operations of {}, {} steps of {} rows\n", c.kind, c.steps(), c.rows);
  fmt::print("  {:<28}{:>7}{:>11}{:>9}{:>9}{:>10}{:>12}\n", "operation", "calls", "ms a step",
             "share", "GB/s", "GOP/s", "of limit");
  for (const ops::OpTime& op : times) {
    const Roofline r = roofline(op, speed, codes_per_second);
    fmt::print("  {:<28}{:>7}{:>11.3f}{:>7.1f} %{:>9.1f}{:>10.1f}{:>8.0f} % {}\n", op.name,
               op.calls, 1e3 * op.seconds / static_cast<double>(c.steps()), 100 * op.seconds / all,
               op.bytes / op.seconds / 1e9, op.operations / op.seconds / 1e9,
               100 * r.limit() / op.seconds, r.bound_by_memory() ? "m" : "a");
  }
}

json::array kernels_json(const std::vector<ops::OpTime>& times, const ops::cpu::MachineSpeed& speed,
                         double codes_per_second) {
  const double all = total_seconds(times);
  json::array list;
  for (const ops::OpTime& op : times) {
    const Roofline r = roofline(op, speed, codes_per_second);
    list.push_back({{"op", op.name},
                    {"calls", op.calls},
                    {"seconds", op.seconds},
                    {"share", op.seconds / all},
                    {"gb_s", op.bytes / op.seconds / 1e9},
                    {"gop_s", op.operations / op.seconds / 1e9},
                    {"of_limit", r.limit() / op.seconds},
                    {"limit", r.bound_by_memory() ? "memory" : "arithmetic"}});
  }
  return list;
}

}  // namespace octet::cli
