// The text model against the reference implementation's outputs, on every backend and instruction
// set, in any chunking and company.

#include <algorithm>
#include <map>
#include <optional>

#include "model/synthetic.h"
#include "model/text_model.h"
#include "runtime/base/cpu_features.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"
#include "support/golden_tensors.h"
#include "support/support.h"

namespace octet::model {
namespace {

using test::GoldenTensors;
using test::max_difference;

struct Loaded {
  Loaded(const std::string& backend_name, const std::filesystem::path& folder, int threads = 2)
      : pool(threads),
        backend(ops::make_backend(backend_name == "reference"
                                      ? ops::BackendOptions{.backend = "reference"}
                                      : ops::BackendOptions{.backend = "cpu", .isa = backend_name},
                                  pool)),
        checkpoint(checkpoint::Checkpoint::open(folder)),
        model(*backend, *checkpoint) {}
  /// Random 8-bit weights, inputs rounded.
  Loaded(const ops::BackendOptions& options, const checkpoint::TextConfig& shape, int threads)
      : pool(threads),
        backend(ops::make_backend(options, pool)),
        model(*backend, synthetic_parts(*backend, shape)) {}

  SequencePool make_pool(std::int64_t sequences = 1, std::int64_t tokens = 1024,
                         std::int64_t drafts = 0, DType kv = DType::f32) {
    return SequencePool(*backend, model.config(),
                        {.num_sequences = sequences,
                         .num_tokens = tokens,
                         .kv_dtype = kv,
                         .max_draft_rows = drafts});
  }
  std::vector<float> logits(TensorView hidden, std::vector<std::int32_t> rows) {
    std::vector<float> out;
    model.logits(hidden, rows, out);
    return out;
  }
  /// Logits of all rows of a sequence fed in chunks.
  std::vector<float> run(std::span<const std::int32_t> ids, std::int64_t chunk,
                         SequencePool& sequences) {
    Sequence s = sequences.create();
    std::vector<float> all;
    for (std::size_t first = 0; first < ids.size(); first += static_cast<std::size_t>(chunk)) {
      const auto piece =
          ids.subspan(first, std::min(static_cast<std::size_t>(chunk), ids.size() - first));
      const StepRows rows[] = {{.sequence = &s, .ids = piece}};
      std::vector<std::int32_t> indices;
      for (std::size_t i = 0; i < piece.size(); ++i)
        indices.push_back(static_cast<std::int32_t>(i));
      const auto part = logits(model.forward(rows, sequences), indices);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }

  ThreadPool pool;
  std::unique_ptr<ops::Backend> backend;
  std::optional<checkpoint::Checkpoint> checkpoint;
  TextModel model;
};

std::vector<std::string> backends() {
  std::vector<std::string> names{"reference"};
  for (const auto& isa : available_isas()) names.push_back(isa);
  return names;
}

// Compares what a golden case tells: last rows in full, log-sum-exp and the largest of every row.
void expect_golden(const GoldenTensors& golden, const std::string& name,
                   const std::vector<float>& logits, std::int64_t vocab) {
  const auto lse = golden.floats(name + ".lse"), top = golden.floats(name + ".top_logits");
  const auto top_ids = golden.ints(name + ".top_ids");
  const auto last = golden.floats(name + ".logits_last");
  ASSERT_EQ(logits.size(), lse.size() * static_cast<std::size_t>(vocab));
  EXPECT_LT(
      max_difference({logits.end() - static_cast<std::ptrdiff_t>(last.size()), logits.end()}, last),
      5e-4)
      << name;
  double worst_lse = 0, worst_top = 0;
  for (std::size_t r = 0; r < lse.size(); ++r) {
    const float* row = logits.data() + r * static_cast<std::size_t>(vocab);
    const double peak = *std::max_element(row, row + vocab);
    double sum = 0;
    for (std::int64_t i = 0; i < vocab; ++i) sum += std::exp(row[i] - peak);
    worst_lse = std::max(worst_lse, std::fabs(peak + std::log(sum) - lse[r]));
    for (std::size_t j = 0; j < 20; ++j)
      worst_top = std::max(
          worst_top, std::fabs(static_cast<double>(row[top_ids[r * 20 + j]]) - top[r * 20 + j]));
  }
  EXPECT_LT(worst_lse, 2e-4) << name;
  EXPECT_LT(worst_top, 5e-4) << name;
}

class ModelTest : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Backends, ModelTest, testing::ValuesIn(backends()),
                         [](const auto& backend) { return backend.param; });

TEST_P(ModelTest, TinyEqualsTheReferenceImplementation) {
  Loaded tiny(GetParam(), test::tiny_model());
  const GoldenTensors golden(test::golden("text.safetensors"));
  auto sequences = tiny.make_pool();
  for (const int length : {1, 2, 63, 64, 65, 130, 517}) {
    const std::string name = "len" + std::to_string(length);
    const auto ids = golden.ints(name + ".ids");
    expect_golden(golden, name, tiny.run(ids, 1024, sequences), 4096);
  }
}

TEST_P(ModelTest, TinyInSmallPieces) {
  Loaded tiny(GetParam(), test::tiny_model());
  const GoldenTensors golden(test::golden("text.safetensors"));
  auto sequences = tiny.make_pool();
  const auto ids = golden.ints("len65.ids");
  const auto whole = tiny.run(ids, 65, sequences);
  for (const std::int64_t chunk : {1, 7, 40, 64}) {
    const auto pieces = tiny.run(ids, chunk, sequences);
    expect_golden(golden, "len65", pieces, 4096);
    EXPECT_EQ(pieces, whole) << "chunks of " << chunk;  // every bit
  }
}

TEST_P(ModelTest, LayersAndStates) {
  Loaded tiny(GetParam(), test::tiny_model());
  const GoldenTensors golden(test::golden("text.safetensors"));
  auto sequences = tiny.make_pool();
  std::map<std::int64_t, std::vector<float>> hidden;
  tiny.model.observer = [&](std::int64_t layer, TensorView x) {
    auto& values = hidden[layer];
    values.resize(static_cast<std::size_t>(x.size()));
    tiny.backend->download(x, std::as_writable_bytes(std::span(values)));
  };
  Sequence s = sequences.create();
  const auto ids = golden.ints("len65.ids");
  const StepRows rows[] = {{.sequence = &s, .ids = ids}};
  const TensorView norm = tiny.model.forward(rows, sequences);
  std::vector<float> normed(static_cast<std::size_t>(norm.size()));
  tiny.backend->download(norm, std::as_writable_bytes(std::span(normed)));

  const auto expect_near = [&](const std::vector<float>& found, const std::string& name) {
    const auto expected = golden.floats(name);
    double largest = 0;
    for (const float x : expected) largest = std::max(largest, std::fabs(static_cast<double>(x)));
    EXPECT_LT(max_difference(found, expected), 3e-6 * largest + 2e-5) << name;
  };
  expect_near(hidden[-1], "len65.embed");
  for (std::int64_t i = 0; i < 8; ++i) expect_near(hidden[i], fmt::format("len65.layer{}", i));
  expect_near(normed, "len65.norm");
  std::int64_t linear = 0, full = 0;
  for (std::int64_t i = 0; i < 8; ++i) {
    std::vector<float> a, b;
    const std::string name = fmt::format("len65.layer{}", i);
    if (tiny.model.config().is_full_attention(i)) {
      sequences.kv().read(full++, s.pages(), 65, a, b);
      expect_near(a, name + ".k");
      expect_near(b, name + ".v");
    } else {
      sequences.states().read(linear++, s.slot(), a, b);
      EXPECT_LT(max_difference(a, golden.floats(name + ".state")), 1e-5) << name;
      EXPECT_LT(max_difference(b, golden.floats(name + ".conv")), 5e-5) << name;
    }
  }
}

// Random checkpoints with the head sizes of the published models.
TEST_P(ModelTest, RealHeadSizes) {
  for (const std::string shape : {"shape08b", "shape27b"}) {
    const auto folder = test::external_golden("shapes/" + shape);
    if (!folder) GTEST_SKIP() << "set OCTET_GOLDEN to the full golden set for shapes/" << shape;
    Loaded model(GetParam(), *folder);
    const GoldenTensors golden(test::golden(shape + ".safetensors"));
    auto sequences = model.make_pool();
    for (const std::string name : {"len5", "len64", "len200"}) {
      expect_golden(golden, name, model.run(golden.ints(name + ".ids"), 128, sequences), 4096);
    }
  }
}

TEST_P(ModelTest, PositionsOfPictures) {
  const auto folder = test::external_golden("shapes/shape27b");
  if (!folder) GTEST_SKIP() << "set OCTET_GOLDEN to the full golden set for shapes/shape27b";
  Loaded m(GetParam(), *folder);
  auto sequences = m.make_pool(2);
  const std::vector<std::int32_t> ids{5, 6, 7, 8};
  const std::vector<std::int32_t> text{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
  const std::vector<std::int32_t> picture{0, 1, 1, 1, 0, 1, 1, 2, 0, 1, 2, 1};
  const auto run = [&](std::span<const std::int32_t> positions) {
    Sequence s = sequences.create();
    const StepRows rows[] = {{.sequence = &s, .ids = ids, .positions = positions}};
    return m.logits(m.model.forward(rows, sequences), {3});
  };
  EXPECT_EQ(run(text), run({}));
  EXPECT_GT(max_difference(run(picture), run({})), 1e-3);
  // A shift of all positions changes nothing but rounding: rotation is relative.
  Sequence s = sequences.create();
  s.rope_delta = 40;
  const StepRows rows[] = {{.sequence = &s, .ids = ids}};
  EXPECT_LT(max_difference(m.logits(m.model.forward(rows, sequences), {3}), run({})), 2e-4);
}

// Eight sequences in one batch, at different stages, some as drafts: every row's bits are those of
// the sequence alone.
void expect_company_changes_nothing(Loaded& tiny, DType kv) {
  const GoldenTensors golden(test::golden("text.safetensors"));
  const auto text = golden.ints("len130.ids");
  auto sequences = tiny.make_pool(8, 8 * 192, 4, kv);
  std::vector<std::vector<float>> alone(8), together(8);
  std::vector<std::vector<std::int32_t>> ids(8);
  for (std::size_t i = 0; i < 8; ++i) {
    ids[i].assign(text.begin() + static_cast<std::ptrdiff_t>(i),
                  text.begin() + static_cast<std::ptrdiff_t>(i + 20 + 3 * i));
    alone[i] = tiny.run(ids[i], 1000, sequences);
  }
  std::vector<Sequence> s;
  for (int i = 0; i < 8; ++i) s.push_back(sequences.create());
  for (int round = 0;; ++round) {
    std::vector<StepRows> rows;
    std::vector<std::size_t> who;
    for (std::size_t i = 0; i < 8; ++i) {
      const auto done = static_cast<std::size_t>(s[i].length()), left = ids[i].size() - done;
      if (left == 0) continue;
      const bool draft = (round + static_cast<int>(i)) % 3 == 0;
      const std::size_t want = draft ? 3 : (i % 2 == 0 ? 1 : 7);
      rows.push_back({.sequence = &s[i],
                      .ids = std::span(ids[i]).subspan(done, std::min(want, left)),
                      .draft = draft});
      who.push_back(i);
    }
    if (rows.empty()) break;
    const TensorView hidden = tiny.model.forward(rows, sequences);
    std::int32_t row = 0;
    for (std::size_t j = 0; j < rows.size(); ++j) {
      // A draft keeps some of its rows; the others are computed again later.
      const auto count = static_cast<std::int32_t>(rows[j].ids.size());
      const std::int32_t keep = rows[j].draft ? std::min(count, 1 + round % 3) : count;
      std::vector<std::int32_t> indices;
      for (std::int32_t r = 0; r < keep; ++r) indices.push_back(row + r);
      const auto part = tiny.logits(hidden, indices);
      together[who[j]].insert(together[who[j]].end(), part.begin(), part.end());
      if (rows[j].draft) s[who[j]].accept(keep);
      row += count;
    }
  }
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(together[i], alone[i]) << "sequence " << i << ", cache " << to_string(kv);
}

TEST_P(ModelTest, CompanyChangesNothing) {
  Loaded tiny(GetParam(), test::tiny_model(), 3);
  for (const DType kv : {DType::f32, DType::i16, DType::i8})
    expect_company_changes_nothing(tiny, kv);
}

// The same with rounded inputs of quantized linears, which is what chat and bench do.
TEST_P(ModelTest, CompanyChangesNothingRounded) {
  if (GetParam() == "reference") GTEST_SKIP() << "the reference backend rounds no inputs";
  Loaded random({.backend = "cpu", .isa = GetParam(), .activations = "int16"},
                published_shape("0.8b:layers=4:vocab=4096"), 3);
  expect_company_changes_nothing(random, DType::i16);
}

TEST(SequencePoolTest, GivesBackWhatItTook) {
  Loaded tiny("generic", test::tiny_model());
  auto sequences = tiny.make_pool(2, 256);
  EXPECT_EQ(sequences.free_pages(), 4);
  const std::vector<std::int32_t> ids(100, 5);
  {
    Sequence a = sequences.create();
    const StepRows rows[] = {{.sequence = &a, .ids = ids}};
    tiny.model.forward(rows, sequences);
    EXPECT_EQ(sequences.free_pages(), 2);
    Sequence b = sequences.fork(a);
    EXPECT_EQ(b.length(), 100);
    EXPECT_EQ(sequences.free_pages(), 1);  // the full page is shared
    EXPECT_EQ(a.pages()[0], b.pages()[0]);
    EXPECT_NE(a.pages()[1], b.pages()[1]);
    EXPECT_THROW(sequences.create(), Error);
    // The copy goes on exactly as the original.
    const std::vector<std::int32_t> one{7};
    const StepRows both[] = {{.sequence = &a, .ids = one}, {.sequence = &b, .ids = one}};
    const auto hidden = tiny.model.forward(both, sequences);
    EXPECT_EQ(tiny.logits(hidden, {0}), tiny.logits(hidden, {1}));
    const std::vector<std::int32_t> many(160, 5);
    const StepRows too_long[] = {{.sequence = &a, .ids = many}};
    EXPECT_THROW(tiny.model.forward(too_long, sequences), Error);
    EXPECT_EQ(a.length(), 101);
  }
  EXPECT_EQ(sequences.free_pages(), 4);
  EXPECT_EQ(sequences.free_slots(), 2);
  Sequence c = sequences.create();
  const std::vector<std::int32_t> outside{4096};
  const StepRows rows[] = {{.sequence = &c, .ids = outside}};
  EXPECT_THROW(tiny.model.forward(rows, sequences), Error);
}

TEST(Synthetic, ShapesOfEverySize) {
  for (const char* name : {"0.8b", "2b", "4b", "9b", "27b"})
    EXPECT_EQ(published_shape(name).vocab_size, 248320);
  EXPECT_EQ(published_shape("27b:layers=4").num_hidden_layers, 4);
  EXPECT_THROW(published_shape("5b"), Error);
  EXPECT_THROW(published_shape("4b:layers=x"), Error);
  EXPECT_EQ(synthetic_bits("4b:layers=8"), 8);
  EXPECT_EQ(synthetic_bits("4b:bits=4:layers=8"), 4);
  EXPECT_THROW(synthetic_bits("4b:bits=9"), Error);
  ThreadPool pool(2);
  const auto backend = ops::make_backend({}, pool);
  TextModel model(*backend, synthetic_parts(*backend, published_shape("0.8b:layers=4:vocab=512")));
  SequencePool sequences(*backend, model.config(), {.num_tokens = 64});
  Sequence s = sequences.create();
  const std::vector<std::int32_t> ids{1, 2, 3};
  const StepRows rows[] = {{.sequence = &s, .ids = ids}};
  std::vector<float> logits;
  const std::int32_t last[] = {2};
  model.logits(model.forward(rows, sequences), last, logits);
  for (const float x : logits) ASSERT_TRUE(std::isfinite(x));
}

}  // namespace
}  // namespace octet::model
