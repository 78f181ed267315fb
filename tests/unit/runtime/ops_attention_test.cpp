// Attention over every kind of KV cache, on every instruction set: against the reference, and the
// same bits however the rows are computed, at lengths around the borders of pages and spans.

#include <cstring>
#include <limits>

#include "runtime/ops/kv_rounding.h"
#include "unit/runtime/ops_support.h"

namespace octet::ops::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::vector<DType>& cache_types() {
  static const std::vector<DType> types{DType::f32, DType::bf16, DType::i16, DType::i8};
  return types;
}

struct Case {
  AttentionShape shape{.num_heads = 6,
                       .num_kv_heads = 2,
                       .head_dim = 80,
                       .rotary_dim = 16};  // 80: whole tiles of vectors, and a rest
  DType type = DType::f32;
  std::int64_t tokens = 0;
};

/// Two sequences of the same inputs, whose pages lie between each other.
class Layer {
 public:
  Layer(const std::string& isa, const Case& c, std::vector<float> projected, int threads = 2)
      : bench_(isa, threads), c_(c), projected_(std::move(projected)) {
    const AttentionShape& s = c.shape;
    kv_ = bench_.backend->make_kv_cache({.num_layers = 1,
                                         .num_pages = 2 * ((c.tokens + 63) / 64),
                                         .num_kv_heads = s.num_kv_heads,
                                         .head_dim = s.head_dim,
                                         .dtype = c.type});
    norm_ = bench_.put(random_values(s.head_dim, 1, 0.1f), {s.head_dim});
    turn_ = random_values(c.tokens * s.rotary_dim, 2);
    const std::int64_t half = s.rotary_dim / 2;
    for (std::int64_t i = 0; i < c.tokens * half; ++i) {
      float* at = turn_.data() + i / half * s.rotary_dim + i % half;
      const float angle = *at;
      *at = std::cos(angle);
      at[half] = std::sin(angle);
    }
  }

  struct Rows {
    std::int64_t past, count;
    int sequence = 0;
    bool draft = false;
  };
  /// Results of all rows, in order. Appends to the caches, so that rows may be computed again.
  std::vector<float> step(const std::vector<Rows>& pieces) {
    const AttentionShape& s = c_.shape;
    RaggedBatch batch;
    std::vector<float> in, turn;
    for (const Rows& p : pieces) {
      Segment segment{
          .row_begin = batch.num_rows, .num_rows = p.count, .past = p.past, .draft = p.draft};
      for (std::int32_t page = 0; page * kPageTokens < p.past + p.count; ++page)
        segment.pages.push_back(2 * page + p.sequence);
      batch.segments.push_back(segment);
      batch.num_rows += p.count;
      const auto append = [&](std::vector<float>& to, const std::vector<float>& from,
                              std::int64_t width) {
        to.insert(to.end(), from.begin() + p.past * width,
                  from.begin() + (p.past + p.count) * width);
      };
      append(in, projected_, s.columns());
      append(turn, turn_, s.rotary_dim);
    }
    const std::int64_t rows = batch.num_rows, width = s.num_heads * s.head_dim;
    const Tensor x = bench_.put(in, {rows, s.columns()});
    const Tensor cos_sin = bench_.put(turn, {rows, s.rotary_dim});
    const Tensor query = bench_.empty({rows, width}), out = bench_.empty({rows, width});
    bench_.backend->attention_inputs(s, x, norm_, norm_, cos_sin, batch, *kv_, 0, query);
    bench_.backend->attention(s, query, x, batch, *kv_, 0, out);
    return bench_.get(out);
  }
  const KvCache& kv() const { return *kv_; }

 private:
  Bench bench_;
  Case c_;
  std::vector<float> projected_, turn_;
  Tensor norm_;
  std::unique_ptr<KvCache> kv_;
};

std::vector<float> cut(const std::vector<float>& all, const Case& c, std::int64_t first,
                       std::int64_t count) {
  const std::int64_t width = c.shape.num_heads * c.shape.head_dim;
  return {all.begin() + first * width, all.begin() + (first + count) * width};
}

