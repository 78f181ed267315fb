#include "generate/grammar/json_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

using Bound = std::optional<NumberBound>;
using Digits = std::optional<std::string_view>;

NodePtr digit(char first, char last) {
  return char_class({{static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last)}});
}

NodePtr digits(std::int64_t min, std::int64_t max) {
  return repeat(digit('0', '9'), min, max);
}

/// prefix, then one digit of a range, then `count` digits: nothing if the range is empty.
void add_stretch(std::vector<NodePtr>& out, std::string prefix, int first, int last,
                 std::size_t count) {
  if (first > last) return;
  std::vector<NodePtr> parts;
  if (!prefix.empty()) parts.push_back(literal(std::move(prefix)));
  parts.push_back(digit(static_cast<char>(first), static_cast<char>(last)));
  const auto n = static_cast<std::int64_t>(count);
  if (n > 0) parts.push_back(digits(n, n));
  out.push_back(sequence(std::move(parts)));
}

/// prefix and as many digits as s has, not less than s.
void add_at_least(std::vector<NodePtr>& out, const std::string& prefix, std::string_view s) {
  for (std::size_t i = 0; i < s.size(); ++i)
    add_stretch(out, prefix + std::string(s.substr(0, i)), s[i] + 1, '9', s.size() - i - 1);
  out.push_back(literal(prefix + std::string(s)));
}

/// prefix and as many digits as s has, not more than s; the first is at least `lowest`.
void add_at_most(std::vector<NodePtr>& out, const std::string& prefix, std::string_view s,
                 char lowest) {
  for (std::size_t i = 0; i < s.size(); ++i)
    add_stretch(out, prefix + std::string(s.substr(0, i)), i == 0 ? lowest : '0', s[i] - 1,
                s.size() - i - 1);
  out.push_back(literal(prefix + std::string(s)));
}

/// Longer or larger: of two whole numbers without leading zeros.
std::strong_ordering compare_whole(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return a.size() <=> b.size();
  return a.compare(b) <=> 0;
}

/// Whole numbers from a to b (no b: without end), of the first digits of 0 or 1 to 9.
void add_whole_between(std::vector<NodePtr>& out, const std::string& a,
                       const std::optional<std::string>& b) {
  if (b && compare_whole(a, *b) > 0) return;
  const auto length = static_cast<std::int64_t>(a.size());
  if (b && b->size() == a.size()) {
    const auto differ = static_cast<std::size_t>(
        std::mismatch(a.begin(), a.end(), b->begin()).first - a.begin());
    if (differ == a.size()) {
      out.push_back(literal(a));
      return;
    }
    const std::string prefix = a.substr(0, differ);
    add_stretch(out, prefix, a[differ] + 1, (*b)[differ] - 1, a.size() - differ - 1);
    add_at_least(out, prefix + a[differ], std::string_view(a).substr(differ + 1));
    add_at_most(out, prefix + (*b)[differ], std::string_view(*b).substr(differ + 1), '0');
    return;
  }
  add_at_least(out, "", a);
  const std::int64_t longest =
      b ? static_cast<std::int64_t>(b->size()) - 1 : std::max(kMaxWholeDigits, length + 1);
  if (longest > length)
    out.push_back(sequence({digit('1', '9'), digits(length, longest - 1)}));
  if (b) add_at_most(out, "", *b, '1');
}

std::string plus_one(std::string s) {
  for (std::size_t i = s.size(); i-- > 0;) {
    if (s[i] != '9') {
      ++s[i];
      return s;
    }
    s[i] = '0';
  }
  return "1" + s;
}

/// s is not 0.
std::string minus_one(std::string s) {
  for (std::size_t i = s.size(); i-- > 0;) {
    if (s[i] != '0') {
      --s[i];
      break;
    }
    s[i] = '9';
  }
  if (s.size() > 1 && s[0] == '0') s.erase(0, 1);
  return s;
}

NodePtr one_of(std::vector<NodePtr> choices) {
  if (choices.empty()) return nullptr;
  return choices.size() == 1 ? choices[0] : choice(std::move(choices));
}

