#include "runtime/linalg/kernels.h"

namespace octet::linalg::generic {
constexpr int kBytes = 16;
constexpr int kTileRows = 4, kTileVecs = 2;
constexpr const char* kName = "generic";
#define OCTET_FMA_F32(a, b, c) ((a) * (b) + (c))
#define OCTET_FMA_F64(a, b, c) ((a) * (b) + (c))
#include "runtime/linalg/kernels.inl"
}  // namespace octet::linalg::generic

namespace octet::linalg {
const LinalgKernels& generic_kernels() {
  return generic::kKernels;
}
}  // namespace octet::linalg
