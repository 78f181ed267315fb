#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octet::generate::grammar {

using CodePointRanges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// A deterministic automaton over bytes for what a grammar reads directly. One byte leads to
/// another place inside (`inside`), to the end (`done`), to both or to neither.
struct Advance {
  std::uint32_t to = 0;
  bool inside = false, done = false;
};

/// One code point of some ranges, as UTF-8; surrogates have none. States are shared where their
/// rests are equal. At most four bytes.
class CharClassAutomaton {
 public:
  explicit CharClassAutomaton(const CodePointRanges& ranges);
  Advance advance(std::uint32_t state, std::uint8_t byte) const;
  std::uint32_t start() const { return start_; }
  std::size_t bytes() const;
  /// Calls visit(first, last) for each range of bytes that some state tells from others.
  template <typename Visit>
  void for_each_range(Visit visit) const {
    for (const auto& t : transitions_) visit(t.first, t.last);
  }

 private:
  struct Transition {
    std::uint8_t first, last;
    std::uint32_t to;
    bool operator==(const Transition&) const = default;
  };
  struct State {
    std::uint32_t begin, count;
  };
  std::uint32_t add(const std::vector<Transition>& transitions);
  std::uint32_t block(const CodePointRanges& ranges, std::uint32_t base, int level);

  std::vector<State> states_;
  std::vector<Transition> transitions_;
  std::uint32_t start_ = 0;
  std::array<std::uint32_t, 4> whole_{};  // by bytes that follow; 0: not built yet
};

/// Valid UTF-8 that does not contain `without` (empty: any valid UTF-8). It may be done wherever a
/// character is complete, so it is done before the first byte, too.
class TextAutomaton {
 public:
  explicit TextAutomaton(std::string without);
  Advance advance(std::uint32_t state, std::uint8_t byte) const;
  std::string_view without() const { return without_; }

 private:
  std::string without_;
  std::vector<std::uint32_t> fallback_;  // Knuth-Morris-Pratt: by matched bytes
};

}  // namespace octet::generate::grammar
