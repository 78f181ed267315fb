// vLLM's flags that mean nothing here, or that would mean something we don't do.

#include "cli/serve_flag_table.h"

namespace octet::cli {

namespace {

using K = FlagKind;
using F = ServeFlags;

constexpr ServeFlag noted(const char* name, FlagKind kind, const char* why, const char* value = "X",
                          const char* short_name = nullptr) {
  return {name, kind, {}, value, why, -9e15, 9e15, FlagEffect::noted, nullptr, short_name};
}
constexpr ServeFlag refused(const char* name, FlagKind kind, const char* why,
                            const char* short_name = nullptr) {
  return {name, kind, {}, "X", why, -9e15, 9e15, FlagEffect::refused, nullptr, short_name};
}

const ServeFlag kNoted[] = {
    noted("dtype", K::choice, "--activations chooses; float32 means --activations float32",
          "auto|half|float16|bfloat16|float|float32"),
    noted("quantization", K::choice, "read from the checkpoint",
          "gptq|gptq_marlin|compressed-tensors", "-q"),
    noted("trust-remote-code", K::boolean, "no code of a model is ever run"),
    noted("config-format", K::choice, "config.json is read", "auto|hf"),
    noted("tokenizer-mode", K::choice, "there is one tokenizer", "auto|hf|slow"),
    noted("hf-token", K::text, "models are not downloaded; hf download puts them into the cache"),
    noted("download-dir", K::text, "models are not downloaded; $HF_HOME names the cache"),
    noted("runner", K::choice, "it generates", "auto|generate"),
    noted("task", K::choice, "it generates", "auto|generate"),
    noted("convert", K::choice, "nothing is converted", "auto|none"),
    noted("model-impl", K::choice, "there is one implementation", "auto|vllm|transformers"),
    noted("enforce-eager", K::boolean, "nothing is captured or compiled at the start"),
    noted("max-cudagraph-capture-size", K::integer, "nothing is captured at the start"),
    noted("cudagraph-capture-sizes", K::words, "nothing is captured at the start"),
    noted("cuda-graph-sizes", K::words, "nothing is captured at the start"),
    noted("max-seq-len-to-capture", K::count, "nothing is captured at the start"),
    noted("compilation-config", K::text, "nothing is compiled at the start", "X", "-O"),
    noted("optimization-level", K::text, "nothing is compiled at the start"),
    noted("performance-mode", K::choice, "steps serve both", "balanced|interactivity|throughput"),
    noted("async-scheduling", K::boolean, "the next step is prepared anyway"),
    noted("attention-backend", K::text, "--backend and --isa choose"),
    noted("disable-cascade-attn", K::boolean, "there is one attention"),
    noted("enable-chunked-prefill", K::boolean, "prompts always go in by pieces"),
    noted("long-prefill-token-threshold", K::count, "answers under way always come first"),
    noted("max-long-partial-prefills", K::integer, "answers under way always come first"),
    noted("block-size", K::integer, "pages hold 64 tokens"),
    noted("mamba-block-size", K::integer, "--snapshot-interval"),
    noted("num-gpu-blocks-override", K::integer, "--kv-cache-memory-bytes"),
    noted("prefix-caching-hash-algo", K::text, "tokens are compared, not hashes"),
    noted("mamba-cache-mode", K::choice, "--prefix-cache", "none|align|all"),
    noted("mamba-cache-dtype", K::choice, "states are float32", "auto|float32"),
    noted("mamba-ssm-cache-dtype", K::choice, "states are float32", "auto|float32|float16"),
    noted("gdn-prefill-backend", K::text, "there is one delta rule"),
    noted("calculate-kv-scales", K::boolean, "scales are those of each group of values"),
    noted("kv-offloading-size", K::number, "caches stay where they are"),
    noted("kv-offloading-backend", K::text, "caches stay where they are"),
    noted("kv-transfer-config", K::text, "one process serves"),
    noted("swap-space", K::number, "nothing is swapped; a paused answer is computed again"),
    noted("cpu-offload-gb", K::number, "weights are not moved about"),
    noted("pipeline-parallel-size", K::integer, "one process serves", "N", "-pp"),
    noted("data-parallel-size", K::integer, "one process serves", "N", "-dp"),
    noted("decode-context-parallel-size", K::integer, "one process serves", "N", "-dcp"),
    noted("enable-expert-parallel", K::boolean, "the model is dense"),
    noted("distributed-executor-backend", K::text, "one process serves"),
    noted("disable-custom-all-reduce", K::boolean, "one process serves"),
    noted("max-parallel-loading-workers", K::integer, "all threads load"),
    noted("api-server-count", K::integer, "one process serves", "N", "-asc"),
    noted("enable-auto-tool-choice", K::boolean, "tool calls are always read"),
    noted("enable-prompt-tokens-details", K::boolean, "cached tokens are always reported"),
    noted("enable-request-id-headers", K::boolean, "X-Request-Id is always sent"),
    noted("enable-server-load-tracking", K::boolean, "GET /load always answers"),
    noted("enable-log-outputs", K::boolean, "prompts and answers are never logged"),
    noted("max-log-len", K::integer, "prompts and answers are never logged"),
    noted("disable-log-requests", K::boolean, "requests are not logged unless asked for"),
    noted("disable-fastapi-docs", K::boolean, "no documentation pages are served"),
    noted("h11-max-header-count", K::integer, "headers are limited by their bytes"),
    noted("reasoning-config", K::object, "the model's own <think> tokens mark its reasoning"),
    noted("structured-outputs-config", K::object, "grammars are octet's own"),
    noted("guided-decoding-backend", K::text, "grammars are octet's own"),
    noted("deterministic", K::boolean, "answers never depend on their company"),
    noted("skip-mm-profiling", K::boolean, "nothing is profiled at the start"),
    noted("mm-encoder-tp-mode", K::choice, "one process serves", "weights|data"),
    noted("mm-processor-cache-type", K::choice, "one process serves", "lru|shm"),
    noted("mm-encoder-attn-backend", K::text, "there is one attention"),
    noted("interleave-mm-strings", K::boolean, "pictures stay where they are in the text"),
    noted("video-pruning-rate", K::number, "videos are not pruned"),
    noted("enable-sleep-mode", K::boolean, "the server doesn't sleep"),
    noted("jinja", K::boolean, "templates always are"),
    noted("metrics", K::boolean, "GET /metrics always answers"),
};

const ServeFlag kRefused[] = {
    refused("tokenizer", K::text, "the tokenizer is read from MODEL"),
    refused("revision", K::text, "models are not downloaded; name the folder of that revision"),
    refused("code-revision", K::text, "no code of a model is ever run"),
    refused("tokenizer-revision", K::text, "the tokenizer is read from MODEL"),
    refused("hf-config-path", K::text, "config.json is read from MODEL; see --hf-overrides"),
    refused("skip-tokenizer-init", K::boolean, "requests are text"),
    refused("middleware", K::text, "no code is loaded; put a proxy before the server"),
    refused("tool-parser-plugin", K::text, "no code is loaded"),
    refused("reasoning-parser-plugin", K::text, "no code is loaded"),
    refused("logits-processors", K::text, "no code is loaded"),
    refused("enable-lora", K::boolean, "adapters are not supported; merge them into the weights"),
    refused("lora-modules", K::words, "adapters are not supported; merge them into the weights"),
    refused("enable-mm-embeds", K::boolean, "embeddings from clients are not accepted"),
    refused("enable-prompt-embeds", K::boolean, "embeddings from clients are not accepted"),
    refused("headless", K::boolean, "one process serves, and it listens"),
    refused("grpc", K::boolean, "the server speaks HTTP"),
};

}  // namespace

std::span<const ServeFlag> noted_serve_flags() {
  return kNoted;
}
std::span<const ServeFlag> refused_serve_flags() {
  return kRefused;
}

}  // namespace octet::cli
