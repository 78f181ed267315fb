// A model folder damaged in every way a transfer or a bad tool can: the program ends with exit 3
// and one message, or, where the damage is in values alone, computes.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "checkpoint/checkpoint.h"
#include "run_octet.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "support/support.h"

namespace octet::test {
namespace {

namespace fs = std::filesystem;

class Damaged : public testing::Test {
 protected:
  Damaged() { fs::copy(tiny_model(), model, fs::copy_options::recursive); }

  void expect_refusal(const std::string& part) {
    const Finished run =
        run_octet({"logits", model, "--ids", "1,2,3", "--out", folder.path() / "out"});
    EXPECT_EQ(run.status, 3) << run.err;
    EXPECT_NE(run.err.find(part), std::string::npos) << run.err;
    EXPECT_FALSE(fs::exists(folder.path() / "out"));
  }

  ScratchFolder folder;
  fs::path model = folder.path() / "model";
  fs::path shard = model / "model-00001-of-00002.safetensors";
};

TEST_F(Damaged, MissingFiles) {
  fs::remove(shard);
  expect_refusal("model-00001-of-00002.safetensors");
  fs::remove(model / "model.safetensors.index.json");
  fs::remove(model / "model-00002-of-00002.safetensors");
  expect_refusal("safetensors");
  fs::remove(model / "config.json");
  expect_refusal("config.json");
}

TEST_F(Damaged, CutFiles) {
  const auto size = fs::file_size(shard);
  for (const double share : {0.999999, 0.5, 0.0001, 0.0}) {
    fs::resize_file(shard, static_cast<std::uintmax_t>(static_cast<double>(size) * share));
    expect_refusal(shard.filename());
  }
}

// In this process, where every byte of the header can be tried: opening must throw bad_data, and
// nothing else, wherever the file ends.
TEST_F(Damaged, CutAtEveryByteOfTheHeader) {
  const std::string whole = read_file(shard);
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  for (std::size_t size = 0; size < 8 + header; ++size) {
    const auto bytes = std::as_bytes(std::span(whole.data(), size));
    try {
      (void)checkpoint::parse_safetensors(bytes, "cut");
      FAIL() << "accepted " << size << " bytes";
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::bad_data) << size << ": " << e.what();
    }
  }
}

// Bytes of the header changed at random: refused, or read as what it then says.
TEST_F(Damaged, ChangedHeaders) {
  const std::string whole = read_file(shard);
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  std::mt19937 rng(1);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string changed = whole.substr(0, 8 + header);
    for (int k = 0; k < 1 + i % 3; ++k)
      changed[rng() % changed.size()] = static_cast<char>(rng() % 256);
    changed.resize(whole.size());
    try {
      (void)checkpoint::parse_safetensors(std::as_bytes(std::span(changed)), "changed");
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::bad_data) << e.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST_F(Damaged, ChangedConfigurations) {
  const std::string whole = read_file(model / "config.json");
  std::mt19937 rng(2);
  for (int i = 0; i < 500; ++i) {
    std::string changed = whole;
    if (i % 2)
      changed.resize(rng() % changed.size());
    else
      for (int k = 0; k < 2; ++k) changed[rng() % changed.size()] = static_cast<char>(rng() % 256);
    write_file(model / "config.json", changed);
    try {
      checkpoint::Checkpoint::open(model).require_text();
    } catch (const Error& e) {
      ASSERT_TRUE(e.code() == ErrorCode::bad_data || e.code() == ErrorCode::not_found) << e.what();
    }
  }
}

}  // namespace
}  // namespace octet::test
