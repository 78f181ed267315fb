#include "serve/api/chat_request.h"

#include <algorithm>

#include "serve/api/format_fields.h"
#include "serve/api/sampling_fields.h"
#include "serve/api/tool_fields.h"
#include "serve/field_reader.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

// More than any context; agents say 2^53 for "no limit".
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;

// Later ones win: defaults, thinking, reasoning_effort, chat_template_kwargs (serving.md §12.5).
void read_template_kwargs(FieldReader& body, const RequestContext& context, ChatRequest& request) {
  json::object& kwargs = request.job.chat->kwargs;
  kwargs = context.options.default_chat_template_kwargs;
  if (const json::value* v = body.find("thinking"); v && v->is_object()) {
    FieldReader thinking(*v, body.path("thinking"));
    const auto type = thinking.one_of("type", {"enabled", "disabled", "adaptive", "auto"});
    if (type == "enabled") kwargs["enable_thinking"] = true;
    if (type == "disabled") kwargs["enable_thinking"] = false;
    if (const auto budget = thinking.integer("budget_tokens", -1))
      request.job.thinking_budget = *budget;
  } else if (v && v->is_bool()) {
    kwargs["enable_thinking"] = v->get_bool();
  } else if (v) {
    bad_field(body.path("thinking"), "thinking: expected an object with a type");
  }
  if (const auto effort = body.one_of(
          "reasoning_effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"})) {
    kwargs["enable_thinking"] = *effort != "none";
    kwargs["reasoning_effort"] = *effort;
  }
  if (const json::array* documents = body.array("documents", 4096))
    kwargs["documents"] = *documents;
  if (const json::object* own = body.object("chat_template_kwargs")) {
    // These are the server's to set.
    for (const auto& [key, value] : *own)
      if (key != "messages" && key != "tools" && key != "add_generation_prompt")
        kwargs[key] = value;
  }
}

void read_chat(FieldReader& body, const RequestContext& context, ChatRequest& request) {
  ChatInput& chat = request.job.chat.emplace();
  const json::array* messages = body.array("messages");
  if (!messages) bad_field("messages", "messages: missing");
  if (messages->empty()) bad_field("messages", "messages: expected at least one");
  chat.messages = *messages;
  const auto add = body.boolean("add_generation_prompt");
  chat.continue_final_message = body.boolean("continue_final_message").value_or(false);
  if (chat.continue_final_message && add.value_or(false))
    bad_field("continue_final_message",
              "continue_final_message: can't be true together with add_generation_prompt");
  chat.add_generation_prompt = add.value_or(true) && !chat.continue_final_message;
  // The template writes all special tokens itself.
  body.boolean("add_special_tokens");
  if (auto text = body.string("chat_template", std::size_t{1} << 20)) {
    if (!context.options.trust_request_chat_template)
      bad_field("chat_template",
                "chat_template: refused; the server was not started with "
                "--trust-request-chat-template");
    request.job.chat_template = std::move(*text);
  }
  read_template_kwargs(body, context, request);
  if (body.boolean("echo").value_or(false) && chat.continue_final_message) {
    const json::object* last = chat.messages.back().if_object();
    const json::value* content = last ? last->if_contains("content") : nullptr;
    if (content && content->is_string()) request.echo = std::string(content->get_string());
  }
}

void read_logprobs(FieldReader& body, const RequestContext& context, ChatRequest& request) {
  request.reply.logprobs = body.boolean("logprobs").value_or(false);
  const int top = read_num_logprobs(body, "top_logprobs", context, 0);
  if (top != 0 && !request.reply.logprobs)
    bad_field("top_logprobs", "top_logprobs: needs logprobs: true");
  if (request.reply.logprobs) request.job.sampling.num_logprobs = top;
  read_logprob_token_ids(body, context, request.job);
}

