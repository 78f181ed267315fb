#pragma once

#include <cstddef>
#include <string>

#include "checkpoint/checkpoint.h"
#include "cli/serve_flags.h"
#include "generate/engine.h"

namespace octet::cli {

/// What a server takes and holds, before anything is allocated.
struct ServePlan {
  generate::EngineOptions engine;  ///< num_tokens is the tokenizer's to set
  generate::EnginePlan memory;
  std::size_t weight_bytes = 0, limit_bytes = 0;
  std::string note;  ///< what was lowered to fit; empty: nothing
  std::size_t total_bytes() const;
};

/// Bytes that the server may take: --max-memory, or --gpu-memory-utilization's share of what is
/// free, or 80 % of that.
std::size_t serve_memory_limit(const ServeFlags& flags);

/// As much KV memory as the limit leaves, up to all sequences at full length. A context that was
/// not asked for is lowered to what fits. Errors: out_of_memory with a table and what would fit;
/// invalid_argument for a context above the model's. dummy: what is loaded instead of the
/// checkpoint's weights, or null.
ServePlan plan_serving(const checkpoint::Checkpoint& checkpoint, const ServeFlags& flags,
                       std::size_t limit_bytes, const DummyWeights* dummy = nullptr);

/// The plan as lines for a person: what takes how much, what it holds.
std::string describe(const ServePlan& plan);

}  // namespace octet::cli
