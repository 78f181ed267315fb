#pragma once

#include <string>
#include <vector>

#include "runtime/ops/cpu/kernels.h"

namespace octet::ops::cpu {

/// Instruction sets that this machine and build can run, slowest first.
std::vector<std::string> available_isas();

/// The kernels for "auto" (the fastest that this machine runs) or a named instruction set.
/// Errors: invalid_argument for an unknown name, unavailable if the machine lacks it.
const CpuKernels& choose_kernels(const std::string& isa);

}  // namespace octet::ops::cpu
