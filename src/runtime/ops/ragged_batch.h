#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace octet::ops {

/// Tokens in one page of the KV cache. Attention walks pages in order (a backend may add them up in
/// spans of pages), so page edges lie on absolute multiples of it and a row's sum has the same
/// order whatever else is computed.
inline constexpr std::int64_t kPageTokens = 64;

/// The most rows of one sequence that a step can hold back as a draft.
inline constexpr std::int64_t kMaxDraftRows = 16;

/// Consecutive rows of one sequence within a step: a chunk of a prompt, one decoded token, or a
/// draft to be verified.
struct Segment {
  std::int64_t row_begin = 0;   ///< first row in the step's tensors
  std::int64_t num_rows = 0;    ///< at least 1
  std::int64_t past = 0;        ///< tokens of the sequence before the first row (its token index)
  std::int32_t state_slot = 0;  ///< slot of the recurrent and convolution states
  /// Rows that an earlier draft step held back and that were accepted since: the states take them
  /// in before the first row of this step.
  std::int32_t accepted_rows = 0;
  /// A draft: the states stay as they are (after accepted_rows) and what each row would change is
  /// recorded beside them, so that any prefix can be accepted later. num_rows <= kMaxDraftRows.
  bool draft = false;
  /// Block table: page of the tokens [64 i, 64 i + 64), long enough for past + num_rows.
  std::vector<std::int32_t> pages;
};

/// The rows of one step. Segments follow each other without gaps; no two share a sequence.
struct RaggedBatch {
  std::vector<Segment> segments;
  std::int64_t num_rows = 0;
};

}  // namespace octet::ops
