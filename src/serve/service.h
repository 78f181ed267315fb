#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "generate/engine.h"
#include "generate/grammar/matcher.h"
#include "input/chat_template/chat_template.h"
#include "input/tokenizer/tokenizer.h"
#include "serve/job.h"
#include "serve/metrics.h"
#include "serve/reply_thread.h"

namespace octet::serve {

/// Flags of `octet serve` that the API layer obeys. serving.md §17.
struct ServiceOptions {
  std::vector<std::string> served_model_names;  ///< at least one; the first is the default
  bool any_model_name = false;
  std::vector<std::string> anthropic_model_aliases{"claude*"};  ///< with * at the end
  std::string model_root;  ///< folder or hub id, shown by /v1/models
  json::object default_chat_template_kwargs;
  bool trust_request_chat_template = false, strict_template = false, strict_max_tokens = false;
  std::optional<ContentForm> content_form;  ///< absent: what the template takes
  bool keep_history_thinking = false;       ///< without thinking: the history has empty blocks, too
  bool parse_reasoning = true, parse_tools = true, exclude_tools_when_tool_choice_none = false;
  std::string reasoning_field = "both";  ///< reasoning, reasoning_content or both
  std::int64_t max_logprobs = 20;        ///< -1: no limit
  generate::LogprobsMode logprobs_mode = generate::LogprobsMode::raw_logprobs;
  std::int64_t stream_interval = 1, auto_think_reserve = 0;
  std::int64_t reasoning_budget = -1;
  std::optional<std::uint64_t> seed;  ///< of requests without one; absent: a new one each time
  std::string reasoning_budget_message;
  double sse_ping_seconds = 15;
  std::size_t stream_queue_bytes = 1 << 20;  ///< HttpOptions' one: a reader with more waits
  bool force_include_usage = false, per_request_metrics = false, timings = false;
  bool return_tokens_as_token_ids = false, tokenizer_info = false, slots = false;
  bool priority_scheduling = false, metrics_public = false;
  bool log_requests = false;  ///< a line with the parameters of each, without its text
  std::string response_role = "assistant", system_fingerprint;
};

/// What requests share. Constant after construction but for metrics, caches and the engine.
class Service {
 public:
  Service(ServiceOptions options, const tokenizer::Tokenizer& tokenizer,
          chat_template::ChatTemplate chat_template, checkpoint::GenerationConfig defaults,
          generate::Engine& engine, std::int64_t vocab_size);
  ~Service();

  const ServiceOptions& options() const { return options_; }
  const tokenizer::Tokenizer& tokenizer() const { return tokenizer_; }
  const chat_template::ChatTemplate& chat_template() const { return template_; }
  /// What a template gets: the server's own, or one that a request brought.
  ContentForm content_form() const { return content_form_; }
  ContentForm content_form(const chat_template::ChatTemplate& own) const;
  const checkpoint::GenerationConfig& defaults() const { return defaults_; }
  generate::Engine& engine() { return engine_; }
  Metrics& metrics() { return metrics_; }
  std::int64_t vocab_size() const { return vocab_size_; }
  std::int64_t max_model_len() const;
  std::int64_t created() const { return created_; }                   ///< Unix seconds of the start
  std::shared_ptr<const generate::grammar::Vocabulary> vocabulary();  ///< made at the first grammar

  /// Tokens of nothing but line breaks.
  const std::vector<std::int32_t>& newline_ids() const;

  /// The name as it goes into the response. Errors: HttpError 404 that lists the served names.
  std::string served_name(const std::optional<std::string>& asked) const;
  /// A grammar by its sources' hash; compiled at most once at a time, kept in memory (LRU,
  /// bounded). Errors: HttpError 400; 503 if what requests hold is too large, or if others that are
  /// compiled leave no place for two seconds.
  std::shared_ptr<const generate::grammar::CompiledGrammar> grammar(
      const std::string& cache_key, const std::function<generate::grammar::Rules()>& make,
      const std::string& param);

  /// Writes what is too large for the engine's thread. Ends with the service, after the engine's
  /// thread.
  ReplyThread& replies();

  /// Running jobs by response id, for the control endpoint and for the end of the server. Errors:
  /// HttpError 503 after fail_running().
  void add_running(const std::string& id, std::weak_ptr<RunningJob> job);
  void remove_running(const std::string& id, const RunningJob* job);
  std::shared_ptr<RunningJob> find_running(
      const std::string& id) const;  ///< the latest of equal ids
  /// "id: phase, tokens, age" of those that run, at most so many.
  std::vector<std::string> describe_running(std::size_t most) const;
  /// The engine's thread hangs: tells every running job's client that it failed, and those that
  /// come from here on that the server is unavailable. Waits at most so long, for no lock that the
  /// engine's thread may hold. Returns how many could not be told.
  std::size_t fail_running(const HttpError& error, std::chrono::milliseconds at_most);

  /// "loading", "ready", "draining", "failed"; with progress 0..1.
  enum class State { loading, ready, draining, failed };
  State state() const;
  void set_state(State state);

 private:
  struct Impl;
  std::shared_ptr<const generate::grammar::CompiledGrammar> compile(
      const std::function<generate::grammar::Rules()>& make);
  ServiceOptions options_;
  const tokenizer::Tokenizer& tokenizer_;
  chat_template::ChatTemplate template_;
  ContentForm content_form_;
  checkpoint::GenerationConfig defaults_;
  generate::Engine& engine_;
  std::int64_t vocab_size_, created_;
  Metrics metrics_;
  std::unique_ptr<Impl> impl_;
};
std::string_view to_string(Service::State state);

}  // namespace octet::serve
