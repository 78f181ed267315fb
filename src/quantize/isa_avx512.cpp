#include "quantize/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif
namespace octet::quantize::avx512 {
constexpr int kWidth = 16;
#define OCTET_FMA(a, b, c) ((Vec)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include "quantize/kernels.inl"
}  // namespace octet::quantize::avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::quantize {
const SolverKernels& avx512_kernels() {
  return avx512::kKernels;
}
}  // namespace octet::quantize
#endif
