#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/vec_avx2.inl"
#include "runtime/tensor/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avxvnni,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avxvnni,avx2,fma,f16c")
#endif
namespace octet::ops::cpu::avx_vnni_int8 {
constexpr int kWidth = 8;
// 16 registers. One term: 3 rows x 2 vectors of sums, as many of totals, 2 of weights, 1 broadcast;
// two terms: 2 rows x 2 vectors of sums twice.
constexpr int kInt8TileRows[2] = {3, 2}, kInt8Panels = 1, kInt8DirectPanels = 2;
constexpr int kInt8FewRows[2] = {3, 2}, kInt8FewPanels = 1;
constexpr int kInt8BothSums = 4;
constexpr int kQueryRows = 6, kQueryVecs = 2;
constexpr bool kInt8Corrects = true;
constexpr const char* kName = "avx_vnni";
#define OCTET_DOT_U8(acc, w, in) \
  ((VecI)_mm256_dpbusd_avx_epi32((__m256i)(acc), (__m256i)(w), (__m256i)(in)))
#define OCTET_DOT_I16(acc, a, b) \
  ((VecI)_mm256_dpwssd_avx_epi32((__m256i)(acc), (__m256i)(a), (__m256i)(b)))
#define OCTET_VEC_LOAD_I8_PAIRS(p) \
  ((VecI)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))
#include "runtime/ops/cpu/int8_linear.inl"
}  // namespace octet::ops::cpu::avx_vnni_int8
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace octet::ops::cpu {
const Int8Kernels& avx_vnni_int8_kernels() {
  return avx_vnni_int8::kInt8Kernels;
}
}  // namespace octet::ops::cpu
#endif
