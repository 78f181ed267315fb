#include "runtime/linalg/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace octet::linalg::avx2 {
constexpr int kBytes = 32;
// 16 registers: 12 of sums, 2 of b, 1 broadcast.
constexpr int kTileRows = 6, kTileVecs = 2;
constexpr const char* kName = "avx2";
#define OCTET_FMA_F32(a, b, c) ((Vec<float>)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define OCTET_FMA_F64(a, b, c) \
  ((Vec<double>)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#include "runtime/linalg/kernels.inl"
}  // namespace octet::linalg::avx2
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::linalg {
const LinalgKernels& avx2_kernels() {
  return avx2::kKernels;
}
}  // namespace octet::linalg
#endif
