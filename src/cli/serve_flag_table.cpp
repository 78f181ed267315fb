#include "cli/serve_flag_table.h"

#include <unordered_map>

namespace octet::cli {

// The flags that are used. Those that are only accepted, or refused: serve_flag_compatibility.cpp.
namespace {

using K = FlagKind;
using F = ServeFlags;
using C = ComputeOptions;

// What help says instead of the value of an absent flag.
constexpr ServeFlag shows(const char* shown_default, ServeFlag flag) {
  flag.shown_default = shown_default;
  return flag;
}
constexpr ServeFlag called(const char* short_name, ServeFlag flag) {
  flag.short_name = short_name;
  return flag;
}

const ServeFlag kModel[] = {
    {"model", K::text, &F::model, "MODEL",
     "the same as the first word: a folder, `tiny`, or owner/name"},
    shows("MODEL", {"served-model-name", K::words, &F::served_model_name, "NAME...",
                    "names that requests may use; the first is reported"}),
    shows("the model's",
          {"max-model-len", K::context, &F::max_model_len, "N",
           "tokens of prompt and answer: 262144, 256k, 1M; -1 or auto: the largest that fits", 1}),
    {"hf-overrides", K::object, &C::hf_overrides, "JSON",
     "merged into config.json, object by object: longer contexts (YaRN), docs/serving.md"},
    {"language-model-only", K::boolean, &F::language_model_only, "", "leave the vision tower out"},
    {"generation-config", K::text, &F::generation_config, "auto|vllm|FOLDER",
     "where defaults of sampling come from: the model's generation_config.json, neutral values, or "
     "another folder"},
    {"override-generation-config", K::object, &F::override_generation_config, "JSON",
     "defaults of sampling that win over the file"},
    {"load-format", K::choice, &F::load_format, "auto|safetensors|fastsafetensors|dummy",
     "dummy: random weights, to measure speed; else the model's safetensors"},
    shows("the model's", {"dummy-shape", K::text, &F::dummy_shape, "SHAPE",
                          "with --load-format dummy: 0.8b, 2b, 4b, 9b, 27b, as octet bench "
                          "--synthetic has them, behind MODEL's tokenizer"}),
    shows("none", {"seed", K::integer, &F::seed, "N",
                   "of requests without one; without this flag each gets its own", -9e15}),
};

const ServeFlag kEngine[] = {
    shows("auto", called("-tp", {"tensor-parallel-size", K::integer, &F::tensor_parallel_size, "N",
                                 "GPUs to share a layer; a CPU is one device", 1, 1024})),
    shows("auto",
          {"gpu-memory-utilization", K::number, &F::gpu_memory_utilization, "SHARE",
           "of a GPU's memory; of a CPU's that is free, unless --max-memory says it", 0.01, 1}),
    {"max-num-seqs", K::count, &F::max_num_seqs, "N", "answers that are written at once", 1, 4096},
    {"max-num-batched-tokens", K::count, &F::max_num_batched_tokens, "N",
     "rows of a step: what long prompts may take at once", 1, 1 << 20},
    {"max-num-partial-prefills", K::integer, &F::max_num_partial_prefills, "N",
     "prompts that one step works on; 0: as many as fit", 0, 4096},
    shows("as memory allows",
          {"kv-cache-memory-bytes", K::count, &F::kv_cache_memory_bytes, "BYTES",
           "of keys and values, all sequences together: 8G, 512MiB", 1}),
    shows("on", {"enable-prefix-caching",
                 K::boolean,
                 {},
                 "",
                 "vLLM's name of --prefix-cache on; --no-enable-prefix-caching: off"}),
    {"prefix-cache", K::choice, &F::prefix_cache, "on|off|exact",
     "keep beginnings of prompts; exact: no states taken while an answer is written"},
    {"snapshot-slots", K::count, &F::snapshot_slots, "N",
     "recurrent states that the prefix cache may keep; also --prefix-cache-states", 0, 1 << 20},
    {"snapshot-interval", K::count, &F::snapshot_interval, "TOKENS",
     "between states kept in a long prompt", 64, 1 << 24},
    {"spec", K::boolean, &F::spec, "", "speculative decoding where the checkpoint has MTP weights"},
    {"speculative-config", K::object, &F::speculative_config, "JSON",
     "method (mtp, none), num_speculative_tokens (0 to 5)"},
    {"scheduling-policy", K::choice, &F::scheduling_policy, "fcfs|priority",
     "who is served first; priority allows the field `priority`"},
    {"max-queued-requests", K::count, &F::max_queued_requests, "N",
     "that wait; more are told to come again (503)", 0, 1 << 24},
    {"queue-timeout", K::number, &F::queue_timeout, "SECONDS",
     "longest wait for a place; 0: no limit", 0, 1e6},
};

const ServeFlag kAnswers[] = {
    shows("the model's",
          {"chat-template", K::text, &F::chat_template, "FILE|TEMPLATE", "instead of the model's"}),
    {"chat-template-content-format", K::choice, &F::chat_template_content_format,
     "auto|string|openai",
     "string: one text, parts joined by line breaks; openai: lists of parts; auto: lists if the "
     "template writes their text"},
    {"default-chat-template-kwargs", K::object, &F::default_chat_template_kwargs, "JSON",
     "variables of the template that requests may override: {\"enable_thinking\": false}"},
    {"trust-request-chat-template", K::boolean, &F::trust_request_chat_template, "",
     "requests may bring a template"},
    {"strict-template", K::boolean, &F::strict_template, "",
     "messages reach the template as they came, and it may refuse them"},
    {"history-think-policy", K::choice, &F::history_think_policy, "template|keep",
     "keep: answers without thinking keep their empty block in the history, for the prefix cache"},
    {"strict-max-tokens", K::boolean, &F::strict_max_tokens, "",
     "refuse a max_tokens that the context can't hold, instead of lowering it"},
    {"reasoning-parser", K::choice, &F::reasoning_parser, "qwen3|none",
     "separates reasoning from content; none: raw text"},
    {"reasoning-field", K::choice, &F::reasoning_field, "both|reasoning|reasoning_content",
     "key of the reasoning in answers"},
    {"reasoning-budget", K::integer, &F::reasoning_budget, "TOKENS",
     "of reasoning, where a request has no budget; 0: none, -1: no limit", -1},
    {"reasoning-budget-message", K::text, &F::reasoning_budget_message, "TEXT",
     "written into the reasoning when its budget ends it"},
    {"auto-think-reserve", K::integer, &F::auto_think_reserve, "TOKENS",
     "of max_tokens that are kept for the answer after the reasoning; 0: off"},
    {"tool-call-parser", K::choice, &F::tool_call_parser, "qwen3_coder|qwen3_xml|hermes|none",
     "reads tool calls; none: raw text. One parser reads all of these forms"},
    {"exclude-tools-when-tool-choice-none", K::boolean, &F::exclude_tools_when_tool_choice_none, "",
     "leave tools out of the prompt where tool_choice is none"},
    {"response-role", K::text, &F::response_role, "ROLE", "of answers"},
    {"max-logprobs", K::integer, &F::max_logprobs, "N",
     "that a request may ask for with each token; -1: no limit", -1, 1 << 24},
    {"logprobs-mode", K::choice, &F::logprobs_mode,
     "raw_logprobs|processed_logprobs|raw_logits|processed_logits", "what is reported as such"},
    {"return-tokens-as-token-ids", K::boolean, &F::return_tokens_as_token_ids, "",
     "log-probabilities name tokens as token_id:N"},
    {"stream-interval", K::integer, &F::stream_interval, "TOKENS", "in an event of a stream", 1,
     1024},
    {"any-model-name", K::boolean, &F::any_model_name, "",
     "requests may name any model, and get this one"},
    {"anthropic-model-alias", K::words, &F::anthropic_model_alias, "NAME...",
     "names that mean this model in /v1/messages; * at the end stands for the rest"},
    {"enable-force-include-usage", K::boolean, &F::enable_force_include_usage, "",
     "every stream ends with its usage"},
    {"enable-per-request-metrics", K::boolean, &F::enable_per_request_metrics, "",
     "answers carry times and rates"},
    {"timings", K::boolean, &F::timings, "", "answers carry llama-server's `timings`"},
    {"fingerprint-mode", K::choice, &F::fingerprint_mode, "full|hash|none",
     "what system_fingerprint tells"},
    {"enable-tokenizer-info-endpoint", K::boolean, &F::enable_tokenizer_info_endpoint, "",
     "answer GET /tokenizer_info"},
    {"slots", K::boolean, &F::slots, "", "answer GET /slots"},
};

const ServeFlag kPictures[] = {
    {"limit-mm-per-prompt", K::object, &F::limit_mm_per_prompt, "JSON",
     "most pictures and videos of a prompt: {\"image\": 2}"},
    {"mm-processor-kwargs", K::object, &F::mm_processor_kwargs, "JSON",
     "min_pixels, max_pixels, fps, num_frames"},
    {"media-io-kwargs", K::object, &F::media_io_kwargs, "JSON", "how videos are sampled"},
    {"trust-request-mm-kwargs", K::boolean, &F::trust_request_mm_kwargs, "",
     "requests may bring those two, within the server's limits"},
    {"allow-media-url", K::boolean, &F::allow_media_url, "",
     "fetch http and https URLs of any public host"},
    {"allowed-media-domains", K::words, &F::allowed_media_domains, "HOST...",
     "fetch from these hosts only"},
    {"allowed-local-media-path", K::text, &F::allowed_local_media_path, "FOLDER",
     "file:// URLs may name files below it"},
    {"mm-processor-cache-gb", K::number, &F::mm_processor_cache_gb, "GIB",
     "of pictures that are kept prepared", 0, 1e6},
    {"max-image-bytes", K::count, &F::max_image_bytes, "BYTES", "of one picture's file", 1},
    shows("the model's", {"image-min-tokens", K::integer, &F::image_min_tokens, "N",
                          "smaller pictures are enlarged to it", 0, 1 << 20}),
    shows("the model's", {"image-max-tokens", K::integer, &F::image_max_tokens, "N",
                          "larger pictures are reduced to it", 0, 1 << 20}),
};

const ServeFlag kHttp[] = {
    shows("127.0.0.1; with an API key 0.0.0.0",
          {"host", K::text, &F::host, "ADDRESS", "to listen on"}),
    {"port", K::integer, &F::port, "N", "0: any free one", 0, 65535},
    {"uds", K::text, &F::uds, "PATH", "listen on a Unix socket instead"},
    shows("none", {"api-key", K::words, &F::api_key, "KEY...",
                   "that requests must show; also $VLLM_API_KEY, which other users of the machine "
                   "can't see"}),
    {"api-key-file", K::text, &F::api_key_file, "FILE", "keys, one a line; SIGHUP reads it again"},
    {"ssl-keyfile", K::text, &F::ssl_keyfile, "FILE", "private key: serve HTTPS"},
    {"ssl-certfile", K::text, &F::ssl_certfile, "FILE", "certificate chain"},
    {"ssl-ca-certs", K::text, &F::ssl_ca_certs, "FILE", "who may sign clients' certificates"},
    {"ssl-cert-reqs", K::integer, &F::ssl_cert_reqs, "0|1|2",
     "clients' certificates: none, optional, required", 0, 2},
    shows("OpenSSL's", {"ssl-ciphers", K::text, &F::ssl_ciphers, "LIST", "in OpenSSL's words"}),
    {"enable-ssl-refresh", K::boolean, &F::enable_ssl_refresh, "",
     "read key and certificate again when they change"},
    {"root-path", K::text, &F::root_path, "PATH", "before every path, behind a proxy"},
    shows("none", {"allowed-origins", K::words, &F::allowed_origins, "ORIGIN...",
                   "pages that may call (CORS): '[\"*\"]' as in vLLM"}),
    {"allowed-methods", K::words, &F::allowed_methods, "METHOD...", "for them"},
    {"allowed-headers", K::words, &F::allowed_headers, "HEADER...", "for them"},
    {"allow-credentials", K::boolean, &F::allow_credentials, "", "for them: cookies"},
    {"max-request-bytes", K::count, &F::max_request_bytes, "BYTES", "of a request's body", 1024},
    {"h11-max-incomplete-event-size", K::count, &F::h11_max_incomplete_event_size, "BYTES",
     "of a request's headers", 1024, 1 << 26},
    {"sse-ping-interval", K::number, &F::sse_ping_interval, "SECONDS",
     "between comments in a silent stream; 0: none", 0, 86400},
    {"metrics-public", K::boolean, &F::metrics_public, "", "GET /metrics needs no key"},
    {"shutdown-timeout", K::number, &F::shutdown_timeout, "SECONDS",
     "that running answers get after SIGTERM", 0, 86400},
    {"watchdog-timeout", K::number, &F::watchdog_timeout, "SECONDS",
     "without progress, with work to do, after which the engine has failed: its answers end with "
     "an "
     "error, and the server restarts; 0: off",
     0, 86400},
    {"auto-restart", K::boolean, &F::auto_restart, "",
     "restart after that, at most 3 times in 10 minutes; else the process ends with status 70"},
};

const ServeFlag kLogs[] = {
    {"uvicorn-log-level", K::choice, &F::uvicorn_log_level,
     "critical|error|warning|info|debug|trace", "least level that is logged"},
    {"log-format", K::choice, &F::log_format, "text|json", "of a line"},
    {"disable-uvicorn-access-log", K::boolean, &F::disable_uvicorn_access_log, "",
     "no line for each request"},
    {"disable-access-log-for-endpoints", K::commas, &F::disable_access_log_for_endpoints,
     "PATH,...", "no line for requests of these paths"},
    {"enable-log-requests", K::boolean, &F::enable_log_requests, "",
     "a line with the parameters of each request, without its text"},
    {"disable-log-stats", K::boolean, &F::disable_log_stats, "", "no line of rates every 10 s"},
};

// Help as ComputeOptions::add_to has it, shorter.
const ServeFlag kCompute[] = {
    {"device", K::text, &C::device, "auto|cpu|cuda[:N]", "where to compute"},
    {"backend", K::choice, &C::backend, "auto|cpu|reference", "reference: slow, double precision"},
    {"isa", K::text, &C::isa, "auto|generic|avx2|...", "instruction set of the CPU"},
    {"threads", K::integer, &C::threads, "N", "0: one for each usable CPU", 0, 4096},
    {"activations", K::text, &C::activations, "auto|int8|int16|bf16|float32",
     "what inputs of quantized linears are rounded to"},
    {"kv-cache-dtype", K::choice, &C::kv_cache_dtype,
     "auto|float32|bfloat16|int16|int8|float|float16|half|fp8|fp8_e4m3|fp8_e5m2",
     "how keys and values are held; fp8 is held as int8, float16 as int16"},
    shows("80% of what is free",
          {"max-memory", K::text, &C::max_memory, "AMOUNT", "most memory to use: 12G, 50%"}),
    {"weight-cache", K::text, &C::weight_cache, "auto|off|FOLDER",
     "where packed weights are kept for the next start"},
    {"weight-cache-limit", K::text, &C::weight_cache_limit, "AMOUNT", "most that it may hold"},
};

const ServeFlag kCommand[] = {
    {"config", K::text, {}, "FILE", "YAML with flags as keys; the command line wins"},
    {"print-config", K::boolean, &F::print_config, "",
     "print what is in force and where it came from, and end"},
    called("-h", {"help", K::boolean, &F::help, "", "this text"}),
};

}  // namespace

std::span<const ServeFlag> noted_serve_flags();
std::span<const ServeFlag> refused_serve_flags();

std::span<const FlagGroup> serve_flag_groups() {
  static const FlagGroup groups[] = {
      {"Model", kModel},
      {"Engine", kEngine},
      {"Prompts and answers", kAnswers},
      {"Pictures", kPictures},
      {"HTTP", kHttp},
      {"Logs", kLogs},
      {"Computing", kCompute},
      {"Command line", kCommand},
      {"Accepted, no effect", noted_serve_flags()},
      {"Refused", refused_serve_flags()},
  };
  return groups;
}

namespace {

using Index = std::unordered_map<std::string_view, const ServeFlag*>;
Index make_index(bool short_names) {
  Index index;
  for (const FlagGroup& group : serve_flag_groups())
    for (const ServeFlag& flag : group.flags)
      if (!short_names)
        index.emplace(flag.name, &flag);
      else if (flag.short_name)
        index.emplace(flag.short_name, &flag);
  return index;
}

const ServeFlag* find(const Index& index, std::string_view name) {
  const auto it = index.find(name);
  return it == index.end() ? nullptr : it->second;
}

}  // namespace

const ServeFlag* find_serve_flag(std::string_view name) {
  if (name == "prefix-cache-states") name = "snapshot-slots";
  static const Index index = make_index(false);
  return find(index, name);
}

const ServeFlag* find_short_flag(std::string_view name) {
  static const Index index = make_index(true);
  return find(index, name);
}

}  // namespace octet::cli
