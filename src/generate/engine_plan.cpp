#include <algorithm>

#include "generate/engine.h"
#include "runtime/base/error.h"

namespace octet::generate {

namespace {

void check(const EngineOptions& o) {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t least) {
    if (value < least || value > std::int64_t{1} << 40)
      fail(ErrorCode::invalid_argument, "engine: {} = {}: expected {} or more", name, value, least);
  };
  at_least("max_sequences", o.max_sequences, 1);
  at_least("max_step_rows", o.max_step_rows, 1);
  at_least("max_model_len", o.max_model_len, 0);
  at_least("kv_tokens", o.kv_tokens, 1);
  at_least("num_tokens", o.num_tokens, 0);
  at_least("max_queued", o.max_queued, 1);
  at_least("snapshot_slots", o.snapshot_slots, 0);
  at_least("snapshot_interval", o.snapshot_interval, 1);
  at_least("max_prompt_pieces", o.max_prompt_pieces, 0);
}

}  // namespace

EnginePlan plan_engine(const checkpoint::TextConfig& config, const EngineOptions& o) {
  check(o);
  const model::PoolOptions caches{
      .num_sequences = o.max_sequences, .num_tokens = o.kv_tokens, .kv_dtype = o.kv_dtype};
  const auto kv = model::kv_shape(config, caches);
  const std::size_t slot = model::state_bytes(model::state_shape(config, caches));
  EnginePlan plan;
  plan.kv_bytes = kv.bytes();
  plan.kv_tokens = kv.num_pages * ops::kPageTokens;
  plan.sequences = o.max_sequences;
  plan.state_bytes = slot * static_cast<std::size_t>(o.max_sequences);
  plan.snapshots = o.prefix_cache ? o.snapshot_slots : 0;
  plan.snapshot_bytes = slot * static_cast<std::size_t>(plan.snapshots);
  const std::int64_t logit_rows = std::min<std::int64_t>(o.max_sequences, 64);
  // The logits once more, on the host.
  plan.workspace_bytes = model::TextModel::workspace_bytes(config, o.max_step_rows, logit_rows) +
                         static_cast<std::size_t>(logit_rows * config.vocab_size) * sizeof(float);
  const std::int64_t length = o.max_model_len > 0 ? o.max_model_len : config.context_length();
  plan.full_length_sequences = std::min(
      o.max_sequences,
      kv.num_pages / std::max<std::int64_t>(1, (length + ops::kPageTokens - 1) / ops::kPageTokens));
  return plan;
}

}  // namespace octet::generate
