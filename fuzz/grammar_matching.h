// What the grammar targets do with rules: compile them and read some bytes as tokens. Masks must
// say what accept() then does, and a token taken back must leave no trace.
#pragma once

#include <cstdlib>
#include <string_view>

#include "generate/grammar/matcher.h"

namespace octet::generate::grammar {

/// Errors: as the members of GrammarMatcher: work beyond the limits.
inline void match(Rules rules, std::string_view text) {
  static const auto vocabulary = [] {
    std::vector<std::string> tokens;
    for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
    for (const char* more : {"ab", "aab", "]]", "]]]]]", "\"}", "\":", "  ", "aaaaaaaa", "\xc3\xa9",
                             "\xa9\xc3", "10", "))", "()", "end"})
      tokens.emplace_back(more);
    tokens.emplace_back();
    const auto stop = static_cast<std::int32_t>(tokens.size()) - 1;
    return std::make_shared<Vocabulary>(std::move(tokens), std::vector<std::int32_t>{stop});
  }();
  const auto grammar = CompiledGrammar::compile(std::move(rules), vocabulary,
                                                std::chrono::seconds(2), std::size_t{32} << 20);
  GrammarMatcher matcher(grammar);
  const auto mask_of = [&] {
    std::vector<std::uint32_t> mask(static_cast<std::size_t>((vocabulary->size() + 31) / 32),
                                    0xFFFFFFFF);
    matcher.fill_mask(mask);
    return mask;
  };
  int states = 0;
  for (const char c : text.substr(0, 2000)) {
    if (states++ < 12) {
      const auto mask = mask_of();
      for (std::int32_t id = 0; id < vocabulary->size(); ++id) {
        const bool allowed = (mask[static_cast<std::size_t>(id) / 32] >> (id % 32) & 1) != 0;
        if (matcher.accept(id) != allowed) std::abort();
        if (allowed) matcher.rollback(1);
      }
      if (mask_of() != mask) std::abort();
    }
    if (matcher.ended() && matcher.accept(static_cast<std::uint8_t>(c))) std::abort();
    if (!matcher.accept(static_cast<std::uint8_t>(c))) continue;
  }
}

}  // namespace octet::generate::grammar
