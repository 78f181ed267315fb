#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "input/tokenizer/tokenizer.h"

namespace octet::quantize {

/// The text that shows GPTQ which inputs matter.
struct CalibrationOptions {
  std::vector<std::filesystem::path>
      files;  ///< .jsonl (text, messages, instruction + output, input_ids) or plain text
  std::int64_t samples = 512;      ///< rows at most
  std::int64_t max_tokens = 2048;  ///< a longer row is cut
  std::uint64_t seed = 0;          ///< which rows, if there are more
  /// Turns a list of messages into text; needed for rows with `messages` and `instruction`.
  std::function<std::string(const json::value& messages)> render;
};

struct CalibrationSet {
  std::vector<std::vector<std::int32_t>> rows;
  std::int64_t num_tokens = 0;
  std::string sha256;  ///< of all token ids: what the result depends on
};

/// Reads, tokenizes, selects. Rows of ten tokens or fewer are dropped, as the reference does.
/// Plain text is cut into rows of max_tokens.
/// Errors: not_found; bad_data with file and line; invalid_argument if nothing is left.
CalibrationSet load_calibration(const CalibrationOptions& options,
                                const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size);

}  // namespace octet::quantize
