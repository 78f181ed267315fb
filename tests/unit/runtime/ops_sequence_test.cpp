// Operations that carry something from token to token (attention, convolution, delta rule), on
// every instruction set: against the reference, in any chunking, in mixed batches, as drafts.

#include <algorithm>
#include <array>
#include <cstring>

#include "unit/runtime/ops_support.h"

namespace octet::ops::test {
namespace {

// One layer of each kind with small odd sizes, run over whole sequences in given pieces.
struct Shapes {
  AttentionShape attention{.num_heads = 6, .num_kv_heads = 2, .head_dim = 48, .rotary_dim = 16};
  StateCacheShape states{.num_layers = 2,
                         .num_slots = 4,
                         .num_key_heads = 2,
                         .num_value_heads = 6,
                         .key_head_dim = 24,
                         .value_head_dim = 20,
                         .max_draft_rows = 8};
  DType kv_type = DType::f32;
};

constexpr std::int64_t kLayer = 1;
constexpr std::int64_t kMaxTokens = 300;

// Inputs of a sequence, a pure function of its number.
struct Inputs {
  std::vector<float> projected, cos_sin, raw, gates;
};

class Machine {
 public:
  Machine(const std::string& isa, const Shapes& shapes, int threads = 2)
      : bench(isa, threads), s(shapes) {
    kv = bench.backend->make_kv_cache({.num_layers = 2,
                                       .num_pages = 24,
                                       .num_kv_heads = 2,
                                       .head_dim = s.attention.head_dim,
                                       .dtype = s.kv_type});
    states = bench.backend->make_state_cache(s.states);
    q_norm = bench.put(random_values(s.attention.head_dim, 1, 0.1f), {s.attention.head_dim});
    k_norm = bench.put(random_values(s.attention.head_dim, 2, 0.1f), {s.attention.head_dim});
    taps = bench.put(random_values(4 * channels(), 3), {4, channels()});
    A_log = bench.put(random_values(s.states.num_value_heads, 4), {s.states.num_value_heads});
    dt_bias = bench.put(random_values(s.states.num_value_heads, 5), {s.states.num_value_heads});
  }

  std::int64_t channels() const { return s.states.conv_dim(); }

  const Inputs& inputs(int sequence) {
    Inputs& in = inputs_[static_cast<std::size_t>(sequence)];
    if (in.projected.empty()) {
      const auto seed = static_cast<unsigned>(100 * sequence);
      in.projected = random_values(kMaxTokens * s.attention.columns(), seed + 1);
      in.cos_sin = random_values(kMaxTokens * s.attention.rotary_dim, seed + 2);
      in.raw = random_values(kMaxTokens * channels(), seed + 3);
      in.gates = random_values(kMaxTokens * 2 * s.states.num_value_heads, seed + 4);
    }
    return in;
  }

  struct Piece {
    int sequence;
    std::int64_t past, rows;
    std::int32_t accepted = 0;
    bool draft = false;
  };
  struct Result {
    std::vector<float> attention, conv, delta;
    bool operator==(const Result&) const = default;
  };