void read_reasoning(FieldReader& body, const RequestContext& context, ChatRequest& request) {
  Job& job = request.job;
  request.include_reasoning = body.boolean("include_reasoning").value_or(true);
  for (const char* name : {"thinking_token_budget", "reasoning_budget_tokens"})
    if (const auto budget = body.integer(name, -1)) job.thinking_budget = *budget;
  job.reasoning_control = body.boolean("reasoning_control").value_or(false);
  job.parse_reasoning = context.options.parse_reasoning;
  if (const auto format =
          body.one_of("reasoning_format", {"none", "auto", "deepseek", "deepseek-legacy"}))
    job.parse_reasoning = *format != "none";
  job.parse_tools = body.boolean("parse_tool_calls").value_or(true) && context.options.parse_tools;
}

// Only what can't be used to make us work without bound.
void read_media_options(FieldReader& body) {
  for (const char* name : {"mm_processor_kwargs", "media_io_kwargs"}) {
    const json::value* v = body.find(name);
    if (!v) continue;
    FieldReader r(*v, body.path(name));
    for (const char* key : {"min_pixels", "max_pixels", "num_frames"})
      r.integer(key, 1, std::int64_t{1} << 40);
    r.number("fps", 0, 1000);
    if (const auto unknown = r.unknown(); !unknown.empty())
      bad_field(unknown.front(), "{}: expected only min_pixels, max_pixels, fps and num_frames",
                name);
  }
}

}  // namespace

ReplyOptions read_reply_options(FieldReader& body, const RequestContext& context) {
  const ServiceOptions& o = context.options;
  ReplyOptions reply;
  reply.stream = body.boolean("stream").value_or(false);
  if (const json::value* v = body.find("stream_options")) {
    if (!reply.stream) bad_field("stream_options", "stream_options: only with stream: true");
    FieldReader r(*v, body.path("stream_options"));
    reply.include_usage = r.boolean("include_usage").value_or(false);
    reply.continuous_usage = r.boolean("continuous_usage_stats").value_or(false);
    r.ignore({"include_obfuscation"});
  }
  reply.include_usage = reply.include_usage || (reply.stream && o.force_include_usage);
  reply.return_token_ids = body.boolean("return_token_ids").value_or(false);
  reply.tokens_as_token_ids =
      body.boolean("return_tokens_as_token_ids").value_or(o.return_tokens_as_token_ids);
  reply.return_prompt_text = body.boolean("return_prompt_text").value_or(false);
  reply.return_progress = body.boolean("return_progress").value_or(false);
  reply.timings = body.boolean("timings_per_token").value_or(o.timings);
  const double ping = body.number("sse_ping_interval", -1, 3600).value_or(o.sse_ping_seconds);
  // Not more often than a tenth of a second, whatever a client says.
  reply.ping_seconds = ping <= 0 ? 0 : std::max(ping, 0.1);
  return reply;
}

std::optional<std::int64_t> read_max_tokens(FieldReader& body, std::int64_t least) {
  std::optional<std::int64_t> out;
  for (const char* name : {"max_completion_tokens", "max_tokens"}) {
    const auto value = body.integer(name, least);
    if (!out && value) out = std::min(*value, kMaxTokens);
  }
  // llama-server's: -1 is no limit.
  const auto predict = body.integer("n_predict", -1);
  if (predict && *predict >= 0 && *predict < least)
    bad_field(body.path("n_predict"), "{}: expected -1 or at least {}, found {}",
              body.path("n_predict"), least, *predict);
  if (!out && predict && *predict >= 0) out = std::min(*predict, kMaxTokens);
  return out;
}

ChatRequest read_chat_request(const json::value& value, const RequestContext& context) {
  FieldReader body(value, "");
  ChatRequest request;
  request.model = body.string("model", 1024);
  request.request_id = body.string("request_id", 1024).value_or("");
  read_unsupported(body);
  read_chat(body, context, request);
  read_tools(body, request.job);
  request.job.format = read_format(body);
  request.job.max_tokens = read_max_tokens(body, 1);
  read_sampling(body, context, request.job);
  request.reply = read_reply_options(body, context);
  read_logprobs(body, context, request);
  read_reasoning(body, context, request);
  read_media_options(body);
  request.job.prompt_logprobs = read_prompt_logprobs(body, context, request.reply.stream);
  request.job.incremental = request.reply.stream;
  request.unknown = body.unknown();
  return request;
}

}  // namespace octet::serve