/// Towards up (or down) to a whole number that the bound allows.
Decimal to_whole(const NumberBound& bound, bool up) {
  Decimal v{bound.value.negative, bound.value.whole, ""};
  // The digits alone round towards zero.
  const bool step = bound.value.fraction.empty() ? bound.exclusive : bound.value.negative != up;
  if (!step) return v.whole == "0" ? Decimal{} : v;
  if (v.negative == up && v.whole != "0") {
    v.whole = minus_one(std::move(v.whole));
    if (v.whole == "0") v.negative = false;
  } else {
    v.whole = plus_one(std::move(v.whole));
    v.negative = !up;
  }
  return v;
}

/// Digits after the point (one or more unless may_be_empty): 0.DIGITS is at least 0.lower and at
/// most 0.upper. Null if there are none. Depth: digits of the bounds.
NodePtr fraction_digits(Digits lower, bool lower_exclusive, Digits upper, bool upper_exclusive,
                        bool may_be_empty) {
  if (lower && lower->empty() && !lower_exclusive) lower.reset();
  const std::int64_t least = may_be_empty ? 0 : 1;
  if (!lower && !upper) return digits(least, kMaxFractionDigits);
  if (upper && upper->empty())
    return lower || upper_exclusive ? nullptr : repeat(literal("0"), least, kMaxFractionDigits);
  if (lower && lower->empty() && !upper)
    return sequence({repeat(literal("0"), 0, kMaxFractionDigits), digit('1', '9'),
                     digits(0, kMaxFractionDigits)});
  // From here on upper, if given, has digits.
  std::vector<NodePtr> out;
  if (may_be_empty && !lower) out.push_back(sequence({}));
  const auto follow = [&](char first, const NodePtr& rest) {
    if (rest) out.push_back(sequence({literal(std::string(1, first)), rest}));
  };
  const char low = !lower || lower->empty() ? '0' : lower->front();
  const char high = upper ? upper->front() : '9';
  const Digits lower_rest = lower ? Digits(lower->empty() ? *lower : lower->substr(1)) : lower;
  const Digits upper_rest = upper ? Digits(upper->substr(1)) : upper;
  if (low > high) return one_of(std::move(out));
  if (lower && upper && low == high) {
    follow(low,
           fraction_digits(lower_rest, lower_exclusive, upper_rest, upper_exclusive, true));
    return one_of(std::move(out));
  }
  if (lower) follow(low, fraction_digits(lower_rest, lower_exclusive, std::nullopt, false, true));
  const char first = lower ? static_cast<char>(low + 1) : low;
  const char last = upper ? static_cast<char>(high - 1) : high;
  if (first <= last) out.push_back(sequence({digit(first, last), digits(0, kMaxFractionDigits)}));
  if (upper) follow(high, fraction_digits(std::nullopt, false, upper_rest, upper_exclusive, true));
  return one_of(std::move(out));
}

NodePtr any_fraction() {
  return optional(sequence({literal("."), digits(1, kMaxFractionDigits)}));
}

/// whole, and a fraction between bounds.
void add_with_fraction(std::vector<NodePtr>& out, const std::string& whole, Digits lower,
                       bool lower_exclusive, Digits upper, bool upper_exclusive) {
  const bool none_is_enough = !lower || (lower->empty() && !lower_exclusive);
  const bool none_fits = !upper || !upper->empty() || !upper_exclusive;
  if (none_is_enough && none_fits) out.push_back(literal(whole));
  const NodePtr rest =
      fraction_digits(lower, lower_exclusive, upper, upper_exclusive, /*may_be_empty=*/false);
  if (rest) out.push_back(sequence({literal(whole + "."), rest}));
}

/// Numbers without sign: bounds are not negative.
NodePtr unsigned_between(const NumberBound& lower, const Bound& upper) {
  std::vector<NodePtr> out;
  const Decimal& low = lower.value;
  if (upper && upper->value.whole == low.whole) {
    add_with_fraction(out, low.whole, low.fraction, lower.exclusive, upper->value.fraction,
                      upper->exclusive);
    return one_of(std::move(out));
  }
  if (upper && compare_whole(low.whole, upper->value.whole) > 0) return nullptr;
  add_with_fraction(out, low.whole, low.fraction, lower.exclusive, std::nullopt, false);
  std::vector<NodePtr> between;
  add_whole_between(
      between, plus_one(low.whole),
      upper ? std::optional<std::string>(minus_one(upper->value.whole)) : std::nullopt);
  if (!between.empty())
    out.push_back(sequence({choice(std::move(between)), any_fraction()}));
  if (upper)
    add_with_fraction(out, upper->value.whole, std::nullopt, false, upper->value.fraction,
                      upper->exclusive);
  return one_of(std::move(out));
}

}  // namespace