  // Runs the pieces as one batch; results row by row for each piece.
  std::vector<Result> step(const std::vector<Piece>& pieces) {
    RaggedBatch batch;
    std::vector<float> projected, cos_sin, raw, gates;
    for (const Piece& p : pieces) {
      Segment segment{.row_begin = batch.num_rows,
                      .num_rows = p.rows,
                      .past = p.past,
                      .state_slot = p.sequence,
                      .accepted_rows = p.accepted,
                      .draft = p.draft};
      for (std::int32_t page = 0; page * kPageTokens < p.past + p.rows; ++page)
        segment.pages.push_back(page * 4 + p.sequence);  // pages of sequences interleaved
      batch.segments.push_back(segment);
      batch.num_rows += p.rows;
      const Inputs& in = inputs(p.sequence);
      const auto append = [&](std::vector<float>& to, const std::vector<float>& from,
                              std::int64_t width) {
        to.insert(to.end(), from.begin() + p.past * width,
                  from.begin() + (p.past + p.rows) * width);
      };
      append(projected, in.projected, s.attention.columns());
      append(cos_sin, in.cos_sin, s.attention.rotary_dim);
      append(raw, in.raw, channels());
      append(gates, in.gates, 2 * s.states.num_value_heads);
    }
    const std::int64_t rows = batch.num_rows, nv = s.states.num_value_heads;
    const std::int64_t width = s.attention.num_heads * s.attention.head_dim;
    const Tensor in = bench.put(projected, {rows, s.attention.columns()});
    const Tensor turn = bench.put(cos_sin, {rows, s.attention.rotary_dim});
    const Tensor query = bench.empty({rows, width}), out = bench.empty({rows, width});
    Backend& b = *bench.backend;
    b.attention_inputs(s.attention, in, q_norm, k_norm, turn, batch, *kv, kLayer, query);
    b.attention(s.attention, query, in, batch, *kv, kLayer, out);
    const Tensor columns = bench.put(raw, {rows, channels()}),
                 mixed = bench.empty({rows, channels()});
    b.causal_conv1d({columns, 0, channels()}, taps, batch, *states, kLayer, mixed);
    const Tensor gate = bench.put(gates, {rows, 2 * nv});
    const Tensor read = bench.empty({rows, nv * s.states.value_head_dim});
    b.gated_delta_rule({mixed, {gate, 0, nv}, {gate, nv, nv}, A_log, dt_bias}, batch, *states,
                       kLayer, read);
    std::vector<Result> results;
    for (const Segment& segment : batch.segments)
      results.push_back({bench.get(out.view().rows(segment.row_begin, segment.num_rows)),
                         bench.get(mixed.view().rows(segment.row_begin, segment.num_rows)),
                         bench.get(read.view().rows(segment.row_begin, segment.num_rows))});
    return results;
  }

  static void append(Result& to, const Result& from) {
    to.attention.insert(to.attention.end(), from.attention.begin(), from.attention.end());
    to.conv.insert(to.conv.end(), from.conv.begin(), from.conv.end());
    to.delta.insert(to.delta.end(), from.delta.begin(), from.delta.end());
  }

  Result run(int sequence, std::initializer_list<std::int64_t> chunks) {
    Result all;
    std::int64_t past = 0;
    for (const std::int64_t rows : chunks) {
      append(all, step({{sequence, past, rows}})[0]);
      past += rows;
    }
    return all;
  }

  Bench bench;
  Shapes s;
  std::unique_ptr<KvCache> kv;
  std::unique_ptr<StateCache> states;

