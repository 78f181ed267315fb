#include "cli/serve_flags.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "cli/serve_flag_table.h"
#include "runtime/base/error.h"
#include "runtime/base/mapped_file.h"
#include "support/support.h"

namespace octet::cli {
namespace {

using Words = std::vector<std::string>;

ServeFlags parse(Words words, const Environment& environment = {}) {
  return parse_serve_flags(words, environment);
}
ServeFlags with_model(Words words, const Environment& environment = {}) {
  words.insert(words.begin(), "m");
  return parse(words, environment);
}

// The message of the refusal, which must be the caller's fault; "" if there is none.
std::string refusal(const Words& words, const Environment& environment = {}) {
  try {
    with_model(words, environment);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    return e.what();
  }
  return "";
}
void expect_refusal(const Words& words, const std::vector<std::string>& parts,
                    const Environment& environment = {}) {
  const std::string message = refusal(words, environment);
  EXPECT_NE(message, "") << words.front();
  for (const std::string& part : parts)
    EXPECT_NE(message.find(part), std::string::npos) << part << "\n" << message;
}

bool has_note(const ServeFlags& flags, const std::string& begin) {
  return std::ranges::any_of(flags.notes, [&](const auto& n) { return n.starts_with(begin); });
}

struct ConfigFile {
  explicit ConfigFile(const std::string& text) : path((folder.path() / "c.yaml").string()) {
    std::ofstream(path) << text;
  }
  test::ScratchFolder folder;
  std::string path;
};

TEST(ServeFlags, TheCardsCommand) {
  const ServeFlags f =
      parse({"owner/name", "--tensor-parallel-size", "4", "--gpu-memory-utilization", "0.95",
             "--max-model-len", "262144", "--dtype", "float16", "--skip-mm-profiling",
             "--limit-mm-per-prompt", R"({"image":2})"});
  EXPECT_EQ(f.model, "owner/name");
  EXPECT_EQ(f.served_model_name, Words{"owner/name"});
  EXPECT_EQ(f.tensor_parallel_size, 4);
  EXPECT_EQ(f.gpu_memory_utilization, 0.95);
  EXPECT_EQ(f.max_model_len, 262144);
  EXPECT_EQ(f.limit_mm_per_prompt.at("image"), 2);
  EXPECT_EQ(f.compute.activations, "auto");
  EXPECT_EQ(f.host, "127.0.0.1");
  EXPECT_TRUE(has_note(f, "accepted, no effect: --tensor-parallel-size 4 (a CPU is one device)"));
  EXPECT_TRUE(has_note(f, "accepted, no effect: --dtype float16 ("));
  EXPECT_TRUE(has_note(f, "accepted, no effect: --skip-mm-profiling ("));
  EXPECT_FALSE(has_note(f, "accepted, no effect: --max-model-len"));
}

TEST(ServeFlags, DefaultsAreSafe) {
  const ServeFlags f = with_model({});
  EXPECT_EQ(f.host, "127.0.0.1");
  EXPECT_EQ(f.port, 8000);
  EXPECT_TRUE(f.allowed_origins.empty());
  EXPECT_FALSE(f.trust_request_chat_template);
  EXPECT_FALSE(f.allow_media_url);
  EXPECT_EQ(f.max_request_bytes, 256 << 20);
  EXPECT_EQ(f.shutdown_timeout, 30);
  EXPECT_EQ(f.max_queued_requests, 1024);
  EXPECT_TRUE(f.notes.empty());
  EXPECT_TRUE(f.origins.contains("model"));
  EXPECT_EQ(f.origins.size(), 1u);
  // A key makes it safe to be reached.
  EXPECT_EQ(with_model({"--api-key", "k"}).host, "0.0.0.0");
  EXPECT_EQ(with_model({"--api-key-file", "f"}).host, "0.0.0.0");
  EXPECT_EQ(with_model({}, {{"VLLM_API_KEY", "k"}}).host, "0.0.0.0");
  EXPECT_EQ(with_model({"--api-key", "k", "--host", "::1"}).host, "::1");
  EXPECT_TRUE(has_note(with_model({"--host", "0.0.0.0"}), "warning: listening on 0.0.0.0"));
  EXPECT_FALSE(has_note(with_model({"--host", "localhost"}), "warning"));
  EXPECT_FALSE(has_note(with_model({"--host", "0.0.0.0", "--api-key", "k"}), "warning"));
}

TEST(ServeFlags, WaysToWriteAFlag) {
  for (const Words& words : {Words{"--max-model-len", "4096"}, Words{"--max-model-len=4096"},
                             Words{"--max_model_len", "4096"}, Words{"--max_model_len=4096"},
                             Words{"--max-model-len", "1", "--max-model-len=4K"}})
    EXPECT_EQ(with_model(words).max_model_len, 4096);
  EXPECT_EQ(with_model({"-tp", "2"}).tensor_parallel_size, 2);
  EXPECT_EQ(with_model({"-tp=2"}).tensor_parallel_size, 2);
  EXPECT_EQ(parse({"--port", "1", "m"}).model, "m");
  EXPECT_EQ(parse({"--model", "m"}).model, "m");
  EXPECT_EQ(parse({"--port", "1", "--", "--m"}).model, "--m");
  EXPECT_EQ(parse({"m", "--chat-template", "-x"}).chat_template, "-x");
  EXPECT_EQ(with_model({"--root-path="}).root_path, "");
}

TEST(ServeFlags, Booleans) {
  EXPECT_TRUE(with_model({"--slots"}).slots);
  EXPECT_TRUE(with_model({"--slots=yes"}).slots);
  EXPECT_FALSE(with_model({"--slots", "--no-slots"}).slots);
  EXPECT_FALSE(with_model({"--slots=OFF"}).slots);
  EXPECT_FALSE(with_model({"--no-spec"}).spec);
  EXPECT_FALSE(with_model({"--metrics-public", "--no-metrics_public"}).metrics_public);
  EXPECT_TRUE(with_model({}, {{"OCTET_NO_SPEC", "0"}}).spec);
  EXPECT_FALSE(with_model({}, {{"OCTET_NO_SPEC", "1"}}).spec);
  expect_refusal({"--slots=maybe"}, {"--slots", "true or false", "maybe"});
  expect_refusal({"--no-port"}, {"unknown flag `--no-port`"});
  expect_refusal({"--slots", "true"}, {"unexpected `true`", "MODEL is `m`"});
}

TEST(ServeFlags, Numbers) {
  const auto length = [](const char* word) {
    return with_model({"--max-model-len", word}).max_model_len;
  };
  EXPECT_EQ(length("256k"), 256000);
  EXPECT_EQ(length("256K"), 262144);
  EXPECT_EQ(length("1M"), 1048576);
  EXPECT_EQ(length("1m"), 1000000);
  EXPECT_EQ(length("25.6k"), 25600);
  EXPECT_EQ(length("-1"), -1);
  EXPECT_EQ(length("auto"), -1);
  EXPECT_EQ(with_model({"--kv-cache-memory-bytes", "8G"}).kv_cache_memory_bytes, 8LL << 30);
  EXPECT_EQ(with_model({"--kv-cache-memory-bytes", "8GB"}).kv_cache_memory_bytes, 8'000'000'000);
  EXPECT_EQ(with_model({"--kv-cache-memory-bytes", "8GiB"}).kv_cache_memory_bytes, 8LL << 30);
  for (const char* word : {"0", "-2", "x", "", "1q", "1.5", "1e9", "99999999T", "0x10", "1kk",
                           "nan", "9223372036854775808", "256k "})
    expect_refusal({"--max-model-len", word}, {"--max-model-len", "1 or more"});
  expect_refusal({"--port", "65536"}, {"--port", "0 to 65535", "65536"});
  expect_refusal({"--port", "80.5"}, {"whole number"});
  expect_refusal({"--gpu-memory-utilization", "1.01"}, {"0.01 to 1"});
  expect_refusal({"--queue-timeout", "inf"}, {"number"});
  expect_refusal({"--max-logprobs", "-2"}, {"--max-logprobs", "-1 to"});
  EXPECT_EQ(with_model({"--seed", "-5"}).seed, -5);
  EXPECT_TRUE(with_model({"--seed", "0"}).has_seed);
  EXPECT_FALSE(with_model({}).has_seed);
}

TEST(ServeFlags, Words) {
  EXPECT_EQ(with_model({"--served-model-name", "a", "b", "--port", "1"}).served_model_name,
            (Words{"a", "b"}));
  EXPECT_EQ(with_model({"--api-key", "a", "--api-key=b", "--api-key", "c", "d"}).api_key,
            (Words{"a", "b", "c", "d"}));
  EXPECT_EQ(with_model({"--allowed-origins", R"(["*"])"}).allowed_origins, Words{"*"});
  EXPECT_EQ(with_model({"--disable-access-log-for-endpoints", "/health,/metrics,"})
                .disable_access_log_for_endpoints,
            (Words{"/health", "/metrics"}));
  expect_refusal({"--api-key", ""}, {"--api-key", "empty"});
  expect_refusal({"--api-key="}, {"--api-key", "empty"});
  expect_refusal({"--api-key"}, {"--api-key", "expected a value"});
  expect_refusal({"--api-key", "--port", "1"}, {"--api-key", "expected a value"});
  expect_refusal({"--allowed-origins", "[1]"}, {"strings"});
  expect_refusal({"--allowed-origins", "[\"a\""}, {"--allowed-origins"});
  try {
    parse({"--served-model-name", "a", "m"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("no MODEL"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("before flags that take several words"),
              std::string::npos);
  }
}

TEST(ServeFlags, Objects) {
  ServeFlags f = with_model(
      {"--speculative-config.num_speculative_tokens", "2", "--speculative_config.method=mtp"});
  EXPECT_EQ(to_json(f.speculative_config), R"({"num_speculative_tokens": 2, "method": "mtp"})");
  f = with_model({"--hf-overrides", R"({"a": 1, "text_config": {"x": 2}})",
                  "--hf-overrides.text_config.rope_parameters.factor", "4.0", "--hf-overrides.b",
                  "true", "--hf-overrides.c", "yarn"});
  EXPECT_EQ(
      to_json(f.compute.hf_overrides),
      R"({"a": 1, "text_config": {"x": 2, "rope_parameters": {"factor": 4.0}}, "b": true, "c": "yarn"})");
  // The whole object replaces what came before.
  EXPECT_EQ(
      to_json(with_model({"--hf-overrides.a", "1", "--hf-overrides", "{}"}).compute.hf_overrides),
      "{}");
  // A source that wins, wins whole.
  EXPECT_EQ(to_json(with_model({"--hf-overrides.a", "1"}, {{"OCTET_HF_OVERRIDES", "{\"b\": 2}"}})
                        .compute.hf_overrides),
            R"({"a": 1})");
  expect_refusal({"--hf-overrides", "[1]"}, {"--hf-overrides", "JSON object"});
  expect_refusal({"--hf-overrides", "{a: 1}"}, {"--hf-overrides"});
  expect_refusal({"--hf-overrides..a", "1"}, {"none empty"});
  expect_refusal({"--port.a", "1"}, {"--port takes no keys"});
  std::string deep = "--hf-overrides";
  for (int i = 0; i < 100; ++i) deep += ".a";
  expect_refusal({deep, "1"}, {"at most 32 keys"});
  expect_refusal({"--hf-overrides", std::string(100000, '[')}, {"--hf-overrides"});
  expect_refusal({"--speculative-config", R"({"method": "eagle"})"}, {"mtp or none"});
  expect_refusal({"--speculative-config", R"({"num_speculative_tokens": 6})"}, {"0 to 5"});
  EXPECT_FALSE(with_model({"--speculative-config.method", "none"}).spec);
  expect_refusal({"--limit-mm-per-prompt", R"({"image": -1})"}, {"--limit-mm-per-prompt.image"});
  EXPECT_EQ(refusal({"--limit-mm-per-prompt", R"({"image": {"count": 2, "width": 512}})"}), "");
}

TEST(ServeFlags, PrefixCacheUnderBothNames) {
  EXPECT_EQ(with_model({}).prefix_cache, "on");
  EXPECT_EQ(with_model({"--no-enable-prefix-caching"}).prefix_cache, "off");
  EXPECT_EQ(with_model({"--enable-prefix-caching"}).prefix_cache, "on");
  EXPECT_EQ(with_model({"--prefix-cache", "exact", "--enable-prefix-caching"}).prefix_cache,
            "exact");
  expect_refusal({"--prefix-cache", "on", "--no-enable-prefix-caching"}, {"contradict"});
  EXPECT_EQ(with_model({"--prefix-cache", "exact"}, {{"OCTET_ENABLE_PREFIX_CACHING", "false"}})
                .prefix_cache,
            "exact");
  EXPECT_EQ(with_model({"--prefix-cache-states", "7"}).snapshot_slots, 7);
}

TEST(ServeFlags, TypesOfVllm) {
  EXPECT_EQ(with_model({"--dtype", "float32"}).compute.activations, "float32");
  EXPECT_EQ(with_model({"--dtype", "float", "--activations", "int8"}).compute.activations, "int8");
  EXPECT_TRUE(with_model({"--dtype", "auto"}).notes.empty());
  expect_refusal({"--dtype", "float64"}, {"--dtype", "bfloat16"});
  for (const char* fp8 : {"fp8", "fp8_e4m3", "fp8_e5m2"}) {
    const ServeFlags f = with_model({"--kv-cache-dtype", fp8});
    EXPECT_EQ(f.compute.kv_cache_dtype, "int8");
    EXPECT_EQ(f.compute.kv_dtype(), DType::i8);
    EXPECT_EQ(f.notes.size(), 1u);
  }
  EXPECT_EQ(with_model({"--tool-call-parser", "qwen3_xml"}).tool_call_parser, "qwen3_coder");
  expect_refusal({"--reasoning-parser", "deepseek_r1"}, {"qwen3, none"});
  expect_refusal({"--quantization", "awq"}, {"gptq"});
}

TEST(ServeFlags, UnknownFlags) {
  expect_refusal({"--max-model-length", "1"},
                 {"unknown flag `--max-model-length`", "did you mean `--max-model-len`"});
  expect_refusal({"--max_num_seq=1"}, {"did you mean `--max-num-seqs`"});
  expect_refusal({"--context-length", "1"}, {"here it is `--max-model-len`"});
  expect_refusal({"-c", "1"}, {"unknown flag `-c`; here it is `--max-model-len`"});
  expect_refusal({"--mem-fraction-static", "1"}, {"here it is `--gpu-memory-utilization`"});
  expect_refusal({"--qqqqqqqqqqqqqqqq"}, {"unknown flag `--qqqqqqqqqqqqqqqq`"});
  expect_refusal({std::string("--") + std::string(100000, 'a')}, {"unknown flag"});
  expect_refusal({"-z"}, {"unknown flag `-z`"});
  expect_refusal({"--"
                  "=1"},
                 {"unknown flag"});
}

TEST(ServeFlags, RefusedFlagsSayWhy) {
  expect_refusal({"--middleware", "a.b"}, {"--middleware is not supported", "no code is loaded"});
  expect_refusal({"--enable-lora"}, {"--enable-lora is not supported"});
  EXPECT_EQ(refusal({"--no-enable-lora"}), "");
  expect_refusal({"--tokenizer", "other"}, {"read from MODEL"});
  EXPECT_EQ(refusal({"--tokenizer", "m", "--revision", "main"}), "");
  expect_refusal({"--revision", "v2"}, {"not supported"});
}

TEST(ServeFlags, WhatWouldBeUnsafeOrPointless) {
  expect_refusal({"--ssl-keyfile", "k"}, {"both or neither"});
  expect_refusal({"--ssl-keyfile", "k", "--ssl-certfile", "c", "--ssl-cert-reqs", "2"},
                 {"--ssl-ca-certs"});
  expect_refusal({"--ssl-ca-certs", "c"}, {"--ssl-keyfile"});
  expect_refusal({"--allow-credentials", "--allowed-origins", "*"}, {"any web page"});
  expect_refusal({"--root-path", "x"}, {"begins with /"});
  expect_refusal({"--image-min-tokens", "9", "--image-max-tokens", "8"}, {"is above"});
  EXPECT_TRUE(has_note(with_model({"--uds", "/s", "--port", "1"}), "accepted, no effect: --port"));
}

TEST(ServeFlags, SourcesInOrder) {
  const ConfigFile file(
      "# a comment\n"
      "max-model-len: 64k  # of tokens\n"
      "port: 1000\n"
      "served_model_name:\n"
      "  - first\n"
      "  - 'second: #2'\n"
      "allowed-origins: [\"*\", http://a]\n"
      "limit-mm-per-prompt: {\"image\": 3}\n"
      "speculative-config: '{\"method\": \"mtp\"}'\n"
      "slots: true\n"
      "no-spec: true\n"
      "api-key-file: null\n");
  const Environment environment{{"OCTET_PORT", "1"},         {"OCTET_MAX_NUM_SEQS", "3"},
                                {"OCTET_HOST", "127.0.0.9"}, {"OCTET_DATA", "/x"},
                                {"OCTET_UDS", ""},           {"PORT", "7"}};
  const ServeFlags f = with_model({"--port", "2000", "--config", file.path}, environment);
  EXPECT_EQ(f.port, 2000);
  EXPECT_EQ(f.max_model_len, 64000);
  EXPECT_EQ(f.max_num_seqs, 3);
  EXPECT_EQ(f.served_model_name, (Words{"first", "second: #2"}));
  EXPECT_EQ(f.allowed_origins, (Words{"*", "http://a"}));
  EXPECT_EQ(f.limit_mm_per_prompt.at("image"), 3);
  EXPECT_TRUE(f.slots);
  EXPECT_FALSE(f.spec);
  EXPECT_EQ(f.api_key_file, "");
  EXPECT_EQ(f.host, "127.0.0.9");
  EXPECT_EQ(f.origins.at("port"), "command line");
  EXPECT_EQ(f.origins.at("max-model-len"), file.path + ":2");
  EXPECT_EQ(f.origins.at("max-num-seqs"), "$OCTET_MAX_NUM_SEQS");
  EXPECT_FALSE(f.given("uds"));
  EXPECT_EQ(with_model({}, {{"OCTET_CONFIG", file.path}}).port, 1000);
  // The file's port is overridden, so nobody asks whether it is one.
  EXPECT_EQ(with_model({"--port", "5"}, {{"OCTET_PORT", "x"}}).port, 5);
  expect_refusal({}, {"$OCTET_PORT", "whole number", "x"}, {{"OCTET_PORT", "x"}});
}

TEST(ServeFlags, TheModelMayStandInTheFile) {
  const ConfigFile file("model: somewhere\n");
  EXPECT_EQ(parse({"--config", file.path}).model, "somewhere");
  EXPECT_EQ(parse({"here", "--config", file.path}).model, "here");
}

TEST(ServeFlags, BadFilesNameTheirLine) {
  const auto refused = [](const std::string& text, const std::vector<std::string>& parts) {
    const ConfigFile file(text);
    expect_refusal({"--config", file.path}, parts);
  };
  refused("port: 1\nmax-modle-len: 5\n", {":2", "unknown flag `max-modle-len`", "max-model-len"});
  refused("port: x\n", {":1: port", "whole number"});
  refused("port: 1\nport: 2\n", {"line 2", "second time"});
  refused("port:\n", {"line 1", "no value"});
  refused("port\n", {"line 1", "key: value"});
  refused("a:\n  b: 1\n", {"line 2", "inline JSON"});
  refused("port: [1, 2]\n", {"one value, found 2"});
  refused("config: x\n", {"can't name another"});
  expect_refusal({"--config", "/nowhere/c.yaml"}, {"--config", "/nowhere/c.yaml"});
}

TEST(ServeFlags, KeysComeFromTheEnvironment) {
  EXPECT_EQ(with_model({}, {{"VLLM_API_KEY", "v"}}).api_key, Words{"v"});
  EXPECT_EQ(with_model({}, {{"VLLM_API_KEY", "v"}, {"OCTET_API_KEY", "o"}}).api_key, Words{"o"});
  EXPECT_EQ(with_model({"--api-key", "c"}, {{"VLLM_API_KEY", "v"}}).api_key, Words{"c"});
  EXPECT_TRUE(with_model({}, {{"VLLM_API_KEY", ""}}).api_key.empty());
  EXPECT_TRUE(with_model({}, {{"VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"}}).allow_long_max_model_len);
}

TEST(ServeFlags, WhatIsInForceCanBeReadBack) {
  const Words words{"m",
                    "--max-model-len",
                    "-1",
                    "--served-model-name",
                    "a b",
                    "it's: #1",
                    "--chat-template",
                    "{{ x }}\n\"y\"",
                    "--hf-overrides",
                    R"({"it's": [1.5, null]})",
                    "--seed",
                    "-3",
                    "--slots",
                    "--no-spec",
                    "--kv-cache-dtype",
                    "fp8",
                    "--reasoning-budget-message",
                    "null",
                    "--threads",
                    "3",
                    "--api-key",
                    "secret"};
  const ServeFlags first = parse(words);
  const std::string text = describe(first);
  EXPECT_EQ(text.find("secret"), std::string::npos);
  EXPECT_NE(text.find("# api-key: 1 not shown"), std::string::npos);
  EXPECT_NE(text.find("seed: -3"), std::string::npos);
  EXPECT_NE(text.find("# command line"), std::string::npos);
  EXPECT_NE(text.find("# default"), std::string::npos);
  const ConfigFile file(text);
  const ServeFlags second = parse({"--config", file.path, "--api-key", "secret"});
  for (const FlagGroup& group : serve_flag_groups())
    for (const ServeFlag& flag : group.flags)
      EXPECT_EQ(flag_value(first, flag), flag_value(second, flag)) << flag.name;
  // So can the defaults.
  const ConfigFile defaults(describe(with_model({})));
  EXPECT_EQ(parse({"--config", defaults.path}).host, "127.0.0.1");
}

TEST(ServeFlags, HelpNeedsNothingElse) {
  for (const char* word : {"--help", "-h"}) {
    EXPECT_TRUE(parse({word}).help);
    EXPECT_TRUE(parse({"m", "--port", "x", word}).help);
  }
  EXPECT_TRUE(with_model({"--print-config"}).print_config);
}

// Every flag of the table is in the help, takes a value of its kind, and has one name.
TEST(ServeFlags, EveryFlagOfTheTable) {
  const std::string help = serve_help();
  std::set<std::string> names;
  for (const FlagGroup& group : serve_flag_groups())
    for (const ServeFlag& flag : group.flags) {
      EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
      EXPECT_NE(help.find(std::string("--") + flag.name), std::string::npos) << flag.name;
      EXPECT_EQ(find_serve_flag(flag.name), &flag);
      if (flag.short_name) {
        EXPECT_EQ(find_short_flag(flag.short_name), &flag);
      }
      EXPECT_NE(std::string(flag.help), "") << flag.name;
      const std::string name = std::string("--") + flag.name;
      if (name == "--config" || name == "--help" || name == "--model") continue;
      Words words{name};
      switch (flag.kind) {
        case FlagKind::boolean:
          break;
        case FlagKind::integer:
        case FlagKind::count:
        case FlagKind::context:
        case FlagKind::number:
          words.push_back(flag.least > 1 ? "4096" : "1");
          break;
        case FlagKind::object:
          words.push_back("{}");
          break;
        case FlagKind::choice:
          words.push_back(flag_choices(flag).back());
          break;
        default:
          words.push_back(name == "--root-path" ? "/w" : "w");
      }
      const std::string message = refusal(words);
      if (flag.effect == FlagEffect::refused)
        EXPECT_NE(message.find("not supported"), std::string::npos) << name;
      else if ((name.starts_with("--ssl-") && name != "--ssl-ciphers") || name == "--dummy-shape")
        EXPECT_NE(message, "") << name;  // not alone
      else
        EXPECT_EQ(message, "") << name;
      const bool says_what_is_so = words.back() == "1" || name == "--dtype";
      if (flag.effect == FlagEffect::noted && !says_what_is_so) {
        EXPECT_TRUE(has_note(with_model(words), "accepted, no effect: " + name)) << name;
      }
    }
  EXPECT_GT(names.size(), 150u);
}

// The page is made of the same table.
TEST(ServeFlags, ThePageIsUpToDate) {
  const std::string page = read_file(std::string(OCTET_SOURCE_DIR) + "/docs/serve-flags.md");
  EXPECT_NE(page.find(serve_flags_markdown()), std::string::npos)
      << "docs/serve-flags.md should end with:\n"
      << serve_flags_markdown();
}

TEST(ServeFlags, AnyWordsAreReadOrRefused) {
  std::mt19937_64 random(3);
  Words pieces{"m",
               "--",
               "-",
               "--=",
               "=",
               "--no-",
               "--no-no-slots",
               "-tp",
               "-O3",
               "-O",
               "--.a",
               "1",
               "-1",
               "{}",
               "[]",
               "[\"a\"]",
               "{\"a\":1}",
               "",
               "--hf-overrides.a.b",
               "true",
               "\xff",
               std::string(1, '\0')};
  for (const FlagGroup& group : serve_flag_groups())
    for (const ServeFlag& flag : group.flags)
      if (std::string(flag.name) != "config") pieces.push_back(std::string("--") + flag.name);
  int read = 0;
  for (int round = 0; round < 20000; ++round) {
    Words words;
    for (std::uint64_t n = random() % 6; n > 0; --n) {
      std::string word = pieces[random() % pieces.size()];
      if (random() % 4 == 0) word += "=" + pieces[random() % pieces.size()];
      words.push_back(word);
    }
    try {
      const ServeFlags f = parse(words);
      EXPECT_TRUE(f.help || !f.model.empty());
      EXPECT_FALSE(describe(f).empty());
      ++read;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
    }
  }
  EXPECT_GT(read, 100);
}

// What the program hands over is what the user wrote.
TEST(ServeFlags, TheSubcommandLeavesItsWordsAlone) {
  for (const Words& words :
       {Words{"m", "--port", "1", "-tp", "2", "--help"}, Words{"--port", "1", "m"}, Words{},
        Words{"m", "--a.b=c", "--no-x", "-", "quantize", "--", "--y"}}) {
    CLI::App app;
    app.require_subcommand(1);
    app.add_subcommand("quantize");
    const CLI::App* serve = add_serve_subcommand(app);
    Words reversed(words.rbegin(), words.rend());
    reversed.push_back("serve");
    app.parse(reversed);
    EXPECT_TRUE(serve->parsed());
    EXPECT_EQ(serve_arguments(*serve), words);
  }
}

}  // namespace
}  // namespace octet::cli
