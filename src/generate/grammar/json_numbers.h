#pragma once

#include <compare>
#include <optional>
#include <string>

#include "generate/grammar/rules.h"
#include "runtime/base/json.h"

namespace octet::generate::grammar {

/// Digits that a number written by a model may have: enough for any purpose, and an end to
/// 0.3333... that a model can't find out of.
inline constexpr std::int64_t kMaxWholeDigits = 40, kMaxFractionDigits = 20, kMaxExponentDigits = 3;

/// A number as its decimal digits. whole has no leading zeros ("0" alone), fraction no trailing
/// ones; zero isn't negative.
struct Decimal {
  bool negative = false;
  std::string whole = "0", fraction;
};
/// value: a JSON number (a double counts as its shortest decimal form).
Decimal to_decimal(const json::value& value);
std::strong_ordering compare(const Decimal& a, const Decimal& b);

struct NumberBound {
  Decimal value;
  bool exclusive = false;
};

/// Integers without leading zeros between bounds, exactly; none: no bound. Null if there is none.
NodePtr integer_between(const std::optional<NumberBound>& lower,
                        const std::optional<NumberBound>& upper);
/// Numbers between bounds, exactly, written without an exponent unless neither bound is given. Null
/// if there is none.
NodePtr number_between(const std::optional<NumberBound>& lower,
                       const std::optional<NumberBound>& upper);

}  // namespace octet::generate::grammar
