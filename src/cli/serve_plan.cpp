#include "cli/serve_plan.h"

#include <algorithm>

#include "checkpoint/inventory.h"
#include "runtime/base/progress.h"
#include "runtime/base/system.h"

namespace octet::cli {

namespace {

constexpr std::int64_t kPage = 64;
// Below, no conversation is possible.
constexpr std::int64_t kLeastContext = 256;

std::string table(const ServePlan& plan) {
  const auto& m = plan.memory;
  const auto row = [](std::string_view name, std::size_t bytes, const std::string& what) {
    return fmt::format("  {:<20}{:>10}{}{}\n", name, format_bytes(static_cast<double>(bytes)),
                       what.empty() ? "" : "  ", what);
  };
  return row("weights", plan.weight_bytes, "") +
         row("KV cache", m.kv_bytes, fmt::format("{} tokens", m.kv_tokens)) +
         row("recurrent states", m.state_bytes, fmt::format("{} sequences", m.sequences)) +
         row("prefix snapshots", m.snapshot_bytes, fmt::format("{} states", m.snapshots)) +
         row("workspace", m.workspace_bytes, "") + row("needed", plan.total_bytes(), "") +
         row("allowed", plan.limit_bytes, "--max-memory; 80% of what is free by default");
}

[[noreturn]] void does_not_fit(const ServePlan& plan, const std::string& model,
                               std::int64_t fitting) {
  const std::string remedy =
      fitting >= kLeastContext
          ? fmt::format("--max-model-len {} would fit", fitting)
          : "fewer sequences (--max-num-seqs), fewer snapshots (--snapshot-slots), a smaller or "
            "quantized checkpoint, or more memory would help";
  fail(ErrorCode::out_of_memory, "{} does not fit in memory\n{}{}", model, table(plan), remedy);
}

}  // namespace

std::size_t ServePlan::total_bytes() const {
  return weight_bytes + memory.kv_bytes + memory.state_bytes + memory.snapshot_bytes +
         memory.workspace_bytes;
}

std::size_t serve_memory_limit(const ServeFlags& flags) {
  if (flags.gpu_memory_utilization > 0 && flags.compute.max_memory.empty())
    return static_cast<std::size_t>(static_cast<double>(available_memory_bytes()) *
                                    flags.gpu_memory_utilization);
  return flags.compute.memory_limit();
}

ServePlan plan_serving(const checkpoint::Checkpoint& checkpoint, const ServeFlags& flags,
                       std::size_t limit_bytes, const DummyWeights* dummy) {
  const checkpoint::TextConfig& config = dummy ? dummy->config : checkpoint.config().text;
  ServePlan plan;
  plan.limit_bytes = limit_bytes;
  plan.weight_bytes =
      dummy ? dummy->bytes() : checkpoint::take_inventory(checkpoint).text_weight_bytes;
  generate::EngineOptions& e = plan.engine;
  e.max_sequences = flags.max_num_seqs;
  e.max_step_rows = flags.max_num_batched_tokens;
  e.kv_dtype = flags.compute.kv_dtype();
  e.max_queued = flags.max_queued_requests;
  e.queue_timeout_seconds = flags.queue_timeout;
  e.by_priority = flags.scheduling_policy == "priority";
  e.prefix_cache = flags.prefix_cache != "off";
  e.exact_prefix_cache = flags.prefix_cache == "exact";
  e.snapshot_slots = flags.snapshot_slots;
  e.snapshot_interval = flags.snapshot_interval;
  e.max_prompt_pieces = flags.max_num_partial_prefills;

  const std::int64_t own = config.context_length();
  const bool asked = flags.max_model_len > 0;
  if (asked && flags.max_model_len > own && !flags.allow_long_max_model_len)
    fail(ErrorCode::invalid_argument,
         "--max-model-len {}: the model's configuration is for {} tokens; --hf-overrides can "
         "give it YaRN or another max_position_embeddings (docs/serving.md, Longer contexts), "
         "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 lets the configuration be",
         flags.max_model_len, own);
  e.max_model_len = asked ? flags.max_model_len : own;

  // What one page takes, by the engine's own count.
  e.kv_tokens = kPage;
  plan.memory = generate::plan_engine(config, e);
  const std::size_t page_bytes = std::max<std::size_t>(1, plan.memory.kv_bytes);
  const std::size_t fixed = plan.total_bytes() - plan.memory.kv_bytes;
  const auto in_pages = [](std::int64_t tokens) { return (tokens + kPage - 1) / kPage; };
  // More than all sequences at full length is never used.
  const std::int64_t useful = in_pages(e.max_model_len) * e.max_sequences;
  std::int64_t pages = useful;
  if (limit_bytes > 0)
    pages = limit_bytes <= fixed
                ? 0
                : static_cast<std::int64_t>(std::min<std::size_t>(
                      (limit_bytes - fixed) / page_bytes, static_cast<std::size_t>(useful)));
  if (flags.kv_cache_memory_bytes > 0) {
    const std::int64_t wanted = flags.kv_cache_memory_bytes / static_cast<std::int64_t>(page_bytes);
    if (wanted > pages && pages < useful) {
      e.kv_tokens = std::max<std::int64_t>(1, wanted) * kPage;
      plan.memory = generate::plan_engine(config, e);
      does_not_fit(plan, flags.model, pages * kPage);
    }
    pages = std::min(pages, wanted);
  }
  const std::int64_t fitting = pages * kPage;
  if (fitting < std::min(e.max_model_len, asked ? e.max_model_len : kLeastContext)) {
    e.kv_tokens = in_pages(asked ? e.max_model_len : kLeastContext) * kPage;
    plan.memory = generate::plan_engine(config, e);
    does_not_fit(plan, flags.model, fitting);
  }
  if (fitting < e.max_model_len) {
    // -1 asks for this.
    if (flags.max_model_len == 0)
      plan.note = fmt::format("the context is {} tokens instead of {}: more doesn't fit in memory",
                              fitting, e.max_model_len);
    e.max_model_len = fitting;
  }
  e.kv_tokens = fitting;
  plan.memory = generate::plan_engine(config, e);
  return plan;
}

std::string describe(const ServePlan& plan) {
  return table(plan) + fmt::format(
                           "  holds {} tokens in all, {} sequences at once, {} of them at "
                           "{} tokens each\n",
                           plan.memory.kv_tokens, plan.memory.sequences,
                           plan.memory.full_length_sequences, plan.engine.max_model_len);
}

}  // namespace octet::cli
