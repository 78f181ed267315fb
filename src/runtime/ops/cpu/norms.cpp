#include "runtime/ops/cpu/cpu_impl.h"

namespace octet::ops::cpu {

void CpuBackend::rms_norm(TensorView x, TensorView weight, float eps, TensorView y) {
  const std::int64_t rows = x.dim(0), width = x.dim(1);
  check_rows("rms_norm", y, rows, width);
  pool_.parallel_for(rows, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r)
      kernels_.rms_norm(x.as<float>() + r * width, weight.as<float>(), eps, width,
                        y.as<float>() + r * width);
  });
}

void CpuBackend::gated_rms_norm(TensorView x, Columns gate, TensorView weight, float eps,
                                GateActivation activation, TensorView y) {
  const std::int64_t rows = x.dim(0), width = x.dim(1), head_dim = weight.size();
  const std::int64_t heads = width / head_dim;
  check_rows("gated_rms_norm", y, rows, width);
  pool_.parallel_for(rows * heads, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t r = item / heads, h = item % heads * head_dim;
      kernels_.gated_rms_norm(x.as<float>() + r * width + h,
                              gate.tensor.as<float>() + r * gate.tensor.dim(1) + gate.begin + h,
                              weight.as<float>(), eps, activation == GateActivation::sigmoid,
                              head_dim, y.as<float>() + r * width + h);
    }
  });
}

}  // namespace octet::ops::cpu
