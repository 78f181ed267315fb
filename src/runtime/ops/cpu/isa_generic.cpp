#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/tensor/dtype.h"

namespace octet::ops::cpu::generic {
// Vectors of four floats exist on every machine that this builds for (SSE2, NEON) and are lowered
// to scalars elsewhere.
constexpr int kWidth = 4;
constexpr int kTileRows = 3, kTilePanels = 1, kDirectPanels = 1, kDirectRows = 4;
constexpr int kQueryRows = 4, kQueryVecs = 2;
constexpr const char* kName = "generic";
#define OCTET_VEC_FMA(a, b, c) ((a) * (b) + (c))
#include "runtime/ops/cpu/kernels.inl"
}  // namespace octet::ops::cpu::generic

namespace octet::ops::cpu {
const CpuKernels& generic_kernels() {
  return generic::kKernels;
}
}  // namespace octet::ops::cpu
