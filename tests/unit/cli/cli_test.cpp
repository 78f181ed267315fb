// The program from outside: exit codes, messages, what --json prints, what a signal leaves.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "run_octet.h"
#include "runtime/base/json.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/output_file.h"
#include "support/support.h"

namespace octet::test {
namespace {

namespace fs = std::filesystem;
const std::string kTiny = tiny_model();

// One JSON object and nothing else.
json::object object_of(const Finished& run) {
  EXPECT_EQ(run.status, 0) << run.err;
  return parse_json(run.out, "standard output").as_object();
}

// Fails with this status and one message that contains every part.
void expect_failure(const std::vector<std::string>& arguments, int status,
                    const std::vector<std::string>& parts) {
  const Finished run = run_octet(arguments);
  EXPECT_EQ(run.status, status) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err.rfind("octet: "), run.err.find("octet: ")) << run.err;
  for (const std::string& part : parts)
    EXPECT_NE(run.err.find(part), std::string::npos) << part << "\n" << run.err;
}

TEST(Cli, HelpAndVersion) {
  const Finished help = run_octet({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* command :
       {"quantize", "perplexity", "chat", "inspect", "tokenize", "logits", "bench", "doctor"}) {
    EXPECT_NE(help.out.find(command), std::string::npos);
    const Finished one = run_octet({command, "--help"});
    EXPECT_EQ(one.status, 0);
    EXPECT_NE(one.out.find(std::string("Usage: octet ") + command), std::string::npos);
  }
  EXPECT_TRUE(run_octet({"--version"}).out.starts_with("octet "));
}

TEST(Cli, BadUsageSuggests) {
  expect_failure({}, 2, {"octet --help"});
  expect_failure({"quantise"}, 2, {"quantise", "did you mean `quantize`"});
  expect_failure({"inspect", kTiny, "--jsn"}, 2, {"--jsn", "did you mean `--json`"});
  expect_failure({"inspect"}, 2, {"MODEL"});
  expect_failure({"quantize", kTiny, "/dev/null/out", "--bits", "7"}, 2, {"--bits 7"});
  expect_failure({"quantize", kTiny, "/dev/null/out", "--method", "awq"}, 2, {"awq", "rtn"});
  expect_failure({"perplexity", kTiny}, 2, {"--text"});
  expect_failure({"chat", kTiny, "hi", "--isa", "sse9"}, 2, {"sse9"});
  expect_failure({"chat", kTiny, "hi", "--kv-cache-dtype", "fp8"}, 2, {"fp8", "int8"});
  expect_failure({"chat", kTiny, "hi", "--threads", "-3"}, 2, {"--threads"});
  expect_failure({"chat", kTiny, "hi", "--max-memory", "lots"}, 2, {"lots"});
}

TEST(Cli, MissingAndDamagedModels) {
  expect_failure({"inspect", "/nowhere/at/all"}, 3, {"/nowhere/at/all"});
  const ScratchFolder folder;
  expect_failure({"chat", folder.path(), "hi"}, 3, {folder.path()});
  write_file(folder.path() / "config.json", R"({"model_type": "llama"})");
  expect_failure({"chat", folder.path(), "hi"}, 3, {"llama"});
  write_file(folder.path() / "config.json", "{\"model_type\": ");
  expect_failure({"inspect", folder.path()}, 3, {"config.json"});
}

TEST(Cli, TooLittleMemoryIsSaidBeforehand) {
  expect_failure({"chat", kTiny, "hi", "--max-memory", "1M"}, 4, {"1.0", "--max-memory"});
  // Weights of 23 MB fit, with caches of 20 MB they don't: what is loaded is not free once more.
  expect_failure({"chat", kTiny, "hi", "--max-memory", "30M", "--max-tokens", "10000"}, 4,
                 {"30.00 MB", "does not fit", "would fit"});
}

TEST(Cli, JsonObjects) {
  const auto inspect = object_of(run_octet({"inspect", kTiny, "--json"}));
  EXPECT_EQ(inspect.at("architecture").as_string(), "Qwen3_5ForConditionalGeneration");
  const auto tokens = object_of(run_octet({"tokenize", kTiny, "--text", "Hello", "--json"}));
  EXPECT_FALSE(tokens.at("ids").as_array().empty());
  const auto doctor = object_of(run_octet({"doctor", "--json"}));
  EXPECT_GT(doctor.at("memory").at("total_bytes").to_number<std::uint64_t>(), 0u);
  EXPECT_GT(doctor.at("fork_join_us").at("awake").to_number<double>(), 0);
  EXPECT_GT(doctor.at("fork_join_us").at("asleep").to_number<double>(), 0);
  // Each pair of usable nodes is measured, a single node is not.
  const auto& numa = doctor.at("numa").as_object();
  const auto usable = numa.at("usable").to_number<std::size_t>();
  EXPECT_GE(numa.at("nodes").as_array().size(), usable);
  EXPECT_EQ(numa.at("reads").as_array().size(), usable > 1 ? usable * usable : 0);
  const auto ppl = object_of(
      run_octet({"perplexity", kTiny, "--text", golden("eval_articles.txt"), "--context", "64",
                 "--stride", "64", "--max-windows", "4", "--base", kTiny, "--json"}));
  EXPECT_GT(ppl.at("perplexity").to_number<double>(), 1);
}

TEST(Cli, ChatAnswers) {
  const Finished run = run_octet(
      {"chat", kTiny, "What is the capital of France?", "--no-think", "--temperature", "0"});
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.out.find("Paris"), std::string::npos) << run.out;
  // Special tokens in what a user writes stay text.
  const Finished forged =
      run_octet({"chat", kTiny, "<|im_end|>", "--temperature", "0", "--max-tokens", "4", "--json"});
  EXPECT_EQ(forged.status, 0) << forged.err;
}

TEST(Cli, LogitsEqualForAnyChunk) {
  const ScratchFolder folder;
  const auto run = [&](const std::string& name, const std::string& chunk) {
    const fs::path out = folder.path() / name;
    const Finished r =
        run_octet({"logits", kTiny, "--text", "One two three four five six seven eight", "--out",
                   out, "--chunk", chunk});
    EXPECT_EQ(r.status, 0) << r.err;
    return read_file(out);
  };
  EXPECT_EQ(run("a", "512"), run("b", "3"));
}

TEST(Cli, SecondStartTakesTheWeightsFromTheCache) {
  const ScratchFolder folder;
  const auto chat = [&](const std::string& where, std::size_t largest_file = 0) {
    return run_octet({"chat", kTiny, "What is the capital of France?", "--no-think", "--json",
                      "--temperature", "0", "--weight-cache", where},
                     nullptr, largest_file);
  };
  const auto expect = [&](const Finished& run, const std::string& weights,
                          const std::string& line) {
    const auto answer = object_of(run);
    EXPECT_EQ(answer.at("start").at("weights").as_string(), weights);
    EXPECT_NE(answer.at("text").as_string().find("Paris"), std::string::npos);
    const auto at = run.err.find("octet: ");
    EXPECT_EQ(at != std::string::npos, !line.empty()) << run.err;
    EXPECT_NE(run.err.find(line), std::string::npos) << run.err;
  };
  const fs::path cache = folder.path() / "cache";
  // A file that can't grow: said, and answered nevertheless.
  expect(chat(cache, 1 << 20), "packed", "goes on without");
  EXPECT_TRUE(fs::is_empty(cache));
  expect(chat(cache), "packed and cached", cache);
  expect(chat(cache), "from the cache", "");
  expect(chat("off"), "packed", "");
  expect(chat("auto"), "packed", "");  // too small to be worth a file
  expect_failure({"chat", kTiny, "hi", "--weight-cache", ""}, 2, {"--weight-cache"});
  expect_failure({"chat", kTiny, "hi", "--weight-cache-limit", "much"}, 2, {"much"});
  expect_failure({"chat", kTiny, "hi", "--weight-cache-limit", "50%"}, 2, {"50%", "64G"});
}

// A second or two of work.
std::vector<std::string> quantize_to(const fs::path& out) {
  return {"quantize",
          kTiny,
          out,
          "--samples",
          "20",
          "--min-tokens",
          "16",
          "--max-tokens",
          "64",
          "--shard-size",
          "3M",
          "--json",
          "--calibration",
          shipped_data("calibration.jsonl")};
}

// Signals at many moments, one run after the other over the same folder: none may leave OUT, and
// what is finished in the end is what an undisturbed run makes, byte for byte.
TEST(Cli, InterruptedQuantizeGoesOnToTheSameBytes) {
  const ScratchFolder folder;
  object_of(run_octet(quantize_to(folder.path() / "whole")));
  const fs::path out = folder.path() / "out";
  std::mt19937 rng(5);
  int stopped = 0;
  for (int attempt = 0; attempt < 60 && !fs::exists(out); ++attempt) {
    const int signal = attempt % 4 == 0 ? SIGINT : attempt % 4 == 1 ? SIGTERM : SIGKILL;
    const Finished run = run_octet(quantize_to(out), [&](int process) {
      // Not before the handler is there and work has begun.
      for (int i = 0; i < 2000 && !fs::exists(out.string() + ".partial"); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      // Later and later, so that every part of the work is met and the end is reached.
      const int latest = 100 + attempt * 60;
      std::this_thread::sleep_for(std::chrono::milliseconds(rng() % static_cast<unsigned>(latest)));
      ::kill(process, signal);
    });
    if (run.status == 0) break;
    ++stopped;
    EXPECT_FALSE(fs::exists(out)) << signal;
    EXPECT_EQ(run.status, signal == SIGKILL ? 128 + SIGKILL : 130) << run.err;
  }
  EXPECT_GT(stopped, 2);
  if (!fs::exists(out)) object_of(run_octet(quantize_to(out)));
  EXPECT_FALSE(fs::exists(out.string() + ".partial"));
  EXPECT_EQ(lasting_files(out), lasting_files(folder.path() / "whole"));
}

// The disk fills up on the way; when there is room again the run goes on.
TEST(Cli, QuantizeOnAFullDisk) {
  const ScratchFolder folder;
  object_of(run_octet(quantize_to(folder.path() / "whole")));
  const fs::path out = folder.path() / "out";
  for (const std::size_t room : {std::size_t{500'000}, std::size_t{2'500'000}}) {
    const Finished run = run_octet(quantize_to(out), nullptr, room);
    EXPECT_EQ(run.status, 1) << run.err;
    EXPECT_NE(run.err.find("out.partial"), std::string::npos) << run.err;
    EXPECT_FALSE(fs::exists(out));
  }
  object_of(run_octet(quantize_to(out)));
  EXPECT_EQ(lasting_files(out), lasting_files(folder.path() / "whole"));
}

TEST(Cli, QuantizePlansAndPresets) {
  const ScratchFolder folder;
  const fs::path out = folder.path() / "out";
  auto command = quantize_to(out);
  command.insert(command.end(), {"--dry-run"});
  const auto plan = object_of(run_octet(command));
  EXPECT_GT(plan.at("planned_bytes").to_number<std::uint64_t>(), 1'000'000u);
  EXPECT_GT(plan.at("output_bytes").to_number<std::uint64_t>(), 1'000'000u);
  EXPECT_FALSE(fs::exists(out));
  EXPECT_FALSE(fs::exists(out.string() + ".partial"));
  command.back() = "--max-memory=1M";
  expect_failure(command, 4, {"layer as it is being made", "--max-memory"});
  command.back() = "--preset=fancy";
  expect_failure(command, 2, {"fancy", "best or reference"});
  command.back() = "--foem=1.5";
  expect_failure(command, 2, {"--foem"});
  command.back() = "--refine=x";
  expect_failure(command, 2, {"--refine"});
  command.back() = "--serve-dtype=int3";
  expect_failure(command, 2, {"int3"});
  for (const char* choice : {"--preset=reference", "--serve-dtype=bfloat16", "--refine=0"}) {
    auto four = command;
    four.back() = choice;
    four.insert(four.end(), {"--bits", "4", "--overwrite"});
    const auto done = object_of(run_octet(four));
    EXPECT_GT(done.at("relative_error").at("mean").to_number<double>(), 0);
    EXPECT_GE(done.at("peak_rss_bytes").to_number<double>(), 1e6);
  }
}

TEST(Export, WritesBothFilesOnceAndInspectReadsThem) {
  ScratchFolder folder;
  const auto out = folder.path() / "tiny.gguf";
  const Finished run = run_octet({"export", "tiny", out, "--json"});
  ASSERT_EQ(run.status, 0) << run.err;
  const json::value report = parse_json(run.out, "stdout");
  EXPECT_EQ(report.at("text").at("types").at("BF16").at("tensors").to_number<int>(), 72);
  ASSERT_TRUE(std::filesystem::exists(folder.path() / "mmproj-tiny.gguf"));
  const Finished seen = run_octet({"inspect", out, "--json"});
  ASSERT_EQ(seen.status, 0) << seen.err;
  EXPECT_EQ(parse_json(seen.out, "stdout").at("metadata").at("general.architecture"), "qwen35");
  const Finished again = run_octet({"export", "tiny", out});
  EXPECT_EQ(again.status, 2);
  EXPECT_NE(again.err.find("--overwrite"), std::string::npos) << again.err;
  // A full disk leaves nothing behind.
  const auto other = folder.path() / "other.gguf";
  const Finished full = run_octet({"export", "tiny", other}, nullptr, 1 << 20);
  EXPECT_NE(full.status, 0);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path().string().find("other"), std::string::npos) << entry.path();
}

}  // namespace
}  // namespace octet::test
