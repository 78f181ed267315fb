// The card of a result and the rows that are measured later.

#include "quantize/model_card.h"

#include <gtest/gtest.h>

#include "runtime/base/mapped_file.h"
#include "support/support.h"

namespace octet::quantize {
namespace {

CardRow row(const std::string& text, const std::string& perplexity) {
  return {text, "2048 / 512", "6.90", perplexity, "+0.01 % ± 0.02 %", "1.2e-4", "99.1 %"};
}

TEST(ModelCard, TellsWhatIsInside) {
  const auto tiny = checkpoint::Checkpoint::open(test::tiny_model());
  const json::object report{
      {"quantization_config",
       {{"bits", 8}, {"group_size", 32}, {"sym", true}, {"meta", {{"damp_percent", 0.05}}}}},
      {"calibration",
       {{"rows", 3},
        {"tokens", 500},
        {"seed", 7},
        {"sha256", "abc"},
        {"sources", {{{"name", "a|b.jsonl"}, {"weight", 1.0}, {"rows", 3}, {"tokens", 500}}}}}},
      {"bytes", {{"source", 2000000000}, {"output", 1000000000}}}};
  const std::string card = model_card(tiny, "owner/model", report,
                                      "---\nlicense: apache-2.0\nother: x\n---\nlicense: no\n");
  for (const char* part :
       {"base_model: owner/model", "license: apache-2.0", "8 bit, group 32", "vision tower",
        "multi-token prediction", "| damp_percent | 0.05 |", "`abc`", "| a b.jsonl |", "2.00 GB",
        "1.00 GB", "octet perplexity: begin"})
    EXPECT_NE(card.find(part), card.npos) << part;
  EXPECT_EQ(card.find("other: x"), card.npos);
  EXPECT_EQ(card.find("license: no"), card.npos);
  const std::string filled = with_row(card, row("wiki", "6.91"));
  EXPECT_NE(filled.find("| wiki | 2048 / 512 | 6.90 | 6.91 |"), filled.npos);
  EXPECT_EQ(filled.size(),
            card.size() + filled.find('\n', filled.find("| wiki")) - filled.find("| wiki") + 1);
}

TEST(ModelCard, RowsAreReplacedAndTheRestStays) {
  const std::string own = "# Mine\r\n\n| a | table |\n\xff bytes";
  std::string card = with_row(own, row("wiki", "1"));
  EXPECT_TRUE(card.starts_with(own));
  card = with_row(card, row("books", "2"));
  const std::string both = card;
  card = with_row(card, row("wiki", "3"));
  EXPECT_NE(card.find("| 3 |"), card.npos);
  EXPECT_EQ(card.find("| 1 |"), card.npos);
  EXPECT_NE(card.find("| books |"), card.npos);
  EXPECT_EQ(with_row(card, row("wiki", "1")), both);
  EXPECT_EQ(with_row(both, row("books", "2")), both);
  // Text after the table stays after it; a damaged pair of marks is left alone.
  EXPECT_TRUE(with_row(both + "\nThe end.", row("wiki", "4")).ends_with("\nThe end."));
  const std::string damaged = "<!-- octet perplexity: end --> x <!-- octet perplexity: begin -->";
  const std::string mended = with_row(damaged, row("wiki", "1"));
  EXPECT_TRUE(mended.starts_with(damaged));
  EXPECT_EQ(with_row(mended, row("wiki", "1")), mended);
}

TEST(ModelCard, WritesAFile) {
  const test::ScratchFolder folder;
  write_card_row(folder.path(), row("wiki", "1"));
  write_card_row(folder.path(), row("wiki", "2"));
  const std::string card = read_file(folder.path() / "README.md");
  EXPECT_NE(card.find("| 2 |"), card.npos);
  EXPECT_EQ(card.find("| 1 |"), card.npos);
}

}  // namespace
}  // namespace octet::quantize
