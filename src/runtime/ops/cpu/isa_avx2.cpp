#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/vec_avx2.inl"
#include "runtime/tensor/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
namespace octet::ops::cpu::avx2 {
constexpr int kWidth = 8;
// 16 registers: 6 rows x 2 vectors of sums, 2 of weights, 1 broadcast.
constexpr int kTileRows = 6, kTilePanels = 1, kDirectPanels = 2, kDirectRows = 4;
constexpr int kQueryRows = 6, kQueryVecs = 2;
constexpr const char* kName = "avx2";
#include "runtime/ops/cpu/kernels.inl"
}  // namespace octet::ops::cpu::avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::ops::cpu {
const CpuKernels& avx2_kernels() {
  return avx2::kKernels;
}
}  // namespace octet::ops::cpu
#endif
