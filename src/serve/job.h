#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "generate/engine.h"
#include "serve/answer/answer_parser.h"
#include "serve/answer/chat_prompt.h"
#include "serve/http/error_body.h"

namespace octet::serve {

class Service;

/// Which calls an answer may or must contain.
struct ToolChoice {
  enum class Mode { none, automatic, required, named };
  Mode mode = Mode::none;
  std::string name;                  ///< named
  std::vector<std::string> allowed;  ///< subset of the tools; empty: all
};

/// What the content must look like. serving.md §14.
struct ContentFormat {
  enum class Kind { text, json_object, json_schema, regex, choice, grammar, structural_tag };
  Kind kind = Kind::text;
  json::value schema;                ///< json_schema, structural_tag
  std::string source;                ///< regex, grammar
  std::vector<std::string> choices;  ///< choice
  bool strict = false, any_whitespace = true, additional_properties = true;
  bool in_reasoning = false;
  std::string param;  ///< path of the field, for errors
};

/// A request of any dialect, brought to one form. The dialects' readers make it, their writers hear
/// what comes of it.
struct Job {
  // Prompt: a chat or tokens.
  std::optional<ChatInput> chat;
  std::string chat_template;                ///< the request's own; empty: the model's
  std::vector<std::int32_t> prompt;         ///< if there is no chat
  std::int64_t truncate_prompt_tokens = 0;  ///< keep the last so many; -1: max_model_len; 0: off
  bool truncate_left = true;
  std::string prompt_param = "messages";  ///< the field that it came in, for errors
  // Answers.
  generate::SamplingParams sampling;
  bool has_seed = false;
  std::int64_t n = 1;
  std::optional<std::int64_t> max_tokens;  ///< absent: what the context leaves
  std::vector<std::string> stop;
  std::vector<std::int32_t> stop_token_ids;
  bool include_stop = false, ignore_eos = false, skip_special_tokens = true;
  bool stop_in_reasoning = true;
  int prompt_logprobs = -1;
  generate::RepetitionLimit repetition;
  // Reading them.
  bool parse = true;  ///< reasoning and tools; false: raw text as content (completions)
  bool parse_reasoning = true, parse_tools = true;
  /// False: nobody sees the answer before its end. Its events come then, of the whole text
  /// (serving.md §13.3 rule 9: a call that was cut off is content), tokens as always.
  bool incremental = true;
  std::vector<Tool> tools;
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  ContentFormat format;
  std::int64_t thinking_budget = -1;
  bool reasoning_control = false;  ///< may be told to stop thinking while it runs
  // Scheduling.
  std::int64_t priority = 0;
  std::string cache_salt;
  bool use_prefix_cache = true;
  std::int64_t stream_interval = 1;  ///< tokens that one on_events may gather
};

struct Usage {
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0;
};

/// How one answer ended, in OpenAI's words.
struct ChoiceEnd {
  std::string finish_reason;  ///< stop, length, tool_calls, abort, error, repetition
  json::value stop_reason;    ///< null, the stop id, or the stop string
  generate::AnswerSummary summary;
  std::int64_t calls = 0;
  std::string error;
};

/// What a choice that did not end well is to the client: its server stopped it or it waited too
/// long (503), what was asked for can't be had (400), it failed (500). Nullopt: it ended well.
std::optional<HttpError> failure_of(const ChoiceEnd& end);

/// What comes of a job. One thread at a time: the engine's, or the one that calls start_job for
/// errors before the engine, or, for jobs with log-probabilities, the service's ReplyThread. Calls
/// are short and don't throw.
class JobListener {
 public:
  virtual ~JobListener() = default;
  /// Admitted: the prompt's ids are known, the engine has it (where waiting has a limit: it has
  /// begun). Before anything else.
  virtual void on_admitted(const ChatPrompt& prompt, std::int64_t max_tokens, bool clamped) = 0;
  virtual void on_progress(const generate::PromptProgress&) {}
  virtual void on_prompt_logprobs(std::vector<generate::TokenOutput>) {}
  /// Events of one choice with the tokens whose text they hold (tokens whose text is held back come
  /// with the events that release it). Events may be empty if tokens aren't.
  virtual void on_events(std::int64_t choice, const std::vector<AnswerEvent>& events,
                         const std::vector<generate::TokenOutput>& tokens) = 0;
  virtual void on_choice_end(std::int64_t choice, const ChoiceEnd& end) = 0;
  /// After the last choice. Nothing follows.
  virtual void on_done(const Usage& usage) = 0;
  /// Instead of everything above that has not been called yet. Nothing follows.
  virtual void on_error(const HttpError& error) = 0;
  /// False: the client reads too slowly; the answers wait until RunningJob::wake().
  virtual bool ready() { return true; }
};

/// A job under way. Destroying it does not end it. Any thread.
class RunningJob {
 public:
  virtual ~RunningJob() = default;
  virtual void cancel() = 0;
  virtual void wake() = 0;
  /// Ends the thinking of its answers. False if the job does not allow it or is not thinking.
  virtual bool end_thinking() = 0;
  /// Tells the client that it failed, although the engine's thread hangs; what that says afterwards
  /// is ignored. False: the thread hangs in this job's listener, nobody else may call it. Waits
  /// for no lock of the job, but the listener may hold some.
  virtual bool try_fail(const HttpError& error) = 0;
  /// Its phase, tokens and age on one line, for the log. Waits for nothing.
  virtual std::string describe() = 0;
};

/// Renders, tokenizes, compiles the grammar, clamps max_tokens and submits. Every failure goes to
/// listener->on_error (400 for what the client can mend, 503 if the queue is full). Worker thread.
/// id: of the response, unique; by it the control endpoint finds the job.
std::shared_ptr<RunningJob> start_job(Service& service, std::string id, Job job,
                                      std::shared_ptr<JobListener> listener);

}  // namespace octet::serve
