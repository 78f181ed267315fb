#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/common.h"

namespace octet::cli {

/// The command line of `octet serve`: vLLM's flag names, ours beside them. docs/serve-flags.md.
/// Defaults are what an absent flag means. Values are within their ranges; choices are one of the
/// words named here.
struct ServeFlags {
  // Model.
  std::string model;                           ///< MODEL or --model; never empty
  std::vector<std::string> served_model_name;  ///< at least one; the model as it was named
  std::int64_t max_model_len = 0;              ///< 0: the model's own; -1: the largest that fits
  bool allow_long_max_model_len = false;       ///< $VLLM_ALLOW_LONG_MAX_MODEL_LEN
  bool language_model_only = false;            ///< no vision tower
  std::string generation_config = "auto";      ///< auto, vllm (neutral defaults) or a folder
  json::object override_generation_config;     ///< wins over the file
  std::string load_format = "auto";            ///< dummy: random weights; others read the files
  std::string dummy_shape;                     ///< of random weights; empty: the model's own
  std::int64_t seed = 0;                       ///< of requests without one (has_seed: given)
  bool has_seed = false;
  // Engine.
  ComputeOptions compute;                 ///< kv_cache_dtype is a name of ours
  std::int64_t tensor_parallel_size = 0;  ///< 0: not given
  double gpu_memory_utilization = 0;      ///< 0: not given
  std::int64_t max_num_seqs = 16;
  std::int64_t max_num_batched_tokens = 512;  ///< rows of a step
  std::int64_t max_num_partial_prefills = 0;  ///< prompts that a step works on; 0: as fit
  std::int64_t kv_cache_memory_bytes = 0;     ///< of the KV pages; 0: as memory allows
  std::string prefix_cache = "on";            ///< on, off, exact
  std::int64_t snapshot_slots = 32;
  std::int64_t snapshot_interval = 4096;   ///< tokens
  bool spec = true;                        ///< speculative decoding
  json::object speculative_config;         ///< method, num_speculative_tokens 0..5, ...
  std::string scheduling_policy = "fcfs";  ///< fcfs, priority
  std::int64_t max_queued_requests = 1024;
  double queue_timeout = 0;  ///< seconds; 0: off
  // Prompts and answers.
  std::string chat_template;  ///< a file or the template itself; empty: model's
  std::string chat_template_content_format = "auto";  ///< auto, string, openai
  json::object default_chat_template_kwargs;
  bool trust_request_chat_template = false, strict_template = false;
  std::string history_think_policy = "template";  ///< template; keep: empty blocks in history too
  bool strict_max_tokens = false;
  std::string reasoning_parser = "qwen3";  ///< qwen3, none
  std::string reasoning_field = "both";    ///< reasoning, reasoning_content, both
  std::int64_t reasoning_budget = -1;      ///< tokens; -1: no limit
  std::string reasoning_budget_message;
  std::int64_t auto_think_reserve = 0;           ///< tokens kept for the answer; 0: off
  std::string tool_call_parser = "qwen3_coder";  ///< qwen3_coder, none
  bool exclude_tools_when_tool_choice_none = false;
  std::string response_role = "assistant";
  std::int64_t max_logprobs = 20;  ///< -1: no limit
  std::string logprobs_mode = "raw_logprobs";
  bool return_tokens_as_token_ids = false;
  std::int64_t stream_interval = 1;  ///< tokens
  bool any_model_name = false;
  std::vector<std::string> anthropic_model_alias{"claude*"};
  bool enable_force_include_usage = false, enable_per_request_metrics = false, timings = false;
  std::string fingerprint_mode = "full";  ///< full, hash, none
  bool enable_tokenizer_info_endpoint = false, slots = false;
  // Pictures.
  json::object limit_mm_per_prompt, mm_processor_kwargs, media_io_kwargs;
  bool trust_request_mm_kwargs = false, allow_media_url = false;
  std::string allowed_local_media_path;
  std::vector<std::string> allowed_media_domains;
  double mm_processor_cache_gb = 4;
  std::int64_t max_image_bytes = 64 << 20;
  std::int64_t image_min_tokens = 0, image_max_tokens = 0;  ///< 0: the model's own
  // HTTP.
  std::string host;                  ///< where to listen; never empty
  std::int64_t port = 8000;          ///< 0: any free one
  std::string uds;                   ///< a socket's path instead of host and port
  std::vector<std::string> api_key;  ///< none is empty
  std::string api_key_file;
  std::string ssl_keyfile, ssl_certfile, ssl_ca_certs, ssl_ciphers;
  std::int64_t ssl_cert_reqs = 0;  ///< 0 none, 1 optional, 2 required
  bool enable_ssl_refresh = false;
  std::string root_path;
  std::vector<std::string> allowed_origins, allowed_methods{"*"}, allowed_headers{"*"};
  bool allow_credentials = false;
  std::int64_t max_request_bytes = std::int64_t{256} << 20;
  std::int64_t h11_max_incomplete_event_size = 64 << 10;  ///< bytes of the header block
  double sse_ping_interval = 15;                          ///< seconds; 0: off
  bool metrics_public = false;
  double shutdown_timeout = 30;  ///< seconds
  double watchdog_timeout = 60;  ///< seconds; 0: off
  bool auto_restart = true;
  // Logs.
  std::string uvicorn_log_level = "info";  ///< critical, error, warning, info, debug, trace
  std::string log_format = "text";         ///< text, json
  bool disable_uvicorn_access_log = false;
  std::vector<std::string> disable_access_log_for_endpoints;  ///< paths
  bool enable_log_requests = false, disable_log_stats = false;

  // About the command line itself.
  bool help = false;          ///< --help: print serve_help() and end; nothing else is checked
  bool print_config = false;  ///< --print-config: print describe() and end
  /// For standard error, one line each: "accepted, no effect: --swap-space (...)", warnings.
  std::vector<std::string> notes;
  /// By flag name without dashes: "command line", "FILE:LINE", "$OCTET_PORT". Absent: default.
  std::map<std::string, std::string> origins;
  bool given(const std::string& name) const { return origins.contains(name); }
};

/// Reads the words after `octet serve`. --flag value, --flag=value, --no-flag, underscores as
/// dashes, --json-flag.key.key value; --config FILE (flat_yaml.h); OCTET_<FLAG> and VLLM_API_KEY of
/// the environment. Command line before file before environment before defaults. The last of equal
/// flags wins; lists are appended to.
/// What contradicts itself or would be unsafe is refused, too.
/// Errors: invalid_argument naming the flag, where it stood, what was expected, and the nearest
/// flag for an unknown one.
/// Cost: microseconds. Reads the file of --config, nothing else.
using Environment = std::map<std::string, std::string>;
ServeFlags parse_serve_flags(const std::vector<std::string>& arguments,
                             const Environment& environment);
/// The variables of this process.
Environment process_environment();

/// The text of --help.
std::string serve_help();
/// What is in force and where each value came from: YAML that --config reads, but for keys, which
/// are not shown.
std::string describe(const ServeFlags& flags);
/// docs/serve-flags.md's table of flags, from the same table as everything else.
std::string serve_flags_markdown();

/// Makes the subcommand `serve` take its words as they are, for parse_serve_flags.
CLI::App* add_serve_subcommand(CLI::App& app);
/// The words after `serve`, once the program's line was parsed.
std::vector<std::string> serve_arguments(const CLI::App& serve);

}  // namespace octet::cli
