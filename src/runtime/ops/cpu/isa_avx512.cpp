#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/vec_avx512.inl"
#include "runtime/tensor/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif
namespace octet::ops::cpu::avx512 {
constexpr int kWidth = 16;
// 32 registers: 12 rows x 2 vectors of sums, 2 of weights; the inputs are broadcast by the load.
constexpr int kTileRows = 12, kTilePanels = 2, kDirectPanels = 4, kDirectRows = 8;
constexpr int kQueryRows = 6, kQueryVecs = 4;  // attention: 24 sums, 4 of keys or values
constexpr const char* kName = "avx512";
#include "runtime/ops/cpu/kernels.inl"
}  // namespace octet::ops::cpu::avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::ops::cpu {
const CpuKernels& avx512_kernels() {
  return avx512::kKernels;
}
}  // namespace octet::ops::cpu
#endif
