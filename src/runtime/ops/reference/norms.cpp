#include "runtime/ops/reference/reference_impl.h"

namespace octet::ops::reference {

namespace {
double inverse_rms(const float* x, std::int64_t n, double eps) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return 1.0 / std::sqrt(sum / static_cast<double>(n) + eps);
}
}  // namespace

void ReferenceBackend::rms_norm(TensorView x, TensorView weight, float eps, TensorView y) {
  const std::int64_t rows = x.dim(0), width = x.dim(1);
  check_rows("rms_norm", y, rows, width);
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* in = x.as<float>() + r * width;
    const double scale = inverse_rms(in, width, eps);
    for (std::int64_t i = 0; i < width; ++i)
      y.as<float>()[r * width + i] =
          static_cast<float>(in[i] * scale * (1.0 + weight.as<float>()[i]));
  }
}

void ReferenceBackend::gated_rms_norm(TensorView x, Columns gate, TensorView weight, float eps,
                                      GateActivation activation, TensorView y) {
  const std::int64_t rows = x.dim(0), width = x.dim(1), head_dim = weight.size();
  check_rows("gated_rms_norm", y, rows, width);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t h = 0; h < width; h += head_dim) {
      const float* in = x.as<float>() + r * width + h;
      const float* z = gate.tensor.as<float>() + r * gate.tensor.dim(1) + gate.begin + h;
      const double scale = inverse_rms(in, head_dim, eps);
      for (std::int64_t i = 0; i < head_dim; ++i) {
        const double g = activation == GateActivation::silu ? silu(z[i]) : sigmoid(z[i]);
        y.as<float>()[r * width + h + i] =
            static_cast<float>(in[i] * scale * weight.as<float>()[i] * g);
      }
    }
}

}  // namespace octet::ops::reference
