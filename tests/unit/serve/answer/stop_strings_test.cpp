#include "serve/answer/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace octet::serve {
namespace {

std::string feed(StopStrings& stops, std::string_view text, std::size_t piece) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += piece) out += stops.push(text.substr(i, piece));
  return out + stops.flush();
}

TEST(StopStrings, FindsAcrossPieces) {
  for (std::size_t piece = 1; piece < 12; ++piece) {
    StopStrings stops({"END", "stop"});
    EXPECT_EQ(feed(stops, "one EN two sto END three", piece), "one EN two sto ");
    EXPECT_EQ(stops.matched(), "END");
    StopStrings included({"END"}, true);
    EXPECT_EQ(feed(included, "a END b", piece), "a END");
    StopStrings none({"absent"});
    EXPECT_EQ(feed(none, "an absen", piece), "an absen");
    EXPECT_FALSE(none.matched());
  }
}

TEST(StopStrings, HoldsBackOnlyWhatCouldBegin) {
  StopStrings stops({"\n\nUser"});
  EXPECT_EQ(stops.push("text\n"), "text");
  EXPECT_EQ(stops.push("more"), "\nmore");
  EXPECT_EQ(stops.push("\n\nUse"), "");
  EXPECT_EQ(stops.flush(), "\n\nUse");
}

TEST(StopStrings, CharactersStayWhole) {
  StopStrings stops({"\u00e9t"});
  EXPECT_EQ(stops.push("caf\xc3\xa9"), "caf");
  EXPECT_EQ(stops.push("s"), "\xc3\xa9s");
}

// Whatever the pieces, the result is that of the whole text.
TEST(StopStrings, AnyCutGivesTheSame) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 30; ++i) text += "ab"[random() % 2];
    std::vector<std::string> strings;
    for (int i = 0; i < 3; ++i) {
      std::string s;
      for (std::size_t n = 1 + random() % 6; n > 0; --n) s += "abc"[random() % 3];
      strings.push_back(s);
    }
    StopStrings letters(strings);
    const std::string expected = feed(letters, text, 1);
    StopStrings pieces(strings);
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t n = 1 + random() % 7;
      out += pieces.push(std::string_view(text).substr(at, n));
      at += n;
    }
    out += pieces.flush();
    ASSERT_EQ(out, expected) << text;
    ASSERT_EQ(pieces.matched(), letters.matched()) << text;
  }
}

}  // namespace
}  // namespace octet::serve
