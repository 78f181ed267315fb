#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/text_model.h"

namespace octet::generate {

struct SelfTextOptions {
  std::int64_t tokens = 262144;  ///< of all rows together, reached by the last one
  std::int64_t min_tokens = 256, max_tokens = 2048;  ///< of a row
  std::uint64_t seed = 0;
  std::int64_t batch = 16;  ///< rows written side by side; changes no row
  /// What rows begin with, in turn: the token that separates documents, the head of a user's turn.
  std::vector<std::vector<std::int32_t>> beginnings;
  std::int64_t num_tokens = 0;  ///< ids at and above have no token
};

/// Text that a model writes by itself, sampled at temperature 1 from its own distribution: rows of
/// ids with lengths spread evenly between min and max. Same rows for any batch and number of
/// threads. progress(tokens done). Memory: the model and caches for `batch` rows.
/// Errors: invalid_argument; as Engine's.
std::vector<std::vector<std::int32_t>> write_self_text(
    model::TextModel& model, const SelfTextOptions& options,
    const std::function<void(std::int64_t)>& progress = {});

}  // namespace octet::generate
