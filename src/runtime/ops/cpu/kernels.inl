// Included once by each isa_*.cpp, inside its namespace and target region, which define kWidth,
// the tile sizes, kName and the OCTET_VEC_* macros. No standard containers, exceptions or
// allocation in here: a library function compiled in this region could be picked by the linker for
// everyone, and an older machine would die on it.
#define OCTET_INLINE inline __attribute__((always_inline))

#include "runtime/ops/cpu/vec.inl"

#include "runtime/ops/cpu/linear.inl"

#include "runtime/ops/cpu/rows.inl"

#include "runtime/ops/cpu/attention.inl"

#include "runtime/ops/cpu/attention_float.inl"

#include "runtime/ops/cpu/delta_rule.inl"

#include "runtime/ops/cpu/measure.inl"

constexpr CpuKernels kKernels{kName,         linear_panels, add_rows,   rms_norm_row,
                              gated_norm_row, l2_norm_row,   silu_mul_row, conv4_silu_row,
                              float_attention_span, attention_merge_row, attention_finish_row,
                              delta_rule_head, delta_products_block, delta_weights_block, delta_gates_row,
                              read_words,    fma_peak_loop};
