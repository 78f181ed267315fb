#include "quantize/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace octet::quantize::avx2 {
constexpr int kWidth = 8;
#define OCTET_FMA(a, b, c) ((Vec)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#include "quantize/kernels.inl"
}  // namespace octet::quantize::avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::quantize {
const SolverKernels& avx2_kernels() {
  return avx2::kKernels;
}
}  // namespace octet::quantize
#endif
