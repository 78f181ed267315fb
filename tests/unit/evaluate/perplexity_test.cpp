#include "evaluate/perplexity.h"

#include <gtest/gtest.h>

#include <boost/json/value_to.hpp>

#include "input/tokenizer/tokenizer.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"
#include "support/support.h"

namespace octet::evaluate {
namespace {

// docs/evaluation.md: 5000 tokens, context 2048, stride 512.
TEST(Windows, LastPartsAreScoredOnce) {
  const auto w = windows(5000, {});
  const Window expected[] = {{0, 2048, 2048},   {512, 2560, 512},  {1024, 3072, 512},
                             {1536, 3584, 512}, {2048, 4096, 512}, {2560, 4608, 512},
                             {3072, 5000, 392}};
  ASSERT_EQ(w.size(), 7u);
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(w[i].begin, expected[i].begin);
    EXPECT_EQ(w[i].end, expected[i].end);
    EXPECT_EQ(w[i].target, expected[i].target);
  }
  EXPECT_EQ(windows(100, {}).size(), 1u);
  EXPECT_THROW(windows(1, {}), Error);
  EXPECT_THROW(windows(100, {.context = 1}), Error);
  EXPECT_THROW(windows(100, {.context = 10, .stride = 11}), Error);
  EXPECT_THROW(windows(100, {.context = 10, .stride = 0}), Error);
}

TEST(Perplexity, EqualsTheReferenceImplementation) {
  ThreadPool pool(2);
  const auto backend = ops::make_backend({}, pool);
  const auto checkpoint = checkpoint::Checkpoint::open(test::tiny_model());
  model::TextModel model(*backend, checkpoint), twin(*backend, checkpoint);
  const auto tokenizer = tokenizer::Tokenizer::load(test::tiny_model());
  const auto ids = tokenizer.encode(read_file(test::golden("eval_articles.txt")), false);
  const json::value golden = read_json(test::golden("perplexity.json"));
  const auto& expected = golden.at("base").at("eval_articles/256/64");
  EXPECT_EQ(ids.size(), expected.at("tokens").to_number<std::size_t>());
  // The first scores, one by one.
  const auto first =
      json::value_to<std::vector<double>>(golden.at("base_first_nll").at("eval_articles/256/64"));
  double sum = 0;
  for (const double nll : first) sum += nll;
  const std::vector<std::int32_t> head(ids.begin(),
                                       ids.begin() + static_cast<std::ptrdiff_t>(first.size()) + 1);
  EXPECT_NEAR(perplexity(model, nullptr, head, {.context = 256, .stride = 64}, pool,
                         *comm::make_communicator())
                  .nll,
              sum, 1e-4 * sum);
  // All of it.
  const auto whole = perplexity(model, nullptr, ids, {.context = 256, .stride = 64}, pool,
                                *comm::make_communicator());
  EXPECT_EQ(whole.windows, expected.at("windows").to_number<std::int64_t>());
  EXPECT_EQ(whole.scored, expected.at("scored").to_number<std::int64_t>());
  EXPECT_NEAR(whole.perplexity / expected.at("ppl").to_number<double>(), 1, 1e-6);
  EXPECT_NEAR(whole.variant_a_prime / expected.at("ppl_Aprime").to_number<double>(), 1, 1e-6);
  EXPECT_NEAR(whole.variant_b / expected.at("ppl_B").to_number<double>(), 1, 1e-6);
  // How many rows go together changes no bit, and a model is its own twin.
  const PerplexityOptions some{.context = 256, .stride = 64, .max_windows = 9};
  PerplexityOptions small = some;
  small.step_rows = 100;
  const auto a = perplexity(model, nullptr, ids, some, pool, *comm::make_communicator()),
             b = perplexity(model, &twin, ids, small, pool, *comm::make_communicator());
  EXPECT_EQ(a.nll, b.nll);
  EXPECT_EQ(b.base->kl_max, 0);
  EXPECT_EQ(b.base->same_top, 1);
  EXPECT_EQ(b.base->delta_percent, 0);
}

}  // namespace
}  // namespace octet::evaluate