 private:
  std::array<Inputs, 4> inputs_;
  Tensor q_norm, k_norm, taps, A_log, dt_bias;
};

class SequenceTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Isas, SequenceTest, testing::ValuesIn(isas()),
                         [](const auto& isa) { return isa.param; });

// Sums of some hundred float32 terms of order one; the recurrence carries errors on with decay.
constexpr double kTolerance = 2e-5;

TEST_P(SequenceTest, LikeReference) {
  for (const DType type : {DType::f32, DType::bf16})
    for (const auto [head_dim, rotary, dk, dv] :
         {std::array{48, 16, 24, 20}, {64, 16, 64, 64}, {256, 64, 128, 128}}) {
      Shapes shapes;
      shapes.kv_type = type;
      shapes.attention.head_dim = head_dim;
      shapes.attention.rotary_dim = rotary;
      shapes.states.key_head_dim = dk;
      shapes.states.value_head_dim = dv;
      Machine fast(GetParam(), shapes), reference("reference", shapes);
      const auto found = fast.run(0, {130, 1, 66}), expected = reference.run(0, {197});
      EXPECT_LT(worst_relative(found.attention, expected.attention, 0.05),
                type == DType::f32 ? kTolerance : 4e-3)  // bf16 keys may round the other way
          << head_dim;
      EXPECT_LT(worst_relative(found.conv, expected.conv, 0.05), kTolerance);
      EXPECT_LT(worst_relative(found.delta, expected.delta, 0.05), kTolerance) << dk;
      std::vector<float> a, b, c, d;
      fast.states->read(kLayer, 0, a, b);
      reference.states->read(kLayer, 0, c, d);
      EXPECT_LT(worst_relative(a, c, 0.05), kTolerance);
      EXPECT_EQ(b, d);
      const std::int32_t pages[] = {0, 4, 8, 12};
      fast.kv->read(kLayer, pages, 197, a, b);
      reference.kv->read(kLayer, pages, 197, c, d);
      EXPECT_LT(worst_relative(a, c, 0.05), type == DType::f32 ? kTolerance : 8e-3);
      EXPECT_EQ(b, d);
    }
}

TEST_P(SequenceTest, AnyChunkingGivesTheSameBits) {
  Machine a(GetParam(), {}), b(GetParam(), {}), c(GetParam(), {}, 1);
  const auto whole = a.run(0, {200});
  EXPECT_EQ(b.run(0, {64, 64, 64, 8}), whole);
  EXPECT_EQ(b.run(0, {}), Machine::Result{});
  EXPECT_EQ(c.run(0, {1, 1, 3, 59, 1, 63, 65, 7}), whole);
}

TEST_P(SequenceTest, MixedBatchesGiveTheSameBits) {
  Machine alone(GetParam(), {}), together(GetParam(), {}, 3);
  std::vector<Machine::Result> expected;
  for (int i = 0; i < 4; ++i) expected.push_back(alone.run(i, {100 + 10 * i}));
  std::vector<Machine::Result> found(4);
  std::array<std::int64_t, 4> past{};
  // Sequence i advances by its own pattern: single tokens beside long chunks.
  for (int round = 0; past != std::array<std::int64_t, 4>{100, 110, 120, 130}; ++round) {
    std::vector<Machine::Piece> pieces;
    for (int i = 0; i < 4; ++i) {
      const std::int64_t left = 100 + 10 * i - past[static_cast<std::size_t>(i)];
      const std::int64_t want = (round + i) % 4 == 0 ? 37 : (i == 3 ? 5 : 1);
      if (left > 0) pieces.push_back({i, past[static_cast<std::size_t>(i)], std::min(want, left)});
    }
    const auto results = together.step(pieces);
    for (std::size_t j = 0; j < pieces.size(); ++j) {
      const auto i = static_cast<std::size_t>(pieces[j].sequence);
      Machine::append(found[i], results[j]);
      past[i] += pieces[j].rows;
    }
  }
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(found[static_cast<std::size_t>(i)], expected[static_cast<std::size_t>(i)]) << i;
}

// A draft of five rows of which any number is accepted continues as if only those had been fed.
void drafts_roll_back(const std::string& name) {
  Machine straight(name, {});
  const auto expected = straight.run(0, {120});
  const auto rows_of = [&](const Machine::Result& r, std::int64_t begin, std::int64_t count,
                           const Shapes& s) {
    const auto cut = [&](const std::vector<float>& v, std::int64_t width) {
      return std::vector<float>(v.begin() + begin * width, v.begin() + (begin + count) * width);
    };
    return Machine::Result{cut(r.attention, s.attention.num_heads * s.attention.head_dim),
                           cut(r.conv, s.states.conv_dim()),
                           cut(r.delta, s.states.num_value_heads * s.states.value_head_dim)};
  };
  Machine m(name, {});
  const Shapes& s = m.s;
  std::int64_t length = 61;
  EXPECT_EQ(m.step({{0, 0, length}})[0], rows_of(expected, 0, length, s));
  std::int32_t accepted = 0;
  for (const std::int32_t accept : {0, 1, 2, 3, 5, 4, 0, 5, 1}) {
    // Another sequence runs beside the draft.
    const auto results = m.step({{0, length, 5, accepted, true}, {1, length - 61, 1}});
    EXPECT_EQ(results[0], rows_of(expected, length, 5, s)) << "at " << length;
    accepted = accept;
    length += accept;
  }
  // An ordinary step takes the last accepted rows in.
  EXPECT_EQ(m.step({{0, length, 7, accepted}})[0], rows_of(expected, length, 7, s));
  EXPECT_EQ(m.step({{0, length + 7, 9}})[0], rows_of(expected, length + 7, 9, s));
}

TEST_P(SequenceTest, DraftsRollBack) {
  drafts_roll_back(GetParam());
}
TEST(ReferenceSequence, DraftsRollBack) {
  drafts_roll_back("reference");
}

// Drafts longer than the blocks in which the cpu backend updates its states, accepted at every
// place of a block and over more than one of them.
void long_drafts(const std::string& name) {
  Shapes shapes;
  shapes.states.max_draft_rows = 16;
  Machine straight(name, shapes), m(name, shapes);
  const auto expected = straight.run(0, {250});
  const std::int64_t width = shapes.states.num_value_heads * shapes.states.value_head_dim;
  std::int64_t length = 3;
  m.step({{0, 0, length}});
  std::int32_t accepted = 0;
  for (const std::int32_t accept : {16, 5, 9, 8, 15, 1, 7, 16, 0, 10, 2, 16, 13}) {
    const auto found = m.step({{0, length, 16, accepted, true}})[0].delta;
    EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.delta.begin() + length * width))
        << "at " << length;
    accepted = accept;
    length += accept;
  }
  // The last accepted rows are taken in, and what is read then is what a straight run holds.
  m.step({{0, length, 1, accepted}});
  Machine shorter(name, shapes);
  shorter.run(0, {length + 1});
  std::vector<float> a, b, c, d;
  m.states->read(kLayer, 0, a, b);
  shorter.states->read(kLayer, 0, c, d);
  EXPECT_EQ(a, c);
  EXPECT_EQ(b, d);
}

