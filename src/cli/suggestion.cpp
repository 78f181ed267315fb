#include "cli/suggestion.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace octet::cli {

namespace {

// Levenshtein.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t cost = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, cost});
    }
  }
  return row.back();
}

}  // namespace

std::string suggestion(const std::string& word, const std::vector<std::string>& choices) {
  if (word.size() > 256) return "";
  std::string best;
  std::size_t least = 1 + word.size() / 2;
  for (const std::string& c : choices)
    if (const std::size_t d = distance(word, c); d < least) least = d, best = c;
  return best.empty() ? "" : fmt::format("; did you mean `{}`?", best);
}

}  // namespace octet::cli
