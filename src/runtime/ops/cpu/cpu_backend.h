#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/base/numa.h"
#include "runtime/ops/backend.h"

namespace octet::ops::cpu {

/// What inputs of quantized linears are rounded to.
enum class Rounding { none, bf16, int8, int16 };

/// int8 and int16: inputs are rounded, in groups of 32, to one int8 or two
/// (int8_linear.inl), where the weight has no zero points of its own and groups of whole 32s.
/// Errors: as choose_kernels in isa.h.
std::unique_ptr<Backend> make_cpu_backend(const std::string& isa, Rounding rounding,
                                          ThreadPool& pool);

/// What `octet bench` and `octet doctor` measure with all threads of the pool and the machine's
/// best kernels; about 0.3 s each.
struct MachineSpeed {
  double read_bytes_per_second = 0;  ///< streaming reads of a block far larger than the caches
  double f32_flops_per_second = 0;   ///< multiply-adds in registers, two operations each
  double int8_ops_per_second = 0;    ///< the same of int8 dot products
};
MachineSpeed measure_machine(const std::string& isa, ThreadPool& pool);

/// Bytes a second that all processors of nodes[reader] together read from memory of nodes[memory]:
/// [reader][memory]. `bytes` is the block read: a few times the caches. Nodes need processors;
/// threads are pinned to them, the caller's is not. About 0.2 s for each pair.
std::vector<std::vector<double>> measure_nodes(const std::string& isa,
                                               const std::vector<NumaNode>& nodes,
                                               std::int64_t bytes = std::int64_t{512} << 20);

}  // namespace octet::ops::cpu
