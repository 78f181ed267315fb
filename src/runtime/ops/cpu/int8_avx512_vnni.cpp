#include <cstring>
#include <type_traits>
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
constexpr const char* kName = "avx512_vnni";
#include "runtime/ops/cpu/int8_avx512.inl"
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