// NaN is equal to NaN here: its payload means nothing.
void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b,
                      const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(a[i]), std::bit_cast<std::uint32_t>(b[i]))
        << what << ", element " << i << ": " << a[i] << " and " << b[i];
  }
}

class AttentionTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, testing::ValuesIn(isas()),
                         [](const auto& isa) { return isa.param; });

// The largest error, beside a result's size and `floor`, of inputs of order one.
struct Tolerance {
  double error, floor;
};
Tolerance tolerance(DType type, std::int64_t head_dim) {
  const double root = std::sqrt(static_cast<double>(head_dim));
  // Six standard deviations of what rounding a query moves a score by: a third of a code of its
  // norm (1.1 root) over 32,700, for each element of a key (the reference has the same keys). The
  // weights' rounding is less.
  const double query = 6 * 0.29 * 1.21 * root / kKeyNorm16;
  switch (type) {
    case DType::f32:
      return {2e-5, 0.05};  // sums of some hundred terms of order one
    // An element of a key may round the other way, as its norm differs in the last bit: a step of
    // 2^-7 or 4 / 127, times an element of the query, over root.
    case DType::bf16:
      return {4 * std::ldexp(1.0, -7) / root, 0.5};
    case DType::i16:
      return {2 * query, 0.5};
    default:
      return {2 * query + 4 * 4.0 / 127 / root, 0.5};
  }
}

TEST_P(AttentionTest, LikeReference) {
  for (const DType type : cache_types())
    for (const auto& [heads, head_dim, tokens] :
         {std::array<std::int64_t, 3>{6, 48, 1090}, {2, 16, 129}, {12, 256, 66}, {8, 96, 65}}) {
      Case c{.type = type, .tokens = tokens};
      c.shape.num_heads = heads;
      c.shape.head_dim = head_dim;
      const auto in = random_values(tokens * c.shape.columns(), 7);
      Layer fast(GetParam(), c, in), reference("reference", c, in);
      const auto [error, floor] = tolerance(type, head_dim);
      EXPECT_LT(worst_relative(fast.step({{0, tokens}}), reference.step({{0, tokens}}), floor),
                error)
          << to_string(type) << ", head_dim " << head_dim;
    }
}

TEST_P(AttentionTest, SameBitsHoweverComputed) {
  for (const DType type : cache_types()) {
    const Case c{.type = type, .tokens = 2120};
    const auto in = random_values(c.tokens * c.shape.columns(), 8);
    Layer whole(GetParam(), c, in, 1), other(GetParam(), c, in, 3);
    const std::string name(to_string(type));
    const auto expected = whole.step({{0, c.tokens}});
    std::vector<float> chunked;
    for (std::int64_t past = 0; past < c.tokens;) {
      const std::int64_t count = std::min<std::int64_t>(past % 3 == 0 ? 301 : 70, c.tokens - past);
      const auto part = other.step({{past, count}});
      chunked.insert(chunked.end(), part.begin(), part.end());
      past += count;
    }
    expect_same_bits(chunked, expected, name + ", chunked");
    // Alone: with three threads a long sequence's spans are tasks of their own.
    for (const std::int64_t at : {0, 1, 62, 63, 64, 65, 127, 128, 1022, 1023, 1024, 1025, 1087,
                                  1088, 2047, 2048, 2049, 2119}) {
      const std::string where = name + ", row " + std::to_string(at);
      expect_same_bits(other.step({{at, 1}}), cut(expected, c, at, 1), where);
      expect_same_bits(whole.step({{at, 1}}), cut(expected, c, at, 1), where + ", one thread");
    }
    // As a draft, and beside another sequence of other lengths.
    whole.step({{0, 1100, 1}});
    for (const std::int64_t at : {60, 1020, 2046})
      for (Layer* layer : {&whole, &other}) {
        other.step({{0, 1100, 1}});
        const auto both = layer->step({{at, 7, 0, true}, {1021, 5, 1}});
        std::vector<float> rows = cut(expected, c, at, 7);
        const auto more = cut(expected, c, 1021, 5);
        rows.insert(rows.end(), more.begin(), more.end());
        expect_same_bits(both, rows, name + ", draft at " + std::to_string(at));
        expect_same_bits(layer->step({{at + 7, 2}}), cut(expected, c, at + 7, 2),
                         name + ", after a draft at " + std::to_string(at));
      }
  }
}

