// Packed weights taken apart and put together again: the same bits, and no trust in descriptions.

#include <cstdlib>

#include "runtime/base/error.h"
#include "runtime/base/hash.h"
#include "unit/runtime/ops_support.h"
#include "unit/runtime/ops_weights.h"

namespace octet::ops::test {
namespace {

// Blocks of a stored weight in memory of their own, aligned as in a mapped file.
struct Copy {
  explicit Copy(const StoredLinear& from) : stored{.description = from.description} {
    for (const auto block : from.blocks) {
      const std::size_t room = (block.size() / kStoredAlignment + 1) * kStoredAlignment;
      std::shared_ptr<std::byte> memory(
          static_cast<std::byte*>(std::aligned_alloc(kStoredAlignment, room)), std::free);
      std::ranges::copy(block, memory.get());
      stored.blocks.emplace_back(memory.get(), block.size());
      owner->push_back(std::move(memory));
    }
  }
  StoredLinear stored;
  std::shared_ptr<std::vector<std::shared_ptr<std::byte>>> owner =
      std::make_shared<std::vector<std::shared_ptr<std::byte>>>();
};

std::vector<Weight> every_form(std::int64_t n, std::int64_t k) {
  std::vector<Weight> weights;
  for (const DType type : {DType::bf16, DType::f16, DType::f32})
    weights.push_back(dense(n, k, type, 1));
  for (const CodeForm& form : {CodeForm{},
                               {.group_size = 16},
                               {.group_size = 6},
                               {.group_size = -1},
                               {.zeros = true},
                               {.f32_scales = true},
                               {.zeros = true, .f32_scales = true},
                               {.act_order = true},
                               {.bits = 4},
                               {.f32_scales = true, .bits = 4}})
    weights.push_back(codes(n, k, form, 2));
  return weights;
}

class StoreTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Isas, StoreTest, testing::ValuesIn(isas()),
                         [](const auto& isa) { return isa.param; });

TEST_P(StoreTest, RestoredWeightsGiveTheSameBits) {
  Bench bench({.backend = "cpu", .isa = GetParam(), .activations = "int16"}, 2);
  constexpr std::int64_t kIn = 192, kRows = 3;
  std::vector<LinearPart> parts;
  const auto weights = every_form(40, kIn);
  for (const Weight& w : weights) parts.push_back(w.part);
  const auto packed = bench.backend->pack_linear(parts, {.split = Split::rows});
  std::weak_ptr<const void> alive;
  std::unique_ptr<PackedLinear> restored;
  {
    Copy copy(bench.backend->store_linear(*packed));
    alive = copy.owner;
    restored = bench.backend->restore_linear(copy.stored, copy.owner);
  }
  EXPECT_EQ(restored->in_features(), packed->in_features());
  EXPECT_EQ(restored->out_features(), packed->out_features());
  EXPECT_EQ(restored->split(), Split::rows);
  EXPECT_EQ(restored->bytes(), packed->bytes());
  const Tensor x = bench.put(random_values(kRows * kIn, 3), {kRows, kIn});
  const Tensor a = bench.empty({kRows, packed->out_features()});
  const Tensor b = bench.empty({kRows, packed->out_features()});
  bench.backend->linear(x, *packed, a);
  bench.backend->linear(x, *restored, b);
  EXPECT_EQ(bench.get(a), bench.get(b));
  EXPECT_FALSE(alive.expired());
  restored.reset();
  EXPECT_TRUE(alive.expired());
}

// Whatever number or block is wrong: refused, or a weight that stays inside its blocks (which the
// address sanitizer sees).
TEST_P(StoreTest, DescriptionsAreNotTrusted) {
  Bench bench(GetParam());
  constexpr std::int64_t kIn = 64;
  for (const Weight& w : every_form(20, kIn)) {
    if (kIn % std::max<std::int64_t>(1, w.part.codes.group_size) != 0) continue;
    const auto packed = bench.backend->pack_linear({&w.part, 1});
    const Copy copy(bench.backend->store_linear(*packed));
    const Tensor x = bench.put(random_values(kIn, 3), {1, kIn});
    int refused = 0;
    const auto attempt = [&](const StoredLinear& stored) {
      try {
        const auto restored = bench.backend->restore_linear(stored, copy.owner);
        if (restored->in_features() != kIn) return;
        bench.backend->linear(x, *restored, bench.empty({1, restored->out_features()}));
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::bad_data) << e.what();
        ++refused;
      }
    };
    for (std::size_t i = 0; i < copy.stored.description.size(); ++i)
      for (const std::int64_t value :
           {std::int64_t{-1}, std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, std::int64_t{3},
            std::int64_t{12}, std::int64_t{128}, std::int64_t{1} << 31, INT64_MAX, INT64_MIN}) {
        StoredLinear wrong = copy.stored;
        wrong.description[i] = value;
        attempt(wrong);
      }
    EXPECT_GT(refused, 60);
    refused = 0;
    for (std::size_t i = 0; i < copy.stored.blocks.size(); ++i) {
      StoredLinear wrong = copy.stored;
      wrong.blocks[i] = wrong.blocks[i].first(wrong.blocks[i].size() - 1);
      attempt(wrong);
      wrong.blocks.erase(wrong.blocks.begin() + static_cast<std::ptrdiff_t>(i));
      attempt(wrong);
    }
    StoredLinear longer = copy.stored;
    longer.blocks.push_back(longer.blocks[0]);
    attempt(longer);
    longer = copy.stored;
    longer.description.push_back(0);
    attempt(longer);
    EXPECT_EQ(refused, 2 * static_cast<int>(copy.stored.blocks.size()) + 2);
    if (copy.stored.blocks.size() == 2) {  // the order of inputs
      StoredLinear wrong = copy.stored;
      std::vector<std::int32_t> order(kIn, 0);
      order.back() = kIn;
      wrong.blocks[1] = std::as_bytes(std::span(order));
      attempt(wrong);
      EXPECT_EQ(refused, 2 * 2 + 3);
    }
  }
}

