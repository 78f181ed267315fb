#include "runtime/ops/timed_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace octet::ops {

namespace {

double bytes_of(TensorView t) {
  return static_cast<double>(t.bytes());
}

double bytes_of(Columns c) {
  return static_cast<double>(c.tensor.dim(0) * c.count) * 4;
}

// One sequence's state in one layer, read and written; draft rows leave it alone but read it.
double state_bytes(const StateCacheShape& s) {
  return 2.0 * 4 * static_cast<double>(s.num_value_heads * s.key_head_dim * s.value_head_dim);
}

}  // namespace

template <typename F>
void TimedBackend::time(OpTime op, F&& call) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  call();
  op.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const auto known = std::ranges::find(times_, op.name, &OpTime::name);
  OpTime& sum = known != times_.end() ? *known : times_.emplace_back();
  sum.name = std::move(op.name);
  sum.calls += 1;
  sum.seconds += op.seconds;
  sum.bytes += op.bytes;
  sum.operations += op.operations;
  sum.on_codes = op.on_codes;
}

Tensor TimedBackend::allocate(DType type, Shape shape) {
  return inner_->allocate(type, std::move(shape));
}

std::unique_ptr<KvCache> TimedBackend::make_kv_cache(const KvCacheShape& shape) {
  return inner_->make_kv_cache(shape);
}

std::unique_ptr<StateCache> TimedBackend::make_state_cache(const StateCacheShape& shape) {
  return inner_->make_state_cache(shape);
}

std::unique_ptr<PackedLinear> TimedBackend::pack_linear(std::span<const LinearPart> parts,
                                                        const RankSlice& slice) {
  return inner_->pack_linear(parts, slice);
}

void TimedBackend::embed(TensorView table, TensorView ids, TensorView y) {
  time({.name = "embed", .bytes = 2 * bytes_of(y)}, [&] { inner_->embed(table, ids, y); });
}

void TimedBackend::linear(TensorView x, const PackedLinear& w, TensorView y) {
  const auto weights = static_cast<double>(w.in_features() * w.out_features());
  time({.name = fmt::format("linear {} -> {}", w.in_features(), w.out_features()),
        .bytes = static_cast<double>(w.bytes()) + bytes_of(x) + bytes_of(y),
        .operations = 2 * weights * static_cast<double>(x.dim(0)),
        .on_codes = static_cast<double>(w.bytes()) < 1.5 * weights},
       [&] { inner_->linear(x, w, y); });
}

void TimedBackend::add(TensorView x, TensorView delta) {
  time({.name = "add", .bytes = 3 * bytes_of(x)}, [&] { inner_->add(x, delta); });
}

void TimedBackend::rms_norm(TensorView x, TensorView weight, float eps, TensorView y) {
  time({.name = "rms_norm", .bytes = bytes_of(x) + bytes_of(y)},
       [&] { inner_->rms_norm(x, weight, eps, y); });
}

void TimedBackend::silu_mul(TensorView x, TensorView y) {
  time({.name = "silu_mul", .bytes = bytes_of(x) + bytes_of(y)}, [&] { inner_->silu_mul(x, y); });
}

void TimedBackend::attention_inputs(const AttentionShape& shape, TensorView projected,
                                    TensorView q_norm, TensorView k_norm, TensorView cos_sin,
                                    const RaggedBatch& batch, KvCache& cache, std::int64_t layer,
                                    TensorView query) {
  time({.name = "attention_inputs", .bytes = bytes_of(projected) + bytes_of(query)}, [&] {
    inner_->attention_inputs(shape, projected, q_norm, k_norm, cos_sin, batch, cache, layer, query);
  });
}

void TimedBackend::attention(const AttentionShape& shape, TensorView query, TensorView projected,
                             const RaggedBatch& batch, const KvCache& cache, std::int64_t layer,
                             TensorView out) {
  // A page of a layer, both sides; every segment reads its tokens once.
  const KvCacheShape& kv = cache.shape();
  const double token_bytes = static_cast<double>(cache.bytes()) /
                             static_cast<double>(kv.num_layers * kv.num_pages * kPageTokens);
  double bytes = bytes_of(query) + 2 * bytes_of(out), pairs = 0;
  for (const Segment& s : batch.segments) {
    const auto rows = static_cast<double>(s.num_rows), past = static_cast<double>(s.past);
    bytes += token_bytes * (past + rows);
    pairs += rows * past + rows * (rows + 1) / 2;
  }
  time({.name = "attention",
        .bytes = bytes,
        .operations = 4 * pairs * static_cast<double>(shape.num_heads * shape.head_dim)},
       [&] { inner_->attention(shape, query, projected, batch, cache, layer, out); });
}

void TimedBackend::causal_conv1d(Columns x, TensorView weight, const RaggedBatch& batch,
                                 StateCache& states, std::int64_t layer, TensorView y) {
  time({.name = "causal_conv1d", .bytes = bytes_of(x) + bytes_of(y)},
       [&] { inner_->causal_conv1d(x, weight, batch, states, layer, y); });
}

void TimedBackend::gated_delta_rule(const DeltaRuleInputs& inputs, const RaggedBatch& batch,
                                    StateCache& states, std::int64_t layer, TensorView out) {
  const StateCacheShape& s = states.shape();
  // Prediction, decay, update and output: seven operations for each element of the state.
  const auto state = static_cast<double>(s.num_value_heads * s.key_head_dim * s.value_head_dim);
  time({.name = "gated_delta_rule",
        .bytes = bytes_of(inputs.mixed) + bytes_of(out) +
                 state_bytes(s) * static_cast<double>(batch.segments.size()),
        .operations = 7 * state * static_cast<double>(batch.num_rows)},
       [&] { inner_->gated_delta_rule(inputs, batch, states, layer, out); });
}

void TimedBackend::gated_rms_norm(TensorView x, Columns gate, TensorView weight, float eps,
                                  GateActivation activation, TensorView y) {
  time({.name = "gated_rms_norm", .bytes = bytes_of(x) + bytes_of(gate) + bytes_of(y)},
       [&] { inner_->gated_rms_norm(x, gate, weight, eps, activation, y); });
}

}  // namespace octet::ops
