#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"

namespace octet::cli {

/// Random weights in the place of a checkpoint's, for measurements: vLLM's --load-format dummy.
struct DummyWeights {
  checkpoint::TextConfig config;
  std::int64_t bits = 8;

  /// What they take once packed, within a few percent.
  std::uint64_t bytes() const;
};

/// shape: as model::published_shape takes it; empty: the checkpoint's own.
/// Errors: invalid_argument.
DummyWeights dummy_weights(const std::string& shape, const checkpoint::Checkpoint& checkpoint);

}  // namespace octet::cli