// The largest sums that integers must hold: keys and queries in one direction, weights all equal,
// values all at the largest code; and one key or one element that is all there is.
TEST_P(AttentionTest, ExtremesStayExact) {
  for (const DType type : {DType::i16, DType::i8})
    for (const std::int64_t head_dim : {16, 256, 4096})
      for (const int kind : {0, 1, 2}) {
        Case c{.type = type, .tokens = 70};
        c.shape = {.num_heads = 2, .num_kv_heads = 1, .head_dim = head_dim, .rotary_dim = 0};
        const std::int64_t width = c.shape.columns(), keys = c.shape.query_columns();
        std::vector<float> in(static_cast<std::size_t>(c.tokens * width), kind == 1 ? 0.0f : 3.0f);
        for (std::int64_t t = 0; t < c.tokens; ++t) {
          float* row = in.data() + t * width;
          if (kind == 1)  // one element of each vector
            for (std::int64_t j = 0; j < width; j += head_dim) row[j] = t % 2 ? -5.0f : 5.0f;
          if (kind == 2)  // values from huge to tiny
            for (std::int64_t j = keys + head_dim; j < width; ++j)
              row[j] = (j % 2 ? -1.0f : 1.0f) * std::ldexp(1.0f, static_cast<int>(t % 40 - 20));
        }
        Layer fast(GetParam(), c, in), reference("reference", c, in);
        const auto [error, floor] = tolerance(type, head_dim);
        EXPECT_LT(
            worst_relative(fast.step({{0, c.tokens}}), reference.step({{0, c.tokens}}), floor),
            error)
            << to_string(type) << " " << head_dim << " kind " << kind;
      }
}

TEST_P(AttentionTest, ZerosGiveZeros) {
  for (const DType type : cache_types()) {
    const Case c{.type = type, .tokens = 67};
    Layer layer(GetParam(), c,
                std::vector<float>(static_cast<std::size_t>(c.tokens * c.shape.columns()), 0.0f));
    for (const float x : layer.step({{0, c.tokens}})) ASSERT_EQ(x, 0.0f) << to_string(type);
  }
}

// A key or a value that is no number reaches the rows that see it, as NaN, and no other row.
TEST_P(AttentionTest, BadNumbersReachOnlyWhoSeesThem) {
  for (const DType type : cache_types())
    for (const bool in_value : {false, true})
      for (const float bad : {kNan, kInfinity}) {
        const Case c{.type = type, .tokens = 1100};
        auto in = random_values(c.tokens * c.shape.columns(), 9);
        Layer good(GetParam(), c, in, 1);
        const std::int64_t at = 1029;
        const std::int64_t column =
            c.shape.query_columns() + (in_value ? c.shape.num_kv_heads * c.shape.head_dim : 0) + 3;
        in[static_cast<std::size_t>(at * c.shape.columns() + column)] = bad;
        Layer layer(GetParam(), c, in, 1), alone(GetParam(), c, in, 3);
        const auto expected = good.step({{0, c.tokens}}), found = layer.step({{0, c.tokens}});
        const std::string name(to_string(type));
        expect_same_bits(cut(found, c, 0, at), cut(expected, c, 0, at), name + ", before");
        // Of head 0, element 3 at least; the other KV head's are as they were.
        const std::int64_t width = c.shape.num_heads * c.shape.head_dim, half = width / 2;
        for (std::int64_t row = at; row < c.tokens; ++row) {
          ASSERT_FALSE(std::isfinite(found[static_cast<std::size_t>(row * width + 3)]))
              << name << " " << row;
          for (std::int64_t j = half; j < width; ++j)
            ASSERT_EQ(found[static_cast<std::size_t>(row * width + j)],
                      expected[static_cast<std::size_t>(row * width + j)]);
        }
        alone.step({{0, c.tokens}});
        expect_same_bits(alone.step({{at - 1, 1}}), cut(found, c, at - 1, 1),
                         name + ", row before");
        expect_same_bits(alone.step({{at + 9, 1}}), cut(found, c, at + 9, 1), name + ", row after");
      }
}