TEST_P(SequenceTest, LongDrafts) {
  long_drafts(GetParam());
}
TEST(ReferenceSequence, LongDrafts) {
  long_drafts("reference");
}

// States are read, copied and compared at every place of a block.
TEST_P(SequenceTest, StatesAtEveryLength) {
  Machine fast(GetParam(), {}), reference("reference", {}), copy(GetParam(), {});
  const auto expected = copy.run(0, {40});
  const std::int64_t width = fast.s.states.num_value_heads * fast.s.states.value_head_dim;
  std::vector<float> a, b, c, d;
  for (std::int64_t length = 0; length < 20; ++length) {
    fast.states->read(kLayer, 0, a, b);
    reference.states->read(kLayer, 0, c, d);
    EXPECT_LT(worst_relative(a, c, 0.05), kTolerance) << length;
    // A copy goes on as the original does. (Sequence 1 has other inputs: the slot changes back.)
    fast.states->copy_slot(0, 2);
    const auto ahead = fast.step({{0, length, 11}})[0].delta;
    EXPECT_TRUE(std::equal(ahead.begin(), ahead.end(), expected.delta.begin() + length * width));
    fast.states->copy_slot(2, 0);
    fast.step({{0, length, 1}});
    reference.step({{0, length, 1}});
  }
}

TEST_P(SequenceTest, SlotsAndPagesCopy) {
  Machine m(GetParam(), {});
  const auto whole = m.run(0, {100});
  m.states->clear_slot(0);
  EXPECT_EQ(m.run(0, {100}), whole);
  // Fork sequence 0 at token 100 into another slot and into copied pages.
  m.states->copy_slot(0, 3);
  m.kv->copy_page(0, 20);
  m.kv->copy_page(4, 21);
  std::vector<float> a, b, c, d;
  m.states->read(kLayer, 0, a, b);
  m.states->read(kLayer, 3, c, d);
  EXPECT_EQ(a, c);
  EXPECT_EQ(b, d);
  const std::int32_t from[] = {0, 4}, to[] = {20, 21};
  m.kv->read(kLayer, from, 100, a, b);
  m.kv->read(kLayer, to, 100, c, d);
  EXPECT_EQ(a, c);
  EXPECT_EQ(b, d);
}

}  // namespace
}  // namespace octet::ops::test
