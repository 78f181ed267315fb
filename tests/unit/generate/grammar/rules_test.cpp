#include "generate/grammar/rules.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace octet::generate::grammar {
namespace {

using Ranges = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

TEST(Rules, ClassesAreSortedMergedAndNegated) {
  EXPECT_EQ(char_class({{'b', 'd'}, {'a', 'a'}, {'x', 'z'}})->ranges,
            (Ranges{{'a', 'd'}, {'x', 'z'}}));
  EXPECT_EQ(char_class({{0, 'a'}}, true)->ranges, (Ranges{{'b', 0x10FFFF}}));
  EXPECT_EQ(char_class({{'a', 0x10FFFF}}, true)->ranges, (Ranges{{0, 'a' - 1}}));
  EXPECT_TRUE(char_class({{0, 0x10FFFF}}, true)->ranges.empty());
  EXPECT_THROW(char_class({{0, 0x110000}}), Error);
}

TEST(Rules, RulesAreNumberedInOrder) {
  Rules rules;
  EXPECT_EQ(rules.add("a"), 0);
  EXPECT_EQ(rules.add("b", literal("x")), 1);
  EXPECT_EQ(rules.rules[1].body->bytes, "x");
}

}  // namespace
}  // namespace octet::generate::grammar