// What read() gives is what was stored, within the type's step; pages copy with their scales.
TEST_P(AttentionTest, CacheKeepsWhatItIsGiven) {
  for (const DType type : cache_types()) {
    const Case c{.type = type, .tokens = 130};
    const auto in = random_values(c.tokens * c.shape.columns(), 10);
    Layer layer(GetParam(), c, in), exact("reference", {.tokens = 130}, in);
    layer.step({{0, c.tokens}});
    exact.step({{0, c.tokens}});
    const std::vector<std::int32_t> pages{0, 2, 4};
    std::vector<float> keys, values, exact_keys, exact_values;
    layer.kv().read(0, pages, c.tokens, keys, values);
    exact.kv().read(0, pages, c.tokens, exact_keys, exact_values);
    // Half a step: of a bfloat16 up to 8, of the largest code of vectors of norm below 14.
    const double step = type == DType::f32    ? 1e-5
                        : type == DType::bf16 ? 4.0 / 128
                        : type == DType::i16  ? 8.0 / 8191
                                              : 8.0 / 127;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      ASSERT_NEAR(keys[i], exact_keys[i], 0.51 * step) << to_string(type);
      ASSERT_NEAR(values[i], exact_values[i], 0.51 * step) << to_string(type);
    }
    KvCache& kv = const_cast<KvCache&>(layer.kv());
    kv.copy_page(0, 1);
    const std::vector<std::int32_t> copied{1, 2, 4};
    std::vector<float> keys_again, values_again;
    kv.read(0, copied, c.tokens, keys_again, values_again);
    EXPECT_EQ(keys_again, keys);
    EXPECT_EQ(values_again, values);
    EXPECT_EQ(kv.bytes(), kv.shape().bytes());
  }
}

TEST(KvRounding, Definition) {
  const std::vector<float> x{3, -4, 0, 0.0001f};
  std::int16_t codes[4];
  EXPECT_EQ(round_key(DType::i16, x, codes), 5.0f / kKeyNorm16);
  EXPECT_EQ((std::vector<std::int16_t>(codes, codes + 4)),
            (std::vector<std::int16_t>{19620, -26160, 0, 1}));
  EXPECT_EQ(round_value(DType::i16, x, codes), 4.0f / kValueLevels16);
  EXPECT_EQ(codes[0], 6143);  // 6143.25
  EXPECT_EQ(codes[1], -8191);
  EXPECT_EQ(round_key(DType::i8, x, codes), 4.0f / 127);
  EXPECT_EQ((std::vector<std::int16_t>(codes, codes + 4)),
            (std::vector<std::int16_t>{95, -127, 0, 0}));
  for (const DType type : {DType::i8, DType::i16})
    for (auto* round : {round_key, round_value}) {
      EXPECT_EQ(round(type, std::vector<float>{0, -0.0f, 1e-31f}, codes), 0.0f);
      for (const float bad : {kNan, kInfinity, -kInfinity}) {
        EXPECT_TRUE(std::isnan(round(type, std::vector<float>{1, bad, 2}, codes)));
        EXPECT_EQ(codes[0], 0);
      }
      EXPECT_FALSE(std::isnan(round(type, std::vector<float>{3e38f, -3e38f}, codes)) &&
                   round == round_value);
    }
}

}  // namespace
}  // namespace octet::ops::test
