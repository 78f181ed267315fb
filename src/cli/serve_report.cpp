#include "cli/serve_report.h"

#include "serve/log.h"

namespace octet::cli {

namespace {

using serve::LogLevel;

bool as_json(const ServeFlags& flags) {
  return flags.log_format == "json";
}

std::int64_t number(std::size_t bytes) {
  return static_cast<std::int64_t>(bytes);
}

}  // namespace

void report_line(const ServeFlags& flags, const std::string& line) {
  constexpr std::string_view kWarning = "warning: ";
  if (!as_json(flags))
    fmt::print(stderr, "octet: {}\n", line);
  else if (line.starts_with(kWarning))
    serve::log(LogLevel::warning, line.substr(kWarning.size()));
  else
    serve::log(LogLevel::info, line);
}

void report_notes(const ServeFlags& flags) {
  for (const std::string& note : flags.notes) report_line(flags, note);
}

void report_memory(const ServeFlags& flags, const ServePlan& plan) {
  if (!as_json(flags)) {
    fmt::print(stderr, "{}", describe(plan));
    return;
  }
  serve::log(LogLevel::info, "memory in bytes",
             {{"weights", number(plan.weight_bytes)},
              {"kv_cache", number(plan.memory.kv_bytes)},
              {"recurrent_states", number(plan.memory.state_bytes)},
              {"prefix_snapshots", number(plan.memory.snapshot_bytes)},
              {"workspace", number(plan.memory.workspace_bytes)},
              {"needed", number(plan.total_bytes())},
              {"allowed", number(plan.limit_bytes)}});
}

void report_ready(const ServeFlags& flags, const ServePlan& plan, const std::string& url,
                  double seconds) {
  std::string names;
  for (const std::string& name : flags.served_model_name)
    names += (names.empty() ? "" : ", ") + name;
  if (as_json(flags)) {
    serve::log(LogLevel::info, "ready at " + url,
               {{"url", url},
                {"models", names},
                {"context", plan.engine.max_model_len},
                {"kv_tokens", plan.memory.kv_tokens},
                {"sequences", plan.memory.sequences},
                {"full_length", plan.memory.full_length_sequences},
                {"seconds", seconds}});
    return;
  }
  const std::string key = flags.api_key.empty() && flags.api_key_file.empty() ? "" : "$KEY";
  const std::string header = key.empty() ? "" : " -H \"Authorization: Bearer " + key + "\"";
  fmt::print(stderr,
             "octet: ready at {} after {:.1f} s\n"
             "  models    {}\n"
             "  context   {} tokens\n"
             "  capacity  {} tokens of KV cache, {} sequences at once, {} at full length\n"
             "  drafts    none\n\n"
             "  curl {}/v1/chat/completions{} -H 'Content-Type: application/json' \\\n"
             "    -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": "
             "\"Hello\"}}]}}'\n"
             "  OPENAI_BASE_URL={}/v1 OPENAI_API_KEY={}\n"
             "  ANTHROPIC_BASE_URL={} ANTHROPIC_AUTH_TOKEN={}\n",
             url, seconds, names, plan.engine.max_model_len, plan.memory.kv_tokens,
             plan.memory.sequences, plan.memory.full_length_sequences, url, header,
             flags.served_model_name.front(), url, key.empty() ? "none" : key, url,
             key.empty() ? "none" : key);
}

}  // namespace octet::cli
