#include <cstring>

#include "runtime/ops/cpu/kernels.h"
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
constexpr int kTileRows = 12, kTilePanels = 2, kDirectPanels = 4;
constexpr const char* kName = "avx512";
#define OCTET_VEC_FMA(a, b, c) ((Vec)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define OCTET_VEC_LOAD_F16(p) \
  ((Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))))
#define OCTET_VEC_LOAD_BF16(p)                 \
  ((Vec)_mm512_castsi512_ps(_mm512_slli_epi32( \
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16)))
#define OCTET_VEC_LOAD_U8(p) \
  ((Vec)_mm512_cvtepi32_ps(  \
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))))
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
