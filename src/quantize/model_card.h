#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.h"
#include "runtime/base/json.h"

namespace octet::quantize {

/// README.md of a result: components and precision, configuration, calibration, sizes, how to use
/// it, and an empty table of perplexities that `octet perplexity --write-card` fills.
/// report: the content of quantize_report.json; source_readme: the source's card (may be empty),
/// whose licence is taken over.
std::string model_card(const checkpoint::Checkpoint& result, const std::string& source_name,
                       const json::object& report, const std::string& source_readme);

/// A measured line of the card.
struct CardRow {
  std::string text;      ///< name of the text
  std::string protocol;  ///< "2048 / 512": context and stride
  std::string base, perplexity, difference, divergence, same_top;
};

/// The card with the row added, or in place of the one with the same text and protocol. All other
/// bytes stay. A card without a table of octet's gets one at its end.
std::string with_row(const std::string& card, const CardRow& row);

/// with_row on FOLDER/README.md, which may be missing. Errors: unavailable.
void write_card_row(const std::filesystem::path& folder, const CardRow& row);

}  // namespace octet::quantize
