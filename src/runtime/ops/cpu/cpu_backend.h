#pragma once

#include <memory>
#include <string>

#include "runtime/ops/backend.h"

namespace octet::ops::cpu {

/// Errors: as choose_kernels in isa.h.
std::unique_ptr<Backend> make_cpu_backend(const std::string& isa, ThreadPool& pool);

/// What `octet bench` and `octet doctor` measure with all threads of the pool and the machine's
/// best kernels; about 0.3 s each.
struct MachineSpeed {
  double read_bytes_per_second = 0;  ///< streaming reads of a block far larger than the caches
  double f32_flops_per_second = 0;   ///< multiply-adds in registers, two operations each
};
MachineSpeed measure_machine(const std::string& isa, ThreadPool& pool);

}  // namespace octet::ops::cpu
