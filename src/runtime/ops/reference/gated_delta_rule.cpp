#include <algorithm>

#include "runtime/ops/reference/reference_impl.h"

namespace octet::ops::reference {

namespace {

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

std::vector<double> l2norm(const float* x, std::int64_t n, double scale) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  std::vector<double> y(at(n));
  for (std::int64_t i = 0; i < n; ++i) y[at(i)] = x[i] / std::sqrt(sum + 1e-6) * scale;
  return y;
}

double softplus(double x) {
  return x > 20 ? x : std::log1p(std::exp(x));
}

}  // namespace

void ReferenceBackend::gated_delta_rule(const DeltaRuleInputs& in, const RaggedBatch& batch,
                                        StateCache& states, std::int64_t layer, TensorView out) {
  auto& cache = static_cast<ReferenceStateCache&>(states);
  const StateCacheShape& shape = cache.shape();
  const std::int64_t nk = shape.num_key_heads, nv = shape.num_value_heads;
  const std::int64_t dk = shape.key_head_dim, dv = shape.value_head_dim;
  check_batch("gated_delta_rule", batch, in.mixed);
  check_rows("gated_delta_rule", out, batch.num_rows, nv * dv);
  for (const Segment& s : batch.segments) {
    StateSlot& slot = cache.slot(s.state_slot);
    // All heads take in the accepted rows before any of them records a new draft over these rows.
    pool_.parallel_for(nv, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t h = begin; h < end; ++h)
        for (std::int32_t r = 0; r < s.accepted_rows; ++r) {
          float* state = slot.recurrent.data() + (layer * nv + h) * dk * dv;
          const DraftRow& row = slot.draft[at(r)];
          const float* k = row.key.data() + (layer * nk + h / (nv / nk)) * dk;
          const float* d = row.delta.data() + (layer * nv + h) * dv;
          const double decay = row.decay[at(layer * nv + h)];
          for (std::int64_t i = 0; i < dk; ++i)
            for (std::int64_t j = 0; j < dv; ++j)
              state[i * dv + j] =
                  static_cast<float>(decay * state[i * dv + j] + static_cast<double>(k[i]) * d[j]);
        }
    });
    pool_.parallel_for(nv, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t h = begin; h < end; ++h) {
        float* kept = slot.recurrent.data() + (layer * nv + h) * dk * dv;
        const std::int64_t key_head = h / (nv / nk);
        std::vector<float> state(kept, kept + dk * dv);
        for (std::int64_t t = 0; t < s.num_rows; ++t) {
          const std::int64_t row = s.row_begin + t;
          const float* mixed = in.mixed.as<float>() + row * shape.conv_dim();
          // Rounded to float32 as they are stored for a draft: accepting a draft row later must
          // give the bits that computing it at once gives.
          const auto q =
              l2norm(mixed + key_head * dk, dk, 1.0 / std::sqrt(static_cast<double>(dk)));
          const auto unit = l2norm(mixed + (nk + key_head) * dk, dk, 1.0);
          const std::vector<float> k(unit.begin(), unit.end());
          const float* v = mixed + 2 * nk * dk + h * dv;
          const float* b = in.b.tensor.as<float>() + row * in.b.tensor.dim(1) + in.b.begin;
          const float* a = in.a.tensor.as<float>() + row * in.a.tensor.dim(1) + in.a.begin;
          const double beta = sigmoid(b[h]);
          const double g = -std::exp(static_cast<double>(in.A_log.as<float>()[h])) *
                           softplus(static_cast<double>(a[h]) + in.dt_bias.as<float>()[h]);
          const auto decay = static_cast<float>(std::exp(g));
          std::vector<float> d(at(dv));
          for (std::int64_t j = 0; j < dv; ++j) {
            double m = 0;
            for (std::int64_t i = 0; i < dk; ++i)
              m += static_cast<double>(state[at(i * dv + j)]) * k[at(i)];
            d[at(j)] = static_cast<float>((v[j] - m * decay) * beta);
          }
          for (std::int64_t j = 0; j < dv; ++j) {
            double o = 0;
            for (std::int64_t i = 0; i < dk; ++i) {
              float& x = state[at(i * dv + j)];
              x = static_cast<float>(static_cast<double>(decay) * x +
                                     static_cast<double>(k[at(i)]) * d[at(j)]);
              o += x * q[at(i)];
            }
            out.as<float>()[(row * nv + h) * dv + j] = static_cast<float>(o);
          }
          if (s.draft) {
            DraftRow& record = slot.draft[at(t)];
            std::ranges::copy(d, record.delta.data() + (layer * nv + h) * dv);
            record.decay[at(layer * nv + h)] = decay;
            if (h % (nv / nk) == 0)
              std::ranges::copy(k, record.key.data() + (layer * nk + key_head) * dk);
          }
        }
        if (!s.draft) std::ranges::copy(state, kept);
      }
    });
  }
}

}  // namespace octet::ops::reference
