// The gated delta rule alone, on every instruction set: its worked example, gates at their ends,
// and sequences much longer than the blocks it is computed in.

#include "unit/runtime/ops_support.h"

namespace octet::ops::test {
namespace {

class DeltaRuleTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Isas, DeltaRuleTest, testing::ValuesIn(isas()),
                         [](const auto& isa) { return isa.param; });

// Sums of some hundred float32 terms of order one; the recurrence carries errors on with decay.
constexpr double kTolerance = 2e-5;

// docs/model.md, the worked example of the recurrence: one head, two dimensions.
void recurrence_example(const std::string& name) {
  Bench bench(name);
  Backend& b = *bench.backend;
  const auto states = b.make_state_cache({.num_layers = 1,
                                          .num_slots = 1,
                                          .num_key_heads = 1,
                                          .num_value_heads = 1,
                                          .key_head_dim = 2,
                                          .value_head_dim = 2});
  // q | k | v of three tokens; a, b.
  const Tensor mixed = bench.put({1, 0, 1, 1, 1, 2, 1, 1, 2, 0, 3, 4, 0, 2, 0, 1, 5, 6}, {3, 6});
  const Tensor a = bench.put({0.5f, -0.5f, 0}, {3, 1}), beta = bench.put({0, 1, -1}, {3, 1});
  const Tensor out = bench.empty({3, 2});
  const RaggedBatch batch{{{.num_rows = 3}}, 3};
  b.gated_delta_rule(
      {mixed, {beta, 0, 1}, {a, 0, 1}, bench.put({std::log(2.0f)}, {1}), bench.put({0.1f}, {1})},
      batch, *states, 0, out);
  EXPECT_LT(
      worst_relative(bench.get(out), {0.25f, 0.5f, 1.176989f, 1.622921f, 0.965632f, 1.170584f}, 0),
      5e-6);
  std::vector<float> state, conv;
  states->read(0, 0, state, conv);
  EXPECT_LT(worst_relative(state, {0.502569f, 0.675219f, 1.365611f, 1.655456f}, 0), 5e-6);
}

TEST_P(DeltaRuleTest, WorkedExample) {
  recurrence_example(GetParam());
}
TEST(ReferenceDeltaRule, WorkedExample) {
  recurrence_example("reference");
}

// Gates at their ends: states that are forgotten at once, kept whole, and never written.
TEST_P(DeltaRuleTest, ExtremeGates) {
  const StateCacheShape shape{.num_layers = 1,
                              .num_slots = 1,
                              .num_key_heads = 1,
                              .num_value_heads = 4,
                              .key_head_dim = 16,
                              .value_head_dim = 16};
  constexpr std::int64_t kRows = 37, kChannels = 2 * 16 + 4 * 16;
  const auto mixed = random_values(kRows * kChannels, 1);
  std::vector<float> gates;  // [row][b | a]
  for (std::int64_t r = 0; r < kRows; ++r) {
    const auto turn = static_cast<float>(r % 5);
    gates.insert(gates.end(), {100, -100, 0, 20 * turn - 40});
    gates.insert(gates.end(), {90, -90, 30 * turn - 60, r % 9 == 0 ? 200.0f : -5.0f});
  }
  const auto run = [&](const std::string& name) {
    Bench bench(name);
    const auto states = bench.backend->make_state_cache(shape);
    const Tensor out = bench.empty({kRows, 4 * 16}), gate = bench.put(gates, {kRows, 8});
    bench.backend->gated_delta_rule({bench.put(mixed, {kRows, kChannels}),
                                     {gate, 0, 4},
                                     {gate, 4, 4},
                                     bench.put({0, 1, 2, -1}, {4}),
                                     bench.put({0, 0, 0.5f, 0}, {4})},
                                    {{{.num_rows = kRows}}, kRows}, *states, 0, out);
    return bench.get(out);
  };
  EXPECT_LT(worst_relative(run(GetParam()), run("reference"), 0.05), kTolerance);
}

// Errors don't grow with the length: heads that forget slowly, far more tokens than a block.
TEST_P(DeltaRuleTest, LongSequences) {
  const StateCacheShape shape{.num_layers = 1,
                              .num_slots = 1,
                              .num_key_heads = 1,
                              .num_value_heads = 2,
                              .key_head_dim = 32,
                              .value_head_dim = 32};
  constexpr std::int64_t kRows = 4001, kChannels = 2 * 32 + 2 * 32;
  const auto mixed = random_values(kRows * kChannels, 1), gates = random_values(kRows * 4, 2);
  const auto run = [&](const std::string& name) {
    Bench bench(name);
    const auto states = bench.backend->make_state_cache(shape);
    const Tensor out = bench.empty({kRows, 2 * 32}), gate = bench.put(gates, {kRows, 4});
    bench.backend->gated_delta_rule({bench.put(mixed, {kRows, kChannels}),
                                     {gate, 0, 2},
                                     {gate, 2, 2},
                                     bench.put({-2, -4}, {2}),
                                     bench.put({-3, -3}, {2})},
                                    {{{.num_rows = kRows}}, kRows}, *states, 0, out);
    return bench.get(out.view().rows(kRows - 100, 100));
  };
  EXPECT_LT(worst_relative(run(GetParam()), run("reference"), 0.05), kTolerance);
}

}  // namespace
}  // namespace octet::ops::test
