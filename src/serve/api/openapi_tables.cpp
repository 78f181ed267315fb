// serving.md §1, §3, §7, §8, §15, §16 as tables.
#include "serve/api/openapi_tables.h"

#include <iterator>

namespace octet::serve {

namespace {

using Fields = std::vector<ApiField>;

const std::vector<std::string_view> kEfforts{"none", "minimal", "low", "medium",
                                             "high", "xhigh",   "max"};

// Fields that all of OpenAI's endpoints share.
Fields sampling() {
  return {
      {.name = "model", .type = "string", .text = "One of the served names; absent: the first."},
      {.name = "stream", .type = "boolean"},
      {.name = "temperature", .type = "number", .min = 0, .max = 2},
      {.name = "top_p", .type = "number", .max = 1, .above = 0},
      {.name = "top_k", .type = "integer", .min = -1, .text = "0 and -1: off."},
      {.name = "min_p", .type = "number", .min = 0, .max = 1},
      {.name = "presence_penalty", .type = "number", .min = -2, .max = 2},
      {.name = "frequency_penalty", .type = "number", .min = -2, .max = 2},
      {.name = "repetition_penalty", .type = "number", .max = 1e9, .above = 0},
      {.name = "seed", .type = "integer"},
      {.name = "stop", .type = "string|string[]|null", .text = "At most 16, of 1 to 1024 bytes."},
      {.name = "stop_token_ids", .type = "integer[]", .max_items = 1024},
      {.name = "include_stop_str_in_output", .type = "boolean"},
      {.name = "ignore_eos", .type = "boolean"},
      {.name = "skip_special_tokens", .type = "boolean"},
      {.name = "min_tokens", .type = "integer", .min = 0},
      {.name = "logit_bias", .type = "object", .text = "Token id: -100 to 100."},
      {.name = "allowed_token_ids", .type = "integer[]", .min_items = 1},
      {.name = "bad_words", .type = "string[]", .max_items = 128},
      {.name = "truncate_prompt_tokens", .type = "integer", .min = -1},
      {.name = "cache_salt", .type = "string", .max_length = 128},
      {.name = "stream_interval", .type = "integer", .min = 1, .max = 1 << 20},
      {.name = "priority", .type = "integer"},
  };
}

Fields with(Fields first, Fields more) {
  first.insert(first.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
  return first;
}

Fields chat() {
  return with(
      {
          {.name = "messages", .type = "#ChatMessage[]", .required = true, .min_items = 1},
          {.name = "max_completion_tokens", .type = "integer", .min = 1},
          {.name = "max_tokens", .type = "integer", .min = 1},
          {.name = "n", .type = "integer", .min = 1},
          {.name = "logprobs", .type = "boolean"},
          {.name = "top_logprobs", .type = "integer", .min = -1},
          {.name = "prompt_logprobs", .type = "integer", .min = -1},
          {.name = "stream_options", .type = "object"},
          {.name = "response_format", .type = "#ResponseFormat"},
          {.name = "structured_outputs", .type = "object"},
          {.name = "tools", .type = "#ChatTool[]", .max_items = 1024},
          {.name = "tool_choice", .type = "string|object"},
          {.name = "parallel_tool_calls", .type = "boolean"},
          {.name = "reasoning_effort", .type = "string", .values = kEfforts},
          {.name = "thinking_token_budget", .type = "integer", .min = -1},
          {.name = "include_reasoning", .type = "boolean"},
          {.name = "add_generation_prompt", .type = "boolean"},
          {.name = "continue_final_message", .type = "boolean"},
          {.name = "chat_template_kwargs", .type = "object"},
          {.name = "return_token_ids", .type = "boolean"},
      },
      sampling());
}

Fields completion() {
  return with(
      {
          {.name = "prompt",
           .type = "any",
           .required = true,
           .text = "A string, strings, token ids or lists of them; none empty."},
          {.name = "max_tokens", .type = "integer", .min = 0},
          {.name = "n", .type = "integer", .min = 1},
          {.name = "logprobs", .type = "integer", .min = -1},
          {.name = "prompt_logprobs", .type = "integer", .min = -1},
          {.name = "echo", .type = "boolean"},
          {.name = "add_special_tokens", .type = "boolean"},
          {.name = "stream_options", .type = "object"},
      },
      sampling());
}

Fields responses() {
  return with(
      {
          {.name = "input", .type = "string|#ResponseItem[]", .required = true},
          {.name = "instructions", .type = "string|null"},
          {.name = "max_output_tokens", .type = "integer", .min = 1},
          {.name = "max_tool_calls", .type = "integer", .min = 1},
          {.name = "tools", .type = "#ResponseTool[]", .max_items = 1024},
          {.name = "tool_choice", .type = "string|object"},
          {.name = "parallel_tool_calls", .type = "boolean"},
          {.name = "reasoning", .type = "#Reasoning"},
          {.name = "text", .type = "object"},
          {.name = "include", .type = "string[]", .max_items = 64},
          {.name = "top_logprobs", .type = "integer", .min = -1},
          {.name = "truncation", .type = "string", .values = {"auto", "disabled"}},
          {.name = "metadata", .type = "object"},
          {.name = "store", .type = "boolean", .text = "Nothing is stored."},
          {.name = "thinking_token_budget", .type = "integer", .min = -1},
          {.name = "chat_template_kwargs", .type = "object"},
      },
      sampling());
}

Fields count_tokens() {
  return {
      {.name = "model", .type = "string"},
      {.name = "messages", .type = "#AnthropicMessage[]", .required = true, .min_items = 1},
      {.name = "system", .type = "string|object[]"},
      {.name = "tools", .type = "#AnthropicTool[]", .max_items = 1024},
      {.name = "tool_choice", .type = "#AnthropicToolChoice"},
      {.name = "thinking", .type = "#Thinking"},
      {.name = "output_config", .type = "object"},
  };
}

Fields messages() {
  return with(count_tokens(),
              {
                  {.name = "max_tokens", .type = "integer", .required = true, .min = 1},
                  {.name = "stream", .type = "boolean"},
                  {.name = "stop_sequences", .type = "string[]", .max_items = 16},
                  {.name = "temperature", .type = "number", .min = 0, .max = 1},
                  {.name = "top_p", .type = "number", .max = 1, .above = 0},
                  {.name = "top_k", .type = "integer", .min = -1},
                  {.name = "metadata", .type = "object"},
              });
}

std::vector<ApiSchema> request_parts() {
  return {
      {"ChatMessage",
       {{.name = "role",
         .type = "string",
         .required = true,
         .values = {"system", "developer", "user", "assistant", "tool"}},
        {.name = "content", .type = "string|object[]|null"},
        {.name = "reasoning_content", .type = "string|null"},
        {.name = "tool_calls", .type = "object[]"},
        {.name = "tool_call_id", .type = "string"}}},
      {"ChatTool",
       {{.name = "type", .type = "string", .required = true, .values = {"function"}},
        {.name = "function", .type = "#Function", .required = true}}},
      {"Function",
       {{.name = "name", .type = "string", .required = true, .max_length = 128},
        {.name = "description", .type = "string"},
        {.name = "parameters", .type = "object"},
        {.name = "strict", .type = "boolean|null"}}},
      {"ResponseFormat",
       {{.name = "type",
         .type = "string",
         .required = true,
         .values = {"text", "json_object", "json_schema", "structural_tag"}},
        {.name = "json_schema", .type = "object"}}},
      {"ResponseItem",
       {{.name = "type", .type = "string"},
        {.name = "role", .type = "string", .values = {"user", "assistant", "system", "developer"}},
        {.name = "content", .type = "string|object[]|null"},
        {.name = "call_id", .type = "string"},
        {.name = "name", .type = "string"},
        {.name = "namespace", .type = "string|null"},
        {.name = "arguments", .type = "string"},
        {.name = "input", .type = "string"},
        {.name = "output", .type = "string|object[]"}}},
      {"ResponseTool",
       {{.name = "type", .type = "string", .required = true},
        {.name = "name", .type = "string", .max_length = 128},
        {.name = "description", .type = "string|null"},
        {.name = "parameters", .type = "object|null"},
        {.name = "strict", .type = "boolean|null"},
        {.name = "format", .type = "object", .text = "Of a custom tool."},
        {.name = "tools", .type = "#ResponseTool[]", .text = "Of a namespace."}}},
      {"Reasoning",
       {{.name = "effort", .type = "string", .values = kEfforts},
        {.name = "summary", .type = "string", .values = {"auto", "concise", "detailed"}}}},
      {"AnthropicMessage",
       {{.name = "role",
         .type = "string",
         .required = true,
         .values = {"user", "assistant", "system"}},
        {.name = "content", .type = "string|object[]", .required = true},
        {.name = "output_config", .type = "object", .text = "Of a system message."},
        {.name = "clear_at", .type = "string", .values = {"next_user_message", "never"}}}},
      {"AnthropicTool",
       {{.name = "name", .type = "string", .required = true, .max_length = 128},
        {.name = "description", .type = "string"},
        {.name = "input_schema", .type = "object", .required = true},
        {.name = "strict", .type = "boolean"},
        {.name = "defer_loading", .type = "boolean"}}},
      {"AnthropicToolChoice",
       {{.name = "type",
         .type = "string",
         .required = true,
         .values = {"auto", "any", "tool", "none"}},
        {.name = "name", .type = "string"},
        {.name = "disable_parallel_tool_use", .type = "boolean"}}},
      {"Thinking",
       {{.name = "type",
         .type = "string",
         .required = true,
         .values = {"enabled", "disabled", "adaptive"}},
        {.name = "budget_tokens", .type = "integer", .min = 1}}},
      {"Tokenize",
       {{.name = "prompt", .type = "string"},
        {.name = "messages", .type = "#ChatMessage[]"},
        {.name = "content", .type = "string"},
        {.name = "add_special_tokens", .type = "boolean"},
        {.name = "return_token_strs", .type = "boolean"}}},
      {"Detokenize", {{.name = "tokens", .type = "integer[]", .required = true}}},
      {"Control",
       {{.name = "id", .type = "string", .required = true},
        {.name = "action", .type = "string", .required = true, .values = {"reasoning_end"}}}},
  };
}

std::vector<ApiSchema> answers() {
  return {
      {"ChatAnswer",
       {{.name = "id", .type = "string", .required = true},
        {.name = "object", .type = "string", .required = true, .values = {"chat.completion"}},
        {.name = "created", .type = "integer", .required = true},
        {.name = "model", .type = "string", .required = true},
        {.name = "choices", .type = "object[]", .required = true},
        {.name = "usage", .type = "object", .required = true}}},
      {"CompletionAnswer",
       {{.name = "id", .type = "string", .required = true},
        {.name = "object", .type = "string", .required = true, .values = {"text_completion"}},
        {.name = "created", .type = "integer", .required = true},
        {.name = "model", .type = "string", .required = true},
        {.name = "choices", .type = "object[]", .required = true},
        {.name = "usage", .type = "object", .required = true}}},
      {"ResponsesAnswer",
       {{.name = "id", .type = "string", .required = true},
        {.name = "object", .type = "string", .required = true, .values = {"response"}},
        {.name = "created_at", .type = "integer", .required = true},
        {.name = "status",
         .type = "string",
         .required = true,
         .values = {"completed", "incomplete", "failed", "in_progress", "cancelled"}},
        {.name = "model", .type = "string", .required = true},
        {.name = "output", .type = "object[]", .required = true},
        {.name = "usage", .type = "object|null", .required = true}}},
      {"MessagesAnswer",
       {{.name = "id", .type = "string", .required = true},
        {.name = "type", .type = "string", .required = true, .values = {"message"}},
        {.name = "role", .type = "string", .required = true, .values = {"assistant"}},
        {.name = "model", .type = "string", .required = true},
        {.name = "content", .type = "object[]", .required = true},
        {.name = "stop_reason",
         .type = "string",
         .required = true,
         .values = {"end_turn", "max_tokens", "stop_sequence", "tool_use"}},
        {.name = "stop_sequence", .type = "string|null", .required = true},
        {.name = "usage", .type = "object", .required = true}}},
      {"InputTokens", {{.name = "input_tokens", .type = "integer", .required = true, .min = 0}}},
      {"Models",
       {{.name = "object", .type = "string", .required = true, .values = {"list"}},
        {.name = "data", .type = "#Model[]", .required = true}}},
      {"Model",
       {{.name = "id", .type = "string", .required = true},
        {.name = "object", .type = "string", .required = true, .values = {"model"}},
        {.name = "created", .type = "integer", .required = true},
        {.name = "owned_by", .type = "string", .required = true},
        {.name = "max_model_len", .type = "integer"}}},
      {"Error", {{.name = "error", .type = "#ErrorDetail", .required = true}}},
      {"ErrorDetail",
       {{.name = "message", .type = "string", .required = true},
        {.name = "type", .type = "string", .required = true},
        {.name = "param", .type = "string|null", .required = true},
        {.name = "code", .type = "integer", .required = true}}},
      {"AnthropicError",
       {{.name = "type", .type = "string", .required = true, .values = {"error"}},
        {.name = "error", .type = "#AnthropicErrorDetail", .required = true},
        {.name = "request_id", .type = "string|null"}}},
      {"AnthropicErrorDetail",
       {{.name = "type", .type = "string", .required = true},
        {.name = "message", .type = "string", .required = true}}},
  };
}

ApiEndpoint post(std::string_view path, std::string_view id, std::string_view text,
                 std::string_view request, std::string_view answer, bool streams = false) {
  return {.method = "post",
          .path = path,
          .id = id,
          .text = text,
          .request = request,
          .answer = answer,
          .streams = streams};
}

ApiEndpoint get(std::string_view path, std::string_view id, std::string_view text,
                std::string_view answer = {}, bool is_public = false) {
  return {.method = "get",
          .path = path,
          .id = id,
          .text = text,
          .answer = answer,
          .is_public = is_public};
}

}  // namespace

const std::vector<ApiEndpoint>& api_endpoints() {
  static const std::vector<ApiEndpoint> table = [] {
    std::vector<ApiEndpoint> t{
        post("/v1/chat/completions", "chat", "Answers a conversation.", "Chat", "ChatAnswer", true),
        post("/v1/chat/completions/render", "renderChat", "The prompt of a conversation.", "Chat",
             ""),
        post("/v1/chat/completions/input_tokens", "countChat", "Tokens of a conversation.", "Chat",
             "InputTokens"),
        post("/v1/chat/completions/control", "controlChat", "Ends the thinking of an answer.",
             "Control", ""),
        post("/v1/completions", "complete", "Continues a text.", "Completion", "CompletionAnswer",
             true),
        post("/v1/responses", "respond", "Answers items.", "Responses", "ResponsesAnswer", true),
        post("/v1/responses/input_tokens", "countResponse", "Tokens of items.", "Responses",
             "InputTokens"),
        post("/v1/messages", "message", "Answers a conversation, as Anthropic's API does.",
             "Messages", "MessagesAnswer", true),
        post("/v1/messages/count_tokens", "countMessages", "Tokens of a conversation.",
             "CountTokens", "InputTokens"),
        post("/tokenize", "tokenize", "Text or a conversation to token ids.", "Tokenize", ""),
        post("/detokenize", "detokenize", "Token ids to text.", "Detokenize", ""),
        get("/v1/models", "models", "The served names.", "Models"),
        get("/v1/models/{id}", "model", "One of the served names.", "Model"),
        get("/health", "health", "Whether requests are answered.", "", true),
        get("/version", "version", "The server's version.", "", true),
        get("/load", "load", "Requests under way."),
        get("/metrics", "metrics", "Numbers for Prometheus."),
    };
    t.back().answer_type = "text/plain";
    return t;
  }();
  return table;
}

const std::vector<ApiSchema>& api_schemas() {
  static const std::vector<ApiSchema> table = [] {
    std::vector<ApiSchema> t{{"Chat", chat()},
                             {"Completion", completion()},
                             {"Responses", responses()},
                             {"Messages", messages()},
                             {"CountTokens", count_tokens()}};
    for (auto* more : {request_parts, answers})
      for (ApiSchema& schema : more()) t.push_back(std::move(schema));
    return t;
  }();
  return table;
}

}  // namespace octet::serve
