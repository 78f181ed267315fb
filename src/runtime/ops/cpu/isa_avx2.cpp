#include <cstring>

#include "runtime/ops/cpu/kernels.h"
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
constexpr int kTileRows = 6, kTilePanels = 1, kDirectPanels = 2;
constexpr const char* kName = "avx2";
#define OCTET_VEC_FMA(a, b, c) ((Vec)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define OCTET_VEC_LOAD_F16(p) \
  ((Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))
#define OCTET_VEC_LOAD_BF16(p)                 \
  ((Vec)_mm256_castsi256_ps(_mm256_slli_epi32( \
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16)))
#define OCTET_VEC_LOAD_U8(p) \
  ((Vec)_mm256_cvtepi32_ps(  \
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))))
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
