// Room for packed weights: limit, reserve of the disk, what is removed and what is not.

#include "model/weight_folder.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/base/file_lock.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "unit/model/weight_cache_support.h"

namespace octet::model {
namespace {

using WeightFolderTest = WeightCacheTest;

// A disk of 1 TB of which so much is free.
WeightLimits disk_with(std::uint64_t free) {
  return {.space = [free](const fs::path&) {
    return fs::space_info{.capacity = 1'000'000'000'000, .free = free, .available = free};
  }};
}

TEST_F(WeightFolderTest, TheDiskKeepsItsReserve) {
  plain_ = start({});
  WeightCacheOptions o = options();
  const auto expect_off = [&](std::size_t lines) {
    const Start tight = start(o);
    EXPECT_EQ(tight.state, State::off);
    ASSERT_EQ(tight.said.size(), lines);
    EXPECT_NE(tight.said.back().find("stay free"), std::string::npos) << tight.said.back();
    EXPECT_EQ(tight.logits, plain_.logits);
    EXPECT_TRUE(files().empty());
  };
  o.limits = disk_with(10'001'000'000);
  expect_off(1);
  // A tenth of a small disk is enough.
  o.limits.free_bytes = UINT64_MAX;
  o.limits.space = [](const fs::path&) {
    return fs::space_info{.capacity = 1'000'000'000, .free = 101'000'000, .available = 101'000'000};
  };
  expect_off(1);
  // Another program fills the disk meanwhile.
  int looks = 0;
  o.limits = disk_with(20'000'000'000);
  o.limits.space = [&looks, plenty = o.limits.space](const fs::path& folder) {
    return ++looks < 5 ? plenty(folder) : disk_with(10'000'000'000).space(folder);
  };
  expect_off(2);
  o.limits = disk_with(11'000'000'000);
  EXPECT_EQ(start(o).state, State::written);
}

TEST_F(WeightFolderTest, TheLongestUnusedGoesFirst) {
  const Start own = start();
  const std::uint64_t size = fs::file_size(own.path);
  const auto other = [&](const std::string& name, int hours_ago) {
    const fs::path path = folder_ / (name + kWeightFileEnding);
    write_file(path, std::string(1'000'000, 'x'));
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(hours_ago));
    return path;
  };
  const fs::path old = other("old", 30), older_in_use = other("used", 40),
                 young = other("young", 1);
  write_file(folder_ / "big.txt", std::string(5'000'000, 'x'));
  const auto use = FileLock::try_shared(older_in_use);
  WeightLimits limits = disk_with(1'000'000'000'000);
  const auto make_room = [&](std::uint64_t limit) {
    limits.limit_bytes = limit;
    return make_weight_room(folder_, own.path, size, limits);
  };
  EXPECT_EQ(make_room(size + 3'000'000), size);  // all fit
  EXPECT_TRUE(fs::exists(old));
  // What can't succeed removes nothing: the limit below the file or what is in use, a full disk.
  EXPECT_THROW(make_room(size - 1), Error);
  EXPECT_THROW(make_room(size + 500'000), Error);
  limits = disk_with(10'000'000'000);
  EXPECT_THROW(make_room(size + 2'500'000), Error);
  EXPECT_TRUE(fs::exists(old) && fs::exists(young) && fs::exists(older_in_use));
  // What goes makes room on the disk, too.
  limits = disk_with(10'000'000'000 + size - 1'000'000);
  EXPECT_EQ(make_room(size + 2'500'000), size + 500'000);
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(older_in_use) && fs::exists(young) && fs::exists(own.path));
  EXPECT_TRUE(fs::exists(folder_ / "big.txt"));

  // As the program meets it: what would pass the limit is not written, and said.
  WeightCacheOptions o = options();
  fs::remove(own.path);
  o.limits.limit_bytes = 5'000'000;
  const Start without = start(o);
  EXPECT_EQ(without.state, State::off);
  ASSERT_EQ(without.said.size(), 1u);
  EXPECT_NE(without.said[0].find("limit"), std::string::npos);
  EXPECT_TRUE(fs::exists(young));
}

// Nobody could finish this file again if its own remains took the room for it.
TEST_F(WeightFolderTest, AKilledWritersRemainsDontBlockTheNext) {
  const Start first = start();
  const fs::path partial = first.path.string() + ".partial";
  fs::rename(first.path, partial);
  const WeightLimits limits{.space = [&](const fs::path&) {
    const std::uintmax_t free = fs::exists(partial) ? 0 : 1'000'000'000;
    return fs::space_info{.capacity = 2'000'000'000, .free = free, .available = free};
  }};
  EXPECT_NO_THROW(make_weight_room(folder_, first.path, 1'000'000, limits));
  EXPECT_FALSE(fs::exists(partial));
}

// Dense weights of 16 bits that panels hold in 32: refused before anything is written, or written
// within the limit.
TEST_F(WeightFolderTest, TheEstimateIsEnoughForFloat16) {
  for (const auto& entry : fs::directory_iterator(model_)) {
    if (entry.path().extension() != ".safetensors") continue;
    std::string bytes = read_file(entry.path());
    // As long as before, so that no offset changes; only sizes matter here.
    for (std::size_t at; (at = bytes.find("\"BF16\"")) != std::string::npos;)
      bytes.replace(at, 6, "\"F16\" ");
    write_file(entry.path(), bytes);
  }
  const std::uint64_t size = fs::file_size(start().path);
  bool refused = false, written = false;
  for (std::uint64_t limit = size / 2; limit <= 2 * size; limit += size / 8) {
    fs::remove_all(folder_);
    WeightCacheOptions o = options();
    o.limits.limit_bytes = limit;
    const Start s = start(o);
    ASSERT_EQ(s.said.size(), 1u) << s.said.back();
    refused |= s.state == State::off;
    written |= s.state == State::written;
    EXPECT_TRUE(s.state == State::off || fs::file_size(s.path) <= limit) << limit;
  }
  EXPECT_TRUE(refused && written);
}

TEST_F(WeightFolderTest, AFileInUseStaysAndItsUseIsItsTime) {
  const Start own = start();
  const auto past = fs::file_time_type::clock::now() - std::chrono::hours(100);
  fs::last_write_time(own.path, past);
  ThreadPool pool(2);
  const auto backend = ops::make_backend({.backend = "cpu"}, pool);
  const auto checkpoint = checkpoint::Checkpoint::open(model_);
  const WeightCache reader(*backend, checkpoint, pool, options());
  ASSERT_EQ(reader.state(), State::read);
  EXPECT_GT(fs::last_write_time(own.path), past + std::chrono::hours(99));
  EXPECT_THROW(make_weight_room(folder_, folder_ / "new", 1000, {.limit_bytes = 1000}), Error);
  EXPECT_TRUE(fs::exists(own.path));
}

TEST(WeightFolder, KnowsWhatLiesInMemory) {
  EXPECT_FALSE(lies_in_memory("/proc/octet/none"));
  if (!fs::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm";
  EXPECT_TRUE(lies_in_memory("/dev/shm/octet-none/weights"));
}

}  // namespace
}  // namespace octet::model
