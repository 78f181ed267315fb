#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "input/tokenizer/tokenizer.h"

namespace octet::quantize {

/// A file of calibration text, and how much it counts beside the others.
struct CalibrationSource {
  /// .jsonl or .json (an object a line: text, messages, instruction + output, input_ids) or plain
  /// text; each also packed by gzip or zstd.
  std::filesystem::path file;
  double weight = 1;
};

/// "FILE" or "FILE:WEIGHT". Errors: invalid_argument if the weight is no positive number.
CalibrationSource parse_source(const std::string& text);

/// The text that shows GPTQ which inputs matter.
struct CalibrationOptions {
  std::vector<CalibrationSource> sources;
  std::int64_t samples = 512;      ///< rows at most
  std::int64_t min_tokens = 256;   ///< of a row that is drawn; shorter texts are joined
  std::int64_t max_tokens = 2048;  ///< a longer row is cut
  std::uint64_t seed = 0;          ///< which rows, and how long
  std::int32_t separator = -1;     ///< between joined texts; -1: none
  /// Turns a list of messages into text; needed for rows with `messages` and `instruction`.
  std::function<std::string(const json::value& messages)> render;
  /// Rows that were made elsewhere (by the model itself), taken as they are.
  std::vector<std::vector<std::int32_t>> more_rows;
};

struct CalibrationSet {
  /// What a source gave.
  struct Part {
    std::string name;
    double weight = 1;
    std::int64_t rows = 0, tokens = 0;
    bool drawn = false;  ///< drawn by length; else taken whole
  };
  std::vector<std::vector<std::int32_t>> rows;
  std::int64_t num_tokens = 0;
  std::string sha256;  ///< of all token ids: what the result depends on
  std::uint64_t seed = 0;
  std::vector<Part> parts;
};

/// Reads, tokenizes, selects. A source has a quota of rows by its weight. One that holds no more
/// texts than that is taken whole, in order: texts of ten tokens or fewer are dropped (as the
/// reference does), longer ones cut at max_tokens. From a larger one rows are drawn so that their
/// lengths fill bins of 256 tokens between min and max evenly; too short texts are joined.
/// Plain text counts as texts of max_tokens.
/// docs/calibration.md
/// Errors: not_found; bad_data with file and line; invalid_argument if nothing is left.
CalibrationSet load_calibration(const CalibrationOptions& options,
                                const tokenizer::Tokenizer& tokenizer, std::int64_t vocab_size);

/// The set's token ids, a row a line: {"input_ids": [...]}. As a calibration file it gives the same
/// set again. Errors: unavailable.
void write_calibration(const CalibrationSet& set, const std::filesystem::path& path);

}  // namespace octet::quantize
