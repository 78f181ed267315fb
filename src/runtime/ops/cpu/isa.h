#pragma once

#include <string>

#include "runtime/ops/cpu/kernels.h"

namespace octet::ops::cpu {

/// The kernels for "auto" (the fastest that this machine runs) or a named instruction set.
/// Errors: as choose_isa (runtime/base/cpu_features.h).
const CpuKernels& choose_kernels(const std::string& isa);
/// Those for int8 inputs that go with it.
const Int8Kernels& choose_int8_kernels(const std::string& isa);

}  // namespace octet::ops::cpu
