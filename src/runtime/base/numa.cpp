#include "runtime/base/numa.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

namespace octet {

namespace {

std::string first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// A number of 0 to CPU_SETSIZE - 1 that makes up the whole text; -1 otherwise.
int cpu_number(std::string_view text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return -1;
  return value >= 0 && value < CPU_SETSIZE ? value : -1;
}

}  // namespace

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> cpus;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    while (!item.empty() && (item.back() == '\n' || item.back() == ' ')) item.remove_suffix(1);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    const auto dash = item.find('-');
    const int first = cpu_number(item.substr(0, dash));
    const int last = dash == std::string_view::npos ? first : cpu_number(item.substr(dash + 1));
    if (first < 0 || last < first) continue;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  std::ranges::sort(cpus);
  cpus.erase(std::ranges::unique(cpus).begin(), cpus.end());
  return cpus;
}

std::vector<int> affinity_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(static_cast<unsigned>(cpu), &set)) cpus.push_back(cpu);
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

std::vector<NumaNode> numa_nodes(const std::filesystem::path& root) {
  std::vector<NumaNode> nodes;
  for (const int id : parse_cpu_list(first_line(root / "online"))) {
    // A node that is listed but has no folder went away meanwhile.
    const auto folder = root / ("node" + std::to_string(id));
    std::error_code ignored;
    if (std::filesystem::is_directory(folder, ignored))
      nodes.push_back({id, parse_cpu_list(first_line(folder / "cpulist"))});
  }
  return nodes;
}

std::vector<NumaNode> usable_nodes(const std::vector<NumaNode>& nodes,
                                   const std::vector<int>& cpus) {
  std::vector<NumaNode> usable;
  std::vector<int> seen;
  for (const NumaNode& node : nodes) {
    NumaNode mine{node.id, {}};
    std::ranges::set_intersection(node.cpus, cpus, std::back_inserter(mine.cpus));
    seen.insert(seen.end(), mine.cpus.begin(), mine.cpus.end());
    if (!mine.cpus.empty()) usable.push_back(std::move(mine));
  }
  std::ranges::sort(seen);
  if (seen != cpus) return {{0, cpus}};
  return usable;
}

bool pin_this_thread(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus)
    if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<unsigned>(cpu), &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0;
}

int current_cpu() {
  return ::sched_getcpu();
}

}  // namespace octet
