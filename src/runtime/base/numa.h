#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace octet {

/// Memory, and the processors that it is near to.
struct NumaNode {
  int id = 0;
  std::vector<int> cpus;  ///< ascending; empty: memory without processors
};

/// "0-3,8,10-11" as the kernel writes it, ascending and without doubles. Numbers from CPU_SETSIZE
/// on and what is no list at all are left out. Source: Documentation/admin-guide/cputopology.rst.
std::vector<int> parse_cpu_list(std::string_view text);

/// Processors that this thread may run on, ascending; never empty.
std::vector<int> affinity_cpus();

/// The machine's online nodes, ascending; empty where `root` does not tell (no Linux, no NUMA, some
/// containers). Source: Documentation/ABI/stable/sysfs-devices-node.
std::vector<NumaNode> numa_nodes(const std::filesystem::path& root = "/sys/devices/system/node");

/// Those of `nodes` with processors among `cpus`, and of each only those processors. One node with
/// all `cpus` if the nodes leave any of them out: a description that is incomplete is not used.
std::vector<NumaNode> usable_nodes(const std::vector<NumaNode>& nodes,
                                   const std::vector<int>& cpus);

/// Lets the calling thread, and threads that it makes from now on, run on these processors only.
/// False if the kernel refuses; then nothing has changed.
bool pin_this_thread(const std::vector<int>& cpus);

/// The processor that runs the calling thread now; -1 if unknown. Some nanoseconds.
int current_cpu();

}  // namespace octet
