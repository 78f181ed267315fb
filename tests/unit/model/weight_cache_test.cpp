// The cache of packed weights: the same answers with and without it, every kind of damage, company.

#include "model/weight_cache.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>

#include "model/text_model.h"
#include "model/weight_folder.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/system.h"
#include "runtime/ops/make_backend.h"
#include "support/support.h"
#include "unit/model/weight_cache_support.h"

namespace octet::model {
namespace {

TEST_F(WeightCacheTest, SecondStartReadsWhatTheFirstWrote) {
  const Start plain = start({});
  EXPECT_EQ(plain.state, State::off);
  const Start first = start();
  EXPECT_EQ(first.state, State::written);
  ASSERT_EQ(first.said.size(), 1u);
  EXPECT_NE(first.said[0].find(first.path.string()), std::string::npos);
  EXPECT_NE(first.said[0].find("--weight-cache off"), std::string::npos);
  EXPECT_EQ(files(), std::vector<std::string>{first.path.filename()});
  const Start second = start();
  EXPECT_EQ(second.state, State::read);
  EXPECT_FALSE(second.complained());
  EXPECT_EQ(first.logits, plain.logits);
  EXPECT_EQ(second.logits, plain.logits);
}

TEST_F(WeightCacheTest, SmallModelsAndBackendsWithoutALayoutWriteNothing) {
  WeightCacheOptions o = options();
  o.smallest_bytes = WeightCacheOptions{}.smallest_bytes;
  EXPECT_EQ(start(o).state, State::off);
  EXPECT_EQ(start(options(), "reference").state, State::off);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(WeightCacheTest, EveryFlippedByteIsFound) {
  plain_ = start();
  const fs::path path = plain_.path;
  const auto size = fs::file_size(path);
  const auto flip_and_expect = [&](std::uintmax_t at, const std::string& part) {
    flip(path, at);
    expect_repaired(part);
  };
  flip_and_expect(3, "not a file of packed weights");
  flip_and_expect(4000, "bytes at 0: expected hash");  // padding of the head
  flip_and_expect(4096, "bytes at 0: expected hash");  // first weight
  flip_and_expect(9 << 20, "bytes at 8388608: expected hash");
  flip_and_expect(size - 56 - 200, "index: expected hash");
  flip_and_expect(size - 56, "without its trailer");
  flip_and_expect(size - 48, "trailer: expected hash");  // size of the file
  flip_and_expect(size - 1, "trailer: expected hash");
}

TEST_F(WeightCacheTest, CutOrForeignFilesAreReplaced) {
  plain_ = start();
  const fs::path path = plain_.path;
  const auto size = fs::file_size(path);
  for (const std::uintmax_t left : {std::uintmax_t{0}, std::uintmax_t{100}, std::uintmax_t{4096},
                                    size / 2, size - 57, size - 1}) {
    fs::resize_file(path, left);
    expect_repaired(path.string());
  }
  write_file(path, std::string(20000, 'x'));
  expect_repaired("not a file of packed weights");
}

// A file that is whole, but says what it must not: the index is written anew with its hashes.
TEST_F(WeightCacheTest, OtherVersionsAreNotUsed) {
  plain_ = start();
  const fs::path path = plain_.path;
  const auto rewrite = [&](const std::function<void(WeightIndex&)>& change) {
    const std::string bytes = read_file(path);
    WeightIndex index = parse_weight_index(std::as_bytes(std::span(bytes)), "test");
    const auto data = index.data_bytes;
    change(index);
    write_file(path, bytes.substr(0, data) + write_weight_index(index));
  };
  rewrite([](WeightIndex& i) { i.layout = "cpu-0"; });
  expect_repaired("cpu-0");
  rewrite([](WeightIndex& i) { i.chunks[0][0] ^= 1; });
  expect_repaired("expected hash");
  rewrite([](WeightIndex& i) { i.checkpoint.content[0] ^= 1; });
  expect_repaired("other contents");
  rewrite([](WeightIndex& i) { i.linears[1].blocks[0].offset += 1; });
  expect_repaired("blocks");
  rewrite([](WeightIndex& i) { i.linears[1].blocks[0].bytes = i.data_bytes; });
  expect_repaired("blocks");

  // What only shows when a weight is asked for: this start packs, the next writes.
  for (const auto& change : std::vector<std::function<void(WeightIndex&)>>{
           [](WeightIndex& i) { i.linears.pop_back(); },
           [](WeightIndex& i) { i.linears[3].name = "other"; },
           [](WeightIndex& i) { ++i.linears[3].in_features; },
           [](WeightIndex& i) { std::swap(i.linears[0].blocks, i.linears[2].blocks); },
           [](WeightIndex& i) { i.linears[4].description[1] = 99; }}) {
    rewrite(change);
    const Start without = start();
    EXPECT_EQ(without.state, State::off);
    ASSERT_EQ(without.said.size(), 1u);
    EXPECT_NE(without.said[0].find("goes on without"), std::string::npos) << without.said[0];
    EXPECT_EQ(without.logits, plain_.logits);
    EXPECT_EQ(start().state, State::written);
  }
}

TEST_F(WeightCacheTest, AChangedCheckpointIsNoticed) {
  plain_ = start();
  fs::path shard;
  for (const auto& entry : fs::directory_iterator(model_))
    if (entry.path().extension() == ".safetensors") shard = entry.path();
  const auto modified = fs::last_write_time(shard);
  // In place, with the time of modification put back: only the inode's own time tells.
  flip(shard, fs::file_size(shard) - 1);
  flip(shard, fs::file_size(shard) - 1);
  fs::last_write_time(shard, modified);
  expect_repaired(shard.filename().string() + ": changed");
  // Other numbers in the configuration.
  const std::string config = read_file(model_ / "config.json");
  write_file(model_ / "config.json", config + "\n");
  expect_repaired("config.json");
  // Other weights: the answers are the new ones.
  const auto tensors = checkpoint::Checkpoint::open(model_);
  const auto* weight = tensors.find("model.language_model.layers.0.mlp.down_proj.weight");
  ASSERT_TRUE(weight);
  const auto at = weight->bytes.data() + weight->bytes.size() / 2 - weight->file->bytes().data();
  for (int i = 1; i < 64; i += 2) flip(weight->file->path(), static_cast<std::uintmax_t>(at + i));
  const Start without = start({}), changed = start(), again = start();
  EXPECT_NE(without.logits, plain_.logits);
  EXPECT_EQ(changed.state, State::written);
  EXPECT_EQ(again.state, State::read);
  EXPECT_EQ(changed.logits, without.logits);
  EXPECT_EQ(again.logits, without.logits);
}

// Times are equal where an image sets them all alike: the samples of the weights differ.
TEST_F(WeightCacheTest, FingerprintSeesContentsToo) {
  const auto checkpoint = checkpoint::Checkpoint::open(model_);
  const auto before = checkpoint::take_fingerprint(checkpoint);
  for (const auto& t : checkpoint.tensors()) {
    const auto at = static_cast<std::uintmax_t>(t.bytes.data() - t.file->bytes().data() +
                                                static_cast<std::ptrdiff_t>(t.bytes.size() / 2));
    flip(t.file->path(), at);
    auto now = checkpoint::take_fingerprint(checkpoint);  // mapped: the change shows
    flip(t.file->path(), at);
    EXPECT_NE(checkpoint::describe_change(before, now), "");
    now.files = before.files;
    EXPECT_EQ(checkpoint::describe_change(before, now), "other contents") << t.name;
  }
}

TEST_F(WeightCacheTest, OnlyOneWrites) {
  const Start plain = start({});
  ThreadPool pool(2);
  const auto backend = ops::make_backend({.backend = "cpu"}, pool);
  const auto checkpoint = checkpoint::Checkpoint::open(model_);
  {
    WeightCache writer(*backend, checkpoint, pool, options());
    EXPECT_EQ(writer.state(), State::written);
    // While it is at work, and after it has mapped its first weights.
    const Start beside = start();
    EXPECT_EQ(beside.state, State::off);
    ASSERT_EQ(beside.said.size(), 1u);
    EXPECT_NE(beside.said[0].find("another process"), std::string::npos);
    EXPECT_EQ(beside.logits, plain.logits);
    const TextModel model(*backend, checkpoint, {}, &writer);
    writer.wait();
    EXPECT_EQ(start().state, State::read);
  }
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(WeightCacheTest, AWriterThatStopsHalfwayLeavesNothing) {
  ThreadPool pool(2);
  const auto backend = ops::make_backend({.backend = "cpu"}, pool);
  const auto checkpoint = checkpoint::Checkpoint::open(model_);
  {
    WeightCache writer(*backend, checkpoint, pool, options());
    EXPECT_THROW(
        TextModel(
            *backend, checkpoint,
            [](std::int64_t, std::int64_t) { fail(ErrorCode::interrupted, "stopped"); }, &writer),
        Error);
  }
  EXPECT_TRUE(files().empty());
  // One that was killed left its files; its lock is gone with it.
  const Start first = start();
  fs::rename(first.path, first.path.string() + ".partial");
  write_file(first.path.string() + ".lock", "");
  write_file((folder_ / "other.octet-weights.partial"), "dead");
  write_file((folder_ / "note.txt"), "a person's");
  EXPECT_EQ(start().state, State::written);
  auto left = files();
  std::ranges::sort(left);
  EXPECT_EQ(left, (std::vector<std::string>{first.path.filename(), "note.txt"}));
}

TEST_F(WeightCacheTest, AChangeWhileItIsReadKeepsNothing) {
  ThreadPool pool(2);
  const auto backend = ops::make_backend({.backend = "cpu"}, pool);
  const auto checkpoint = checkpoint::Checkpoint::open(model_);
  std::vector<std::string> said;
  WeightCacheOptions o = options();
  o.say = [&](const std::string& line) { said.push_back(line); };
  WeightCache writer(*backend, checkpoint, pool, o);
  const TextModel model(
      *backend, checkpoint,
      [&](std::int64_t done, std::int64_t) {
        if (done == 2) flip(model_ / "config.json", 0);
      },
      &writer);
  writer.wait();
  EXPECT_TRUE(files().empty());
  ASSERT_EQ(said.size(), 2u);
  EXPECT_NE(said[1].find("changed while it was read"), std::string::npos) << said[1];
}

TEST_F(WeightCacheTest, UnusableFoldersAreSaidOnce) {
  plain_ = start({});
  write_file(scratch_.path() / "file", "");
  for (const fs::path& folder : {scratch_.path() / "file" / "cache", fs::path("/proc/octet")}) {
    WeightCacheOptions o = options();
    o.folder = folder;
    const Start without = start(o);
    EXPECT_EQ(without.state, State::off);
    ASSERT_EQ(without.said.size(), 1u);
    EXPECT_NE(without.said[0].find("--weight-cache off"), std::string::npos) << without.said[0];
    EXPECT_EQ(without.logits, plain_.logits);
  }
}

// A disk that fills up: weights that were written and used already are packed again.
TEST_F(WeightCacheTest, AFullDiskIsSaidOnceAndLeavesNothing) {
  plain_ = start({});
  for (const rlim_t room : {rlim_t{5000}, rlim_t{9} << 20}) {
    struct rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit{room, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Start without = start();
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(without.state, State::off);
    ASSERT_EQ(without.said.size(), 2u);
    EXPECT_NE(without.said[1].find("goes on without"), std::string::npos) << without.said[1];
    EXPECT_EQ(without.logits, plain_.logits);
    EXPECT_TRUE(files().empty());
  }
}

// Whatever keeps a file from being read, but says nothing about its bytes, must not remove it.
TEST_F(WeightCacheTest, AFileThatCantBeReadNowStays) {
  const Start own = start();
  {
    ThreadPool pool(2);
    const auto backend = ops::make_backend({.backend = "cpu"}, pool);
    const auto checkpoint = checkpoint::Checkpoint::open(model_);
    struct rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    // Descriptors for the lock only, not for the file beside it.
    const int next = ::dup(STDIN_FILENO);
    ASSERT_GE(next, 0);
    ::close(next);
    WeightCacheOptions o = options();
    std::vector<std::string> said;
    o.say = [&](const std::string& line) { said.push_back(line); };
    const struct rlimit limit{static_cast<rlim_t>(next) + 1, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const WeightCache cache(*backend, checkpoint, pool, o);
    ::setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_EQ(cache.state(), State::off);
    ASSERT_EQ(said.size(), 1u);
    EXPECT_NE(said[0].find("can't open"), std::string::npos) << said[0];
  }
  EXPECT_TRUE(fs::exists(own.path));
  EXPECT_EQ(start().state, State::read);
}

// A bad file is its writer's to replace: nobody else removes what may be a new one by then.
TEST_F(WeightCacheTest, ABadFileStaysWhileAnotherWrites) {
  const Start own = start();
  flip(own.path, 4096);
  const auto turn = FileLock::try_create(own.path.string() + kWeightLockEnding);
  ASSERT_TRUE(turn);
  EXPECT_EQ(start().state, State::off);
  EXPECT_TRUE(fs::exists(own.path));
}

TEST_F(WeightCacheTest, TheIndexIsReadOnlyWhereItsPagesAre) {
  const Start own = start();
  const std::string bytes = read_file(own.path);
  const auto file = std::as_bytes(std::span(bytes));
  std::vector<std::pair<std::size_t, std::size_t>> parts;
  const auto index = parse_weight_index(file, "test", [&](std::span<const std::byte> part) {
    parts.emplace_back(static_cast<std::size_t>(part.data() - file.data()), part.size());
  });
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0], (std::pair<std::size_t, std::size_t>{0, 4096}));
  EXPECT_EQ(parts[1], (std::pair<std::size_t, std::size_t>{file.size() - 56, 56}));
  EXPECT_EQ(parts[2], (std::pair<std::size_t, std::size_t>{index.data_bytes,
                                                           file.size() - 56 - index.data_bytes}));
}

// Ctrl-C: what is not on the disk yet is given up instead of waited for.
TEST_F(WeightCacheTest, AnInterruptedWriterDropsItsFile) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto life = [&] {
    install_interrupt_handler();
    {
      ThreadPool pool(2);
      const auto backend = ops::make_backend({.backend = "cpu"}, pool);
      const auto checkpoint = checkpoint::Checkpoint::open(model_);
      WeightCache writer(*backend, checkpoint, pool, options());
      // Loading looks at the signal through its progress only, which is not given here.
      std::raise(SIGINT);
      const TextModel model(*backend, checkpoint, {}, &writer);
    }
    const bool dropped = files().empty();
    fs::remove_all(scratch_.path());  // nothing is destroyed on this way out
    _exit(dropped ? 0 : 1);
  };
  EXPECT_EXIT(life(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace octet::model
