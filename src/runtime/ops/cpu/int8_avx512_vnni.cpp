#include <cstring>
#include <utility>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/vec_avx512.inl"
#include "runtime/tensor/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(                                                               \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
#endif
namespace octet::ops::cpu::avx512_vnni_int8 {
constexpr int kWidth = 16;
// 32 registers. One term: 6 rows x 2 vectors of sums, as many of totals, 2 of weights, 1 broadcast;
// two terms: 4 rows x 2 vectors of sums twice.
constexpr int kInt8TileRows[2] = {6, 4}, kInt8Panels = 2, kInt8DirectPanels = 4;
constexpr int kQueryRows = 6, kQueryVecs = 4;  // attention: 24 sums, 4 of keys or values
constexpr bool kInt8Corrects = true;
constexpr const char* kName = "avx512_vnni";
#define OCTET_DOT_U8(acc, w, in) \
  ((VecI)_mm512_dpbusd_epi32((__m512i)(acc), (__m512i)(w), (__m512i)(in)))
#define OCTET_DOT_I16(acc, a, b) \
  ((VecI)_mm512_dpwssd_epi32((__m512i)(acc), (__m512i)(a), (__m512i)(b)))
#define OCTET_VEC_LOAD_I8_PAIRS(p) \
  ((VecI)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))))
#include "runtime/ops/cpu/int8_linear.inl"
}  // namespace octet::ops::cpu::avx512_vnni_int8
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::ops::cpu {
const Int8Kernels& avx512_vnni_int8_kernels() {
  return avx512_vnni_int8::kInt8Kernels;
}
}  // namespace octet::ops::cpu
#endif
