#include <cstring>
#include <type_traits>
#include <utility>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/tensor/dtype.h"

namespace octet::ops::cpu::generic_int8 {
constexpr int kWidth = 4;
constexpr int kInt8TileRows[2] = {2, 2}, kInt8Panels = 1, kInt8DirectPanels = 1;
constexpr int kInt8FewRows[2] = {2, 2}, kInt8FewPanels = 1;
constexpr int kInt8BothSums = 4;
constexpr int kQueryRows = 2, kQueryVecs = 2;
constexpr bool kInt8Corrects = false;
constexpr const char* kName = "generic";
#define OCTET_VEC_FMA(a, b, c) ((a) * (b) + (c))
// Code j of a word less its zero point, times byte j of the input.
#define OCTET_DOT_TERM(w, in, j) \
  (((((w) >> (8 * (j))) & 255) - 128) * (((in) << (24 - 8 * (j))) >> 24))
#define OCTET_DOT_U8(acc, w, in)                                                            \
  ((acc) + OCTET_DOT_TERM(w, in, 0) + OCTET_DOT_TERM(w, in, 1) + OCTET_DOT_TERM(w, in, 2) + \
   OCTET_DOT_TERM(w, in, 3))
// Words of two int16: the low half is the first.
#define OCTET_DOT_I16(acc, a, b) \
  ((acc) + (((a) << 16) >> 16) * (((b) << 16) >> 16) + ((a) >> 16) * ((b) >> 16))
#include "runtime/ops/cpu/int8_linear.inl"
}  // namespace octet::ops::cpu::generic_int8

namespace octet::ops::cpu {
const Int8Kernels& generic_int8_kernels() {
  return generic_int8::kInt8Kernels;
}
}  // namespace octet::ops::cpu
