// The program under mpirun: the same figures for any number of ranks, and what a dead rank leaves.

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "checkpoint/checkpoint.h"
#include "run_octet.h"
#include "runtime/base/json.h"
#include "runtime/base/mapped_file.h"
#include "support/support.h"

namespace octet::test {
namespace {

namespace fs = std::filesystem;

Finished run_ranks(int ranks, const std::vector<std::string>& arguments,
                   const std::function<void(int)>& while_running = nullptr) {
  // Oversubscription and root: test machines are small containers.
  std::vector<std::string> words{OCTET_MPIRUN, "--allow-run-as-root", "--oversubscribe",
                                 "-n",         std::to_string(ranks), OCTET_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program(std::move(words), while_running);
}

json::object object_of(const Finished& run) {
  EXPECT_EQ(run.status, 0) << run.err;
  return parse_json(run.out, "output").as_object();
}

std::vector<std::string> quantize_to(const fs::path& out) {
  return {"quantize",
          tiny_model(),
          out,
          "--samples",
          "20",
          "--min-tokens",
          "16",
          "--max-tokens",
          "64",
          "--json",
          "--calibration",
          shipped_data("calibration.jsonl")};
}

TEST(Ranks, PerplexityIsTheSameToTheBit) {
  const std::vector<std::string> command{
      "perplexity",    tiny_model(), "--text",   golden("eval_articles.txt"),
      "--context",     "64",         "--stride", "48",
      "--max-windows", "41",         "--base",   tiny_model(),
      "--json"};
  auto alone = object_of(run_octet(command));
  for (const int ranks : {2, 3}) {
    auto many = object_of(run_ranks(ranks, command));
    for (const char* key : {"nll", "perplexity", "stderr", "scored", "variants", "base"})
      EXPECT_EQ(many.at(key), alone.at(key)) << key << ", " << ranks << " ranks";
  }
}

TEST(Ranks, QuantizeGivesTheSameWithinRounding) {
  const ScratchFolder folder;
  const auto alone = object_of(run_octet(quantize_to(folder.path() / "1")));
  const auto one = checkpoint::Checkpoint::open(folder.path() / "1");
  for (const int ranks : {2, 3}) {
    const fs::path out = folder.path() / std::to_string(ranks);
    const auto many = object_of(run_ranks(ranks, quantize_to(out)));
    EXPECT_NEAR(many.at("relative_error").at("mean").to_number<double>() /
                    alone.at("relative_error").at("mean").to_number<double>(),
                1, 0.02);
    const auto other = checkpoint::Checkpoint::open(out);
    ASSERT_EQ(other.tensors().size(), one.tensors().size());
    double codes = 0, different = 0;
    for (const auto& t : one.tensors()) {
      const auto* same = other.find(t.name);
      ASSERT_TRUE(same && same->bytes.size() == t.bytes.size()) << t.name;
      if (!t.name.ends_with(".qweight")) continue;
      for (std::size_t i = 0; i < t.bytes.size(); ++i)
        different += std::abs(static_cast<int>(t.bytes[i]) - static_cast<int>(same->bytes[i]));
      codes += static_cast<double>(t.bytes.size());
    }
    // Sums in another order move near ties, and one moved code moves others of its row by a step.
    EXPECT_LT(different / codes, 1.0) << ranks;
    EXPECT_EQ(read_file(out / "calibration_ids.jsonl"),
              read_file(folder.path() / "1" / "calibration_ids.jsonl"));
  }
}

// Processes whose parent is `parent`.
std::vector<int> children_of(int parent) {
  std::vector<int> children;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    std::ifstream file(entry.path() / "stat");
    int id = 0, parent_id = 0;
    std::string name, state;
    if (file >> id >> name >> state >> parent_id && parent_id == parent) children.push_back(id);
  }
  return children;
}

TEST(Ranks, ADeadRankEndsTheJobAndTheNextGoesOn) {
  const ScratchFolder folder;
  object_of(run_ranks(2, quantize_to(folder.path() / "whole")));
  const fs::path out = folder.path() / "out";
  const Finished killed = run_ranks(2, quantize_to(out), [&](int mpirun) {
    for (int i = 0; i < 20000 && !fs::exists(out.string() + ".partial/quantize_state.json"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto ranks = children_of(mpirun);
    ASSERT_EQ(ranks.size(), 2u);
    ::kill(ranks[1], SIGKILL);
  });
  EXPECT_NE(killed.status, 0);
  EXPECT_FALSE(fs::exists(out));
  const auto done = object_of(run_ranks(2, quantize_to(out)));
  EXPECT_GT(done.at("resumed_layers").to_number<int>(), 0);
  EXPECT_EQ(lasting_files(out), lasting_files(folder.path() / "whole"));
}

TEST(Ranks, ErrorsNameTheRankAndOtherCommandsRefuse) {
  const Finished chat = run_ranks(2, {"chat", tiny_model(), "hi"});
  EXPECT_EQ(chat.status, 2);
  EXPECT_NE(chat.err.find("one process"), std::string::npos) << chat.err;
  EXPECT_EQ(run_ranks(2, {"inspect", tiny_model()}).status, 2);
  // A launcher whose ranks can't meet must not make each of them do all the work.
  const Finished other =
      run_program({"/usr/bin/env", "PMI_SIZE=4", OCTET_PROGRAM, "chat", tiny_model(), "hi"});
  EXPECT_EQ(other.status, 1);
  EXPECT_NE(other.err.find("PMI_SIZE"), std::string::npos) << other.err;
  const ScratchFolder folder;
  auto command = quantize_to(folder.path() / "out");
  command[4] = "1";
  const Finished few = run_ranks(2, command);
  EXPECT_EQ(few.status, 2);
  EXPECT_NE(few.err.find("rank "), std::string::npos) << few.err;
  EXPECT_NE(few.err.find("start fewer"), std::string::npos) << few.err;
  EXPECT_FALSE(fs::exists(folder.path() / "out"));
}

}  // namespace
}  // namespace octet::test
