// What the tests of the cache of packed weights share.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "model/text_model.h"
#include "model/weight_cache.h"
#include "runtime/ops/make_backend.h"
#include "support/support.h"

namespace octet::model {

namespace fs = std::filesystem;
using State = WeightCache::State;

/// What a start did and what it computed.
struct Start {
  State state = State::off;
  fs::path path;
  std::vector<std::string> said;
  std::vector<float> logits;
  bool complained() const { return !said.empty(); }
};

/// A checkpoint to change, a folder for its packed weights, and starts.
class WeightCacheTest : public testing::Test {
 protected:
  WeightCacheTest() {
    fs::create_directory(model_);
    for (const auto& entry : fs::directory_iterator(test::tiny_model()))
      if (const auto ending = entry.path().extension();
          ending == ".json" || ending == ".safetensors")
        fs::copy_file(entry.path(), model_ / entry.path().filename());
  }

  WeightCacheOptions options() {
    return {.folder = folder_, .smallest_bytes = 0, .limits = {.free_bytes = 0}};
  }

  // One process' life: load, two steps.
  Start start(WeightCacheOptions o, const std::string& backend_name = "cpu") {
    Start result;
    ThreadPool pool(2);
    const auto backend = ops::make_backend({.backend = backend_name}, pool);
    const auto checkpoint = checkpoint::Checkpoint::open(model_);
    o.say = [&](const std::string& line) { result.said.push_back(line); };
    WeightCache cache(*backend, checkpoint, pool, o);
    result.path = cache.path();
    TextModel model(*backend, checkpoint, {}, &cache);
    result.state = cache.state();
    SequencePool sequences(*backend, model.config(), {.num_tokens = 64});
    Sequence s = sequences.create();
    for (const std::vector<std::int32_t>& ids :
         {std::vector<std::int32_t>{1, 200, 3000, 17, 5}, std::vector<std::int32_t>{9}}) {
      const StepRows rows[] = {{.sequence = &s, .ids = ids}};
      std::vector<float> logits;
      const std::int32_t last[] = {static_cast<std::int32_t>(ids.size()) - 1};
      model.logits(model.forward(rows, sequences), last, logits);
      result.logits.insert(result.logits.end(), logits.begin(), logits.end());
    }
    cache.wait();
    return result;
  }
  Start start() { return start(options()); }

  std::vector<std::string> files() const {
    std::vector<std::string> names;
    if (fs::exists(folder_))
      for (const auto& entry : fs::directory_iterator(folder_))
        names.push_back(entry.path().filename());
    return names;
  }

  // Changes a byte of a file.
  static void flip(const fs::path& path, std::uintmax_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const int c = file.get();
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(c ^ 0x10));
    ASSERT_TRUE(file.good());
  }

  // A file that can't be used: said with `part`, packed anew with the same result, then good again.
  void expect_repaired(const std::string& part) {
    const Start repaired = start();
    EXPECT_EQ(repaired.state, State::written) << part;
    ASSERT_EQ(repaired.said.size(), 2u) << part;
    EXPECT_NE(repaired.said[0].find(part), std::string::npos) << repaired.said[0];
    EXPECT_NE(repaired.said[0].find("anew"), std::string::npos) << repaired.said[0];
    EXPECT_EQ(repaired.logits, plain_.logits) << part;
    EXPECT_EQ(start().state, State::read) << part;
    EXPECT_EQ(files().size(), 1u) << part;
  }

  test::ScratchFolder scratch_;
  fs::path model_ = scratch_.path() / "model", folder_ = scratch_.path() / "a" / "cache";
  Start plain_;  // without a cache, where a test wants it
};

}  // namespace octet::model
