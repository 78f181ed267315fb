#include "generate/grammar/terminals.h"

#include <algorithm>
#include <array>

namespace octet::generate::grammar {
namespace {

constexpr std::uint32_t kDone = 0;  // the state behind a character's last byte

CodePointRanges intersect(const CodePointRanges& ranges, std::uint32_t first, std::uint32_t last) {
  CodePointRanges result;
  auto it = std::ranges::lower_bound(ranges, first, {}, [](const auto& r) { return r.second; });
  for (; it != ranges.end() && it->first <= last; ++it)
    result.emplace_back(std::max(it->first, first), std::min(it->second, last));
  return result;
}

// Where a UTF-8 character stands: at its beginning, so many bytes before its end, or where the
// second byte is limited (overlong forms, surrogates, beyond U+10FFFF).
enum Utf8 : std::uint32_t { boundary, one, two, three, after_e0, after_ed, after_f0, after_f4, bad };

Utf8 next_utf8(std::uint32_t state, std::uint8_t b) {
  const auto within = [&](std::uint8_t first, std::uint8_t last, Utf8 to) {
    return b >= first && b <= last ? to : bad;
  };
  switch (state) {
    case boundary:
      if (b < 0x80) return boundary;
      if (b >= 0xC2 && b <= 0xDF) return one;
      if (b == 0xE0) return after_e0;
      if (b == 0xED) return after_ed;
      if (b >= 0xE1 && b <= 0xEF) return two;
      if (b == 0xF0) return after_f0;
      if (b >= 0xF1 && b <= 0xF3) return three;
      return b == 0xF4 ? after_f4 : bad;
    case one:
      return within(0x80, 0xBF, boundary);
    case two:
      return within(0x80, 0xBF, one);
    case three:
      return within(0x80, 0xBF, two);
    case after_e0:
      return within(0xA0, 0xBF, one);
    case after_ed:
      return within(0x80, 0x9F, one);
    case after_f0:
      return within(0x90, 0xBF, two);
    case after_f4:
      return within(0x80, 0x8F, two);
    default:
      return bad;
  }
}

}  // namespace

CharClassAutomaton::CharClassAutomaton(const CodePointRanges& ranges) {
  states_.push_back({0, 0});  // kDone
  struct Length {
    std::uint32_t first, last;         // code points of this length
    std::uint8_t lead_first, lead_last, lead_base;
    int continuations;
  };
  // Surrogates cut the three-byte characters in two; their common lead byte 0xED is in the second
  // row's way only as far as its own code points go.
  static constexpr std::array<Length, 5> kLengths{{{0, 0x7F, 0x00, 0x7F, 0x00, 0},
                                                   {0x80, 0x7FF, 0xC2, 0xDF, 0xC0, 1},
                                                   {0x800, 0xD7FF, 0xE0, 0xED, 0xE0, 2},
                                                   {0xE000, 0xFFFF, 0xEE, 0xEF, 0xE0, 2},
                                                   {0x10000, 0x10FFFF, 0xF0, 0xF4, 0xF0, 3}}};
  std::vector<Transition> roots;
  for (const auto& length : kLengths) {
    const auto own = intersect(ranges, length.first, length.last);
    if (own.empty()) continue;
    const int shift = 6 * length.continuations;
    for (unsigned lead = length.lead_first; lead <= length.lead_last; ++lead) {
      const std::uint32_t base = (lead - length.lead_base) << shift;
      const auto inside = intersect(own, base, base + (1U << shift) - 1);
      if (inside.empty()) continue;
      const auto to = block(inside, base, length.continuations);
      const auto byte = static_cast<std::uint8_t>(lead);
      if (!roots.empty() && roots.back().to == to && roots.back().last + 1 == byte)
        roots.back().last = byte;
      else
        roots.push_back({byte, byte, to});
    }
  }
  // The start is never shared: an empty class must not look like kDone.
  start_ = static_cast<std::uint32_t>(states_.size());
  states_.push_back({static_cast<std::uint32_t>(transitions_.size()),
                     static_cast<std::uint32_t>(roots.size())});
  transitions_.insert(transitions_.end(), roots.begin(), roots.end());
}

std::uint32_t CharClassAutomaton::block(const CodePointRanges& ranges, std::uint32_t base,
                                        int level) {
  if (level == 0) return kDone;
  // Whole blocks are by far the most; each is built once.
  const bool whole = ranges.size() == 1 && ranges[0].first == base &&
                     ranges[0].second == base + (1U << (6 * level)) - 1;
  if (whole) {
    auto& state = whole_[static_cast<std::size_t>(level)];
    if (state == kDone) {
      const auto first = base;  // any whole block does
      const auto inner = (1U << (6 * (level - 1))) - 1;
      state = add({{0x80, 0xBF, block({{first, first + inner}}, first, level - 1)}});
    }
    return state;
  }
  const int shift = 6 * (level - 1);
  std::vector<Transition> out;
  for (std::uint32_t i = 0; i < 64; ++i) {
    const std::uint32_t first = base + (i << shift);
    const auto inside = intersect(ranges, first, first + (1U << shift) - 1);
    if (inside.empty()) continue;
    const auto to = block(inside, first, level - 1);
    const auto byte = static_cast<std::uint8_t>(0x80 + i);
    if (!out.empty() && out.back().to == to && out.back().last + 1 == byte)
      out.back().last = byte;
    else
      out.push_back({byte, byte, to});
  }
  return add(out);
}

std::uint32_t CharClassAutomaton::add(const std::vector<Transition>& transitions) {
  // Neighbouring blocks are mostly alike (whole ones): a look at the latest states finds nearly
  // all that can be shared, at a bounded price.
  const auto oldest = states_.size() > 64 ? states_.size() - 64 : 1;
  for (auto i = states_.size(); i-- > oldest;) {
    const auto& s = states_[i];
    if (s.count == transitions.size() &&
        std::equal(transitions.begin(), transitions.end(), transitions_.begin() + s.begin))
      return static_cast<std::uint32_t>(i);
  }
  states_.push_back({static_cast<std::uint32_t>(transitions_.size()),
                     static_cast<std::uint32_t>(transitions.size())});
  transitions_.insert(transitions_.end(), transitions.begin(), transitions.end());
  return static_cast<std::uint32_t>(states_.size()) - 1;
}

Advance CharClassAutomaton::advance(std::uint32_t state, std::uint8_t byte) const {
  const auto begin = transitions_.begin() + states_[state].begin;
  const auto end = begin + states_[state].count;
  const auto it = std::lower_bound(begin, end, byte,
                                   [](const Transition& t, std::uint8_t b) { return t.last < b; });
  if (it == end || it->first > byte) return {};
  return {it->to, it->to != kDone, it->to == kDone};
}

std::size_t CharClassAutomaton::bytes() const {
  return sizeof(*this) + states_.size() * sizeof(State) + transitions_.size() * sizeof(Transition);
}

TextAutomaton::TextAutomaton(std::string without) : without_(std::move(without)) {
  fallback_.assign(without_.size() + 1, 0);
  for (std::uint32_t i = 1, matched = 0; i < without_.size(); ++i) {
    while (matched > 0 && without_[i] != without_[matched]) matched = fallback_[matched];
    if (without_[i] == without_[matched]) ++matched;
    fallback_[i + 1] = matched;
  }
}

Advance TextAutomaton::advance(std::uint32_t state, std::uint8_t byte) const {
  const auto utf8 = next_utf8(state % 8, byte);
  if (utf8 == bad) return {};
  std::uint32_t matched = state / 8;
  if (!without_.empty()) {
    while (matched > 0 && static_cast<std::uint8_t>(without_[matched]) != byte)
      matched = fallback_[matched];
    if (static_cast<std::uint8_t>(without_[matched]) == byte) ++matched;
    if (matched == without_.size()) return {};
  }
  return {matched * 8 + utf8, true, utf8 == boundary};
}

}  // namespace octet::generate::grammar
