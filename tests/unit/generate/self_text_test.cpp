// Calibration text that the model writes itself.

#include "generate/self_text.h"

#include <gtest/gtest.h>

#include <set>

#include "checkpoint/checkpoint.h"
#include "runtime/base/error.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/make_backend.h"
#include "support/support.h"

namespace octet::generate {
namespace {

TEST(SelfText, RowsDependOnTheSeedAlone) {
  const auto checkpoint = checkpoint::Checkpoint::open(test::tiny_model());
  std::vector<std::vector<std::vector<std::int32_t>>> results;
  SelfTextOptions o{.tokens = 400,
                    .min_tokens = 20,
                    .max_tokens = 60,
                    .batch = 4,
                    .beginnings = {{4040}, {1, 2, 3}},
                    .num_tokens = 4053};
  for (const auto& [threads, batch] : {std::pair(1, 4), std::pair(3, 7)}) {
    ThreadPool pool(threads);
    const auto backend = ops::make_backend({}, pool);
    model::TextModel model(*backend, checkpoint);
    o.batch = batch;
    results.push_back(write_self_text(model, o));
    if (threads == 1) {
      auto other = o;
      other.seed = 1;
      EXPECT_NE(write_self_text(model, other), results[0]);
      other.beginnings.clear();
      EXPECT_THROW(write_self_text(model, other), Error);
    }
  }
  EXPECT_EQ(results[0], results[1]);
  std::size_t tokens = 0;
  std::set<std::size_t> lengths;
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    const auto& row = results[0][i];
    EXPECT_GE(row.size(), 20u);
    EXPECT_LE(row.size(), 60u);
    EXPECT_EQ(row[0], i % 2 == 0 ? 4040 : 1);
    tokens += row.size();
    lengths.insert(row.size() / 10);
  }
  EXPECT_GE(tokens, 400u);
  EXPECT_LT(tokens, 460u);
  EXPECT_GE(lengths.size(), 3u);  // short and long ones
}

}  // namespace
}  // namespace octet::generate
