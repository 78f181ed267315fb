// The program from outside: exit codes, messages, what --json prints, what a signal leaves.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
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
}

TEST(Cli, JsonObjects) {
  const auto inspect = object_of(run_octet({"inspect", kTiny, "--json"}));
  EXPECT_EQ(inspect.at("architecture").as_string(), "Qwen3_5ForConditionalGeneration");
  const auto tokens = object_of(run_octet({"tokenize", kTiny, "--text", "Hello", "--json"}));
  EXPECT_FALSE(tokens.at("ids").as_array().empty());
  const auto doctor = object_of(run_octet({"doctor", "--json"}));
  EXPECT_GT(doctor.at("memory").at("total_bytes").to_number<std::uint64_t>(), 0u);
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

// What a signal at some moment leaves. Quantizing tiny with little text takes a second or two; the
// moments are spread over it. None of them may leave OUT; SIGKILL may leave OUT.partial, which
// the next run clears away.
TEST(Cli, InterruptedQuantizeLeavesNothingThatLooksFinished) {
  const ScratchFolder folder;
  const fs::path out = folder.path() / "out";
  const std::vector<std::string> command{"quantize",
                                         kTiny,
                                         out,
                                         "--samples",
                                         "40",
                                         "--json",
                                         "--calibration",
                                         shipped_data("calibration.jsonl")};
  int stopped = 0;
  for (const int signal : {SIGINT, SIGTERM, SIGKILL})
    for (const int milliseconds : {30, 150, 600}) {
      const Finished run = run_octet(command, [&](int process) {
        // Not before the handler is there and work has begun.
        for (int i = 0; i < 2000 && !fs::exists(out.string() + ".partial"); ++i)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
        ::kill(process, signal);
      });
      if (run.status == 0) {  // it was faster
        fs::remove_all(out);
        continue;
      }
      ++stopped;
      EXPECT_FALSE(fs::exists(out)) << signal << " after " << milliseconds;
      if (signal != SIGKILL) {
        EXPECT_EQ(run.status, 130) << run.err;
        EXPECT_FALSE(fs::exists(out.string() + ".partial"));
      } else {
        EXPECT_EQ(run.status, 128 + SIGKILL);
        EXPECT_EQ(run_octet({"inspect", out}).status, 3);
      }
    }
  EXPECT_GT(stopped, 0);
  const auto done = object_of(run_octet({"quantize", kTiny, out, "--method", "rtn", "--json"}));
  EXPECT_EQ(done.at("output").as_string(), out.string());
  EXPECT_FALSE(fs::exists(out.string() + ".partial"));
}

}  // namespace
}  // namespace octet::test
