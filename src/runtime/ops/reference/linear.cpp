#include "runtime/ops/reference/reference_impl.h"

namespace octet::ops::reference {

ReferenceLinear::ReferenceLinear(std::span<const LinearPart> parts, const RankSlice& slice) {
  split_ = slice.split;
  in_features_ = input_range(parts[0], slice).count;
  for (const LinearPart& part : parts) {
    if (part.in_features != parts[0].in_features)
      fail(ErrorCode::invalid_argument, "linear: parts with {} and {} input features",
           parts[0].in_features, part.in_features);
    const Range out = output_range(part, slice), in = input_range(part, slice);
    const auto rows = dequantize(part, out, in);
    weight.insert(weight.end(), rows.begin(), rows.end());
    out_features_ += out.count;
  }
  bytes_ = weight.size() * sizeof(float);
}

std::unique_ptr<PackedLinear> ReferenceBackend::pack_linear(std::span<const LinearPart> parts,
                                                            const RankSlice& slice) {
  return std::make_unique<ReferenceLinear>(parts, slice);
}

void ReferenceBackend::linear(TensorView x, const PackedLinear& packed, TensorView y) {
  const auto& w = static_cast<const ReferenceLinear&>(packed);
  const std::int64_t rows = x.dim(0), k = w.in_features(), n = w.out_features();
  check_rows("linear input", x, rows, k);
  check_rows("linear output", y, rows, n);
  const float* in = x.as<float>();
  float* out = y.as<float>();
  pool_.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t j = begin; j < end; ++j)
      for (std::int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (std::int64_t i = 0; i < k; ++i)
          sum += static_cast<double>(in[r * k + i]) * w.weight[static_cast<std::size_t>(j * k + i)];
        out[r * n + j] = static_cast<float>(sum);
      }
  });
}

void ReferenceBackend::add(TensorView x, TensorView delta) {
  OCTET_CHECK(x.shape() == delta.shape(), "add: {} and {}", to_string(x.shape()),
              to_string(delta.shape()));
  for (std::int64_t i = 0; i < x.size(); ++i) x.as<float>()[i] += delta.as<float>()[i];
}

void ReferenceBackend::silu_mul(TensorView x, TensorView y) {
  const std::int64_t rows = y.dim(0), width = y.dim(1);
  check_rows("silu_mul", x, rows, 2 * width);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t i = 0; i < width; ++i) {
      const float* row = x.as<float>() + r * 2 * width;
      y.as<float>()[r * width + i] = static_cast<float>(silu(row[i]) * row[width + i]);
    }
}

}  // namespace octet::ops::reference
