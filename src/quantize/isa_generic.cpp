#include "quantize/kernels.h"

namespace octet::quantize::generic {
constexpr int kWidth = 4;
#define OCTET_FMA(a, b, c) ((a) * (b) + (c))
#include "quantize/kernels.inl"
}  // namespace octet::quantize::generic

namespace octet::quantize {
const SolverKernels& generic_kernels() {
  return generic::kKernels;
}
}  // namespace octet::quantize