Decimal to_decimal(const json::value& value) {
  Decimal d;
  std::string text;  // shortest digits that read back
  if (const auto* i = value.if_int64())
    text = fmt::to_string(*i);
  else if (const auto* u = value.if_uint64())
    text = fmt::to_string(*u);
  else
    text = format_double(value.as_double());
  if (text[0] == '-') {
    d.negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (const auto e = text.find_first_of("eE"); e != std::string::npos) {
    exponent = std::stoi(text.substr(e + 1));
    text.resize(e);
  }
  auto point = text.find('.');
  if (point == std::string::npos) point = text.size();
  std::string all = text.substr(0, point) + (point < text.size() ? text.substr(point + 1) : "");
  auto whole_digits = static_cast<std::int64_t>(point) + exponent;
  if (whole_digits < 0) {
    all.insert(0, static_cast<std::size_t>(-whole_digits), '0');
    whole_digits = 0;
  }
  if (whole_digits > static_cast<std::int64_t>(all.size()))
    all.append(static_cast<std::size_t>(whole_digits) - all.size(), '0');
  d.whole = all.substr(0, static_cast<std::size_t>(whole_digits));
  d.fraction = all.substr(static_cast<std::size_t>(whole_digits));
  d.whole.erase(0, d.whole.find_first_not_of('0'));
  if (d.whole.empty()) d.whole += '0';
  d.fraction.erase(d.fraction.find_last_not_of('0') + 1);
  if (d.whole == "0" && d.fraction.empty()) d.negative = false;
  return d;
}

std::strong_ordering compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative)
    return a.negative ? std::strong_ordering::less : std::strong_ordering::greater;
  auto order = compare_whole(a.whole, b.whole);
  // Fractions without trailing zeros compare as text does.
  if (order == 0) order = a.fraction.compare(b.fraction) <=> 0;
  return a.negative ? 0 <=> order : order;
}

NodePtr integer_between(const Bound& lower, const Bound& upper) {
  if (!lower && !upper) {
    return sequence({optional(literal("-")),
                     choice({literal("0"),
                             sequence({digit('1', '9'), digits(0, kMaxWholeDigits - 1)})})});
  }
  const auto low = lower ? std::optional(to_whole(*lower, true)) : std::nullopt;
  const auto high = upper ? std::optional(to_whole(*upper, false)) : std::nullopt;
  std::vector<NodePtr> out;
  if (!low || low->negative) {
    std::vector<NodePtr> negative;
    add_whole_between(negative, high && high->negative ? high->whole : "1",
                      low ? std::optional(low->whole) : std::nullopt);
    if (!negative.empty()) out.push_back(sequence({literal("-"), choice(std::move(negative))}));
  }
  if (!high || !high->negative)
    add_whole_between(out, low && !low->negative ? low->whole : "0",
                      high ? std::optional(high->whole) : std::nullopt);
  return one_of(std::move(out));
}

NodePtr number_between(const Bound& lower, const Bound& upper) {
  if (!lower && !upper) {
    return sequence({integer_between({}, {}), any_fraction(),
                     optional(sequence({char_class({{'e', 'e'}, {'E', 'E'}}),
                                        optional(char_class({{'+', '+'}, {'-', '-'}})),
                                        digits(1, kMaxExponentDigits)}))});
  }
  const auto magnitude = [](const NumberBound& b) {
    NumberBound m = b;
    m.value.negative = false;
    return m;
  };
  std::vector<NodePtr> out;
  if (!lower || lower->value.negative) {
    // What is below zero, by its size; zero itself belongs to the other half.
    const NodePtr negative = unsigned_between(
        upper && upper->value.negative ? magnitude(*upper) : NumberBound{Decimal{}, true},
        lower ? Bound(magnitude(*lower)) : std::nullopt);
    if (negative) out.push_back(sequence({literal("-"), negative}));
  }
  if (!upper || !upper->value.negative) {
    const NodePtr positive = unsigned_between(
        lower && !lower->value.negative ? *lower : NumberBound{}, upper);
    if (positive) out.push_back(positive);
  }
  return one_of(std::move(out));
}

}  // namespace octet::generate::grammar