// If this fails, the bytes of packed weights have changed: files that were written before must not
// be read as the new form. Raise kLayoutVersion in ops/cpu/linear_store.cpp, then put the new name
// and hash here.
TEST(Store, LayoutHasItsNameForGood) {
  constexpr std::int64_t kOut = 20, kIn = 64;
  std::vector<std::byte> bytes(kOut * kIn * 4);
  std::uint32_t state = 1;
  for (std::byte& b : bytes) {
    state = state * 1664525 + 1013904223;
    b = static_cast<std::byte>(state >> 24 & 0x3f);  // no float of these is infinite
  }
  Hasher128 hasher;
  Bench bench(isas().front(), 1);
  const auto add = [&](const LinearPart& part) {
    const auto packed = bench.backend->pack_linear({&part, 1});
    const StoredLinear stored = bench.backend->store_linear(*packed);
    hasher.update(std::as_bytes(std::span(stored.description)));
    for (const auto block : stored.blocks) hasher.update(block);
  };
  for (const DType type : {DType::bf16, DType::f16, DType::f32})
    add({.out_features = kOut, .in_features = kIn, .dense = {bytes.data(), type}});
  for (const bool zeros : {false, true})
    for (const bool order : {false, true})
      for (const float scale : {0.5f, 0.1f}) {
        LinearPart part{.out_features = kOut, .in_features = kIn, .quantized = true};
        part.codes.codes = bytes.data();
        part.codes.scales.assign(kOut * kIn / 32, scale);
        for (int i = 0; zeros && i < kOut * kIn / 32; ++i)
          part.codes.zeros.push_back(static_cast<std::uint8_t>(i));
        for (int i = 0; order && i < kIn; ++i) part.codes.group_index.push_back(i % 2);
        add(part);
      }
  for (std::byte& b : bytes) b &= std::byte{15};
  LinearPart four_bits{.out_features = kOut, .in_features = kIn, .quantized = true};
  four_bits.codes.codes = bytes.data();
  four_bits.codes.scales.assign(kOut * kIn / 32, 0.5f);
  four_bits.codes.zeros.assign(kOut * kIn / 32, 8);
  add(four_bits);
  EXPECT_EQ(bench.backend->weight_layout(), "cpu-1");
  EXPECT_EQ(to_hex(hasher.digest()), "648fcacaa02ddfedd449a8025a3a9d37");
}

TEST(Store, TheReferenceBackendStoresNothing) {
  EXPECT_EQ(Bench("reference").backend->weight_layout(), "");
}

}  // namespace
}  // namespace octet::ops::test
