#include "runtime/linalg/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif
namespace octet::linalg::avx512 {
constexpr int kBytes = 64;
// 32 registers: 24 of sums, 2 of b; a is broadcast by the load.
constexpr int kTileRows = 12, kTileVecs = 2;
constexpr const char* kName = "avx512";
#define OCTET_FMA_F32(a, b, c) ((Vec<float>)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define OCTET_FMA_F64(a, b, c) \
  ((Vec<double>)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#include "runtime/linalg/kernels.inl"
}  // namespace octet::linalg::avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::linalg {
const LinalgKernels& avx512_kernels() {
  return avx512::kKernels;
}
}  // namespace octet::linalg
#endif
