#include "cli/serve_setup.h"

#include <algorithm>
#include <filesystem>

#include "runtime/base/hash.h"
#include "runtime/base/mapped_file.h"

namespace octet::cli {

namespace {

generate::LogprobsMode logprobs_mode(const std::string& name) {
  if (name == "processed_logprobs") return generate::LogprobsMode::processed_logprobs;
  if (name == "raw_logits") return generate::LogprobsMode::raw_logits;
  if (name == "processed_logits") return generate::LogprobsMode::processed_logits;
  return generate::LogprobsMode::raw_logprobs;
}

std::string fingerprint(const ServeFlags& flags, const checkpoint::Checkpoint& checkpoint) {
  if (flags.fingerprint_mode == "none") return {};
  const std::string config = to_json(checkpoint.config().raw);
  const std::string hash = to_hex(hash128(std::as_bytes(std::span(config)))).substr(0, 8);
  return flags.fingerprint_mode == "hash" ? hash : "octet-" OCTET_VERSION "-tp1-" + hash;
}

}  // namespace

serve::HttpOptions http_options(const ServeFlags& f) {
  serve::HttpOptions o;
  o.host = f.host;
  o.port = static_cast<int>(f.port);
  o.uds = f.uds;
  o.tls = {.keyfile = f.ssl_keyfile,
           .certfile = f.ssl_certfile,
           .ca_certs = f.ssl_ca_certs,
           .ciphers = f.ssl_ciphers,
           .cert_reqs = static_cast<int>(f.ssl_cert_reqs),
           .refresh = f.enable_ssl_refresh};
  o.api_keys = f.api_key;
  o.api_key_file = f.api_key_file;
  o.root_path = f.root_path;
  o.allowed_origins = f.allowed_origins;
  o.allowed_methods = f.allowed_methods;
  o.allowed_headers = f.allowed_headers;
  o.allow_credentials = f.allow_credentials;
  o.max_body_bytes = static_cast<std::size_t>(f.max_request_bytes);
  o.max_header_bytes = static_cast<std::size_t>(f.h11_max_incomplete_event_size);
  return o;
}

serve::LogOptions log_options(const ServeFlags& f) {
  serve::LogOptions o;
  const std::string& level = f.uvicorn_log_level;
  o.level = level == "debug" || level == "trace"      ? serve::LogLevel::debug
            : level == "warning"                      ? serve::LogLevel::warning
            : level == "error" || level == "critical" ? serve::LogLevel::error
                                                      : serve::LogLevel::info;
  o.format = f.log_format == "json" ? serve::LogFormat::json : serve::LogFormat::text;
  o.access = !f.disable_uvicorn_access_log;
  o.quiet_paths = f.disable_access_log_for_endpoints;
  return o;
}

serve::ServiceOptions service_options(const ServeFlags& f,
                                      const checkpoint::Checkpoint& checkpoint) {
  serve::ServiceOptions o;
  o.served_model_names = f.served_model_name;
  o.any_model_name = f.any_model_name;
  o.anthropic_model_aliases = f.anthropic_model_alias;
  o.model_root = f.model;
  o.default_chat_template_kwargs = f.default_chat_template_kwargs;
  o.trust_request_chat_template = f.trust_request_chat_template;
  o.strict_template = f.strict_template;
  o.strict_max_tokens = f.strict_max_tokens;
  if (f.chat_template_content_format == "string") o.content_form = serve::ContentForm::text;
  if (f.chat_template_content_format == "openai") o.content_form = serve::ContentForm::parts;
  o.keep_history_thinking = f.history_think_policy == "keep";
  o.parse_reasoning = f.reasoning_parser != "none";
  o.parse_tools = f.tool_call_parser != "none";
  o.exclude_tools_when_tool_choice_none = f.exclude_tools_when_tool_choice_none;
  o.reasoning_field = f.reasoning_field;
  o.max_logprobs = f.max_logprobs;
  o.logprobs_mode = logprobs_mode(f.logprobs_mode);
  o.stream_interval = f.stream_interval;
  o.auto_think_reserve = f.auto_think_reserve;
  o.reasoning_budget = f.reasoning_budget;
  o.reasoning_budget_message = f.reasoning_budget_message;
  if (f.has_seed) o.seed = static_cast<std::uint64_t>(f.seed);
  o.sse_ping_seconds = f.sse_ping_interval;
  o.stream_queue_bytes = http_options(f).stream_queue_bytes;
  o.force_include_usage = f.enable_force_include_usage;
  o.per_request_metrics = f.enable_per_request_metrics;
  o.timings = f.timings;
  o.return_tokens_as_token_ids = f.return_tokens_as_token_ids;
  o.tokenizer_info = f.enable_tokenizer_info_endpoint;
  o.slots = f.slots;
  o.priority_scheduling = f.scheduling_policy == "priority";
  o.metrics_public = f.metrics_public;
  o.log_requests = f.enable_log_requests;
  o.response_role = f.response_role;
  o.system_fingerprint = fingerprint(f, checkpoint);
  return o;
}

checkpoint::GenerationConfig generation_config(const ServeFlags& f,
                                               const checkpoint::Checkpoint& checkpoint) {
  checkpoint::GenerationConfig g =
      checkpoint::read_generation_config(checkpoint.folder(), checkpoint.config());
  if (f.generation_config == "vllm") {
    checkpoint::GenerationConfig neutral;
    neutral.eos_token_id = g.eos_token_id;
    g = neutral;
  } else if (f.generation_config != "auto") {
    if (!std::filesystem::is_directory(f.generation_config))
      fail(ErrorCode::not_found, "--generation-config {}: expected auto, vllm or a folder",
           f.generation_config);
    g = checkpoint::read_generation_config(f.generation_config, checkpoint.config());
  }
  for (const auto& [key, value] : f.override_generation_config) {
    const auto number = [&](double min, double max) {
      const double d = value.is_number() ? value.to_number<double>() : max + 1;
      if (!(d >= min && d <= max))
        fail(ErrorCode::invalid_argument,
             "--override-generation-config {}: expected a number from {} to {}, found {}",
             std::string(key), min, max, to_json(value));
      return d;
    };
    if (key == "temperature")
      g.temperature = number(0, 2), g.do_sample = g.temperature > 0;
    else if (key == "top_p")
      g.top_p = number(1e-6, 1);
    else if (key == "min_p")
      g.min_p = number(0, 1);
    else if (key == "top_k")
      g.top_k = static_cast<std::int64_t>(std::max(0.0, number(-1, 1 << 20)));
    else if (key == "repetition_penalty")
      g.repetition_penalty = number(1e-6, 100);
    else if (key == "max_new_tokens" || key == "max_tokens")
      g.max_new_tokens = static_cast<std::int64_t>(number(1, 1e12));
    else
      fail(ErrorCode::invalid_argument,
           "--override-generation-config {}: expected temperature, top_p, top_k, min_p, "
           "repetition_penalty or max_new_tokens",
           std::string(key));
  }
  return g;
}

namespace {

chat_template::ChatTemplate read_template(const ServeFlags& f,
                                          const checkpoint::Checkpoint& checkpoint) {
  if (f.chat_template.empty()) return chat_template::ChatTemplate::load(checkpoint.folder());
  // A template has braces, a path has none.
  if (f.chat_template.find('{') != std::string::npos)
    return chat_template::ChatTemplate::parse(f.chat_template, "--chat-template");
  return chat_template::ChatTemplate::parse(read_file(f.chat_template), f.chat_template);
}

// Whether the history's empty think blocks are there when asked for.
bool keeps_thinking(const chat_template::ChatTemplate& t) {
  const json::array messages{json::object{{"role", "user"}, {"content", "a"}},
                             json::object{{"role", "assistant"}, {"content", "b"}},
                             json::object{{"role", "user"}, {"content", "c"}}};
  const json::object kwargs{{"enable_thinking", false}, {"preserve_thinking", true}};
  return t.render(messages, nullptr, kwargs).find("</think>") != std::string::npos;
}

}  // namespace

chat_template::ChatTemplate serving_template(const ServeFlags& f,
                                             const checkpoint::Checkpoint& checkpoint) {
  auto out = read_template(f, checkpoint);
  if (f.history_think_policy == "keep" && !keeps_thinking(out))
    fail(ErrorCode::invalid_argument,
         "--history-think-policy keep: the model's chat template does not know preserve_thinking; "
         "use another one (--chat-template), or template");
  return out;
}

}  // namespace octet::cli
