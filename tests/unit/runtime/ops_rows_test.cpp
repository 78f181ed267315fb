// Operations on single rows, on every instruction set, against the reference backend.

#include <cstring>

#include "unit/runtime/ops_support.h"

namespace octet::ops::test {
namespace {

class RowsTest : public testing::TestWithParam<std::string> {
 protected:
  Bench fast{GetParam()}, reference{"reference"};
};
INSTANTIATE_TEST_SUITE_P(Isas, RowsTest, testing::ValuesIn(isas()),
                         [](const auto& isa) { return isa.param; });

constexpr std::int64_t kWidths[] = {1, 4, 15, 16, 17, 64, 72, 256, 1000};

TEST_P(RowsTest, RmsNorm) {
  for (const std::int64_t n : kWidths) {
    const auto x = random_values(5 * n, 1), w = random_values(n, 2, 0.1f);
    const auto norm = [&](Bench& b) {
      const Tensor y = b.empty({5, n});
      b.backend->rms_norm(b.put(x, {5, n}), b.put(w, {n}), 1e-6f, y);
      return b.get(y);
    };
    EXPECT_LT(worst_relative(norm(fast), norm(reference), 1e-6), 1e-6) << n;
  }
}

// docs/model.md, the worked example of the zero-centred norm.
TEST_P(RowsTest, RmsNormWorkedExample) {
  const Tensor y = fast.empty({1, 4});
  fast.backend->rms_norm(fast.put({1, -2, 3, 0.5}, {1, 4}), fast.put({0.1f, -0.2f, 0.3f, 0}, {4}),
                         1e-6f, y);
  EXPECT_LT(worst_relative(fast.get(y), {0.582794f, -0.847701f, 2.066270f, 0.264906f}, 0), 2e-6);
}

TEST_P(RowsTest, GatedRmsNorm) {
  for (const std::int64_t d : {4, 16, 20, 128})
    for (const GateActivation act : {GateActivation::silu, GateActivation::sigmoid}) {
      const std::int64_t n = 3 * d;
      const auto x = random_values(5 * n, 1), z = random_values(5 * (n + 7), 3, 4.0f),
                 w = random_values(d, 2);
      const auto norm = [&](Bench& b) {
        const Tensor y = b.empty({5, n}), gate = b.put(z, {5, n + 7});
        b.backend->gated_rms_norm(b.put(x, {5, n}), {gate, 7, n}, b.put(w, {d}), 1e-6f, act, y);
        return b.get(y);
      };
      EXPECT_LT(worst_relative(norm(fast), norm(reference), 1e-6), 2e-6) << d;
    }
}

TEST_P(RowsTest, GatedRmsNormWorkedExample) {
  const Tensor y = fast.empty({1, 4}), z = fast.put({0, 1, -1, 2}, {1, 4});
  fast.backend->gated_rms_norm(fast.put({1, -2, 3, 0.5}, {1, 4}), {z, 0, 4},
                               fast.put({1, 0.5f, 2, 1.5f}, {4}), 1e-6f, GateActivation::silu, y);
  EXPECT_LT(worst_relative(fast.get(y), {0.0f, -0.387324f, -0.854932f, 0.699986f}, 1e-6), 3e-6);
}

TEST_P(RowsTest, SiluMul) {
  for (const std::int64_t n : kWidths) {
    auto x = random_values(3 * 2 * n, 1, 6.0f);
    x[0] = 200;  // far ends: exp overflows on one side and vanishes on the other
    x[static_cast<std::size_t>(2 * n)] = -200;
    const auto mul = [&](Bench& b) {
      const Tensor y = b.empty({3, n});
      b.backend->silu_mul(b.put(x, {3, 2 * n}), y);
      return b.get(y);
    };
    EXPECT_LT(worst_relative(mul(fast), mul(reference), 1e-6), 1e-6) << n;
  }
}

TEST_P(RowsTest, AddIsExact) {
  const auto a = random_values(3 * 37, 1), b = random_values(3 * 37, 2);
  const auto add = [&](Bench& bench) {
    const Tensor x = bench.put(a, {3, 37});
    bench.backend->add(x, bench.put(b, {3, 37}));
    return bench.get(x);
  };
  EXPECT_EQ(add(fast), add(reference));
}

TEST_P(RowsTest, EmbedReadsUnalignedRowsOfEveryType) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    std::vector<std::byte> table(1 + 5 * 6 * dtype_bytes(type));
    for (int i = 0; i < 30; ++i) {
      const auto value = static_cast<float>(i) / 4;
      const std::uint16_t half = type == DType::bf16 ? float_to_bf16(value) : float_to_f16(value);
      if (type == DType::f32)
        std::memcpy(table.data() + 1 + 4 * i, &value, 4);
      else
        std::memcpy(table.data() + 1 + 2 * i, &half, 2);
    }
    for (Bench* b : {&fast, &reference}) {
      const Tensor ids = b->backend->allocate(DType::i32, {2}), y = b->empty({2, 6});
      const std::int32_t rows[] = {4, 0};
      b->backend->upload(std::as_bytes(std::span(rows)), ids);
      b->backend->embed({table.data() + 1, type, {5, 6}, {}}, ids, y);
      const auto found = b->get(y);
      EXPECT_EQ(found[0], 6.0f);
      EXPECT_EQ(found[5], 7.25f);
      EXPECT_EQ(found[7], 0.25f);
    }
  }
}

TEST(MakeBackend, NamesThatDoNotExist) {
  ThreadPool pool(1);
  EXPECT_THROW(make_backend({.backend = "gpu"}, pool), Error);
  EXPECT_THROW(make_backend({.backend = "cuda"}, pool), Error);
  EXPECT_THROW(make_backend({.isa = "mmx"}, pool), Error);
  EXPECT_EQ(make_backend({.isa = "generic"}, pool)->name(), "cpu/generic");
}

}  // namespace
}  // namespace octet::ops::test
