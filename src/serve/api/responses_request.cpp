#include "serve/api/responses_request.h"

#include <algorithm>
#include <utility>

#include "serve/answer/tools.h"
#include "serve/api/sampling_fields.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

using Mode = ToolChoice::Mode;
using Format = ContentFormat::Kind;

// What asks for a server that remembers.
void refuse_state(FieldReader& body) {
  const auto previous = body.string("previous_response_id");
  if (previous)
    bad_field("previous_response_id",
              "previous_response_id: this server stores no responses, so it has none called "
              "\"{}\"; send the whole conversation in `input`",
              shortened(*previous));
  if (body.find("conversation"))
    bad_field("conversation",
              "conversation: this server stores no conversations; send the whole of it in `input`");
  if (body.find("prompt"))
    bad_field("prompt",
              "prompt: this server stores no prompt templates; send `instructions` and `input`");
  if (body.boolean("background").value_or(false))
    bad_field("background",
              "background: this server stores no responses, so nobody could fetch one later; leave "
              "it out and read the answer, or its stream");
  // Asked for by default; the response says that it isn't done.
  body.boolean("store");
}

bool is_called_here(std::string_view type) {
  return type == "function" || type == "custom";
}

// {"type": "allowed_tools", "mode", "tools": [{"type": "function", "name"}]}. The tools, as shown.
json::array read_allowed(FieldReader& choice, const ResponseTools& known, Job& job) {
  json::array shown;
  const auto mode = choice.one_of("mode", {"auto", "required"});
  if (mode == "required") job.tool_choice.mode = Mode::required;
  const json::array* tools = choice.array("tools", kMaxTools);
  if (!tools || tools->empty())
    bad_field(choice.path("tools"), "{}: expected at least one tool", choice.path("tools"));
  for (std::size_t i = 0; i < tools->size(); ++i) {
    FieldReader tool((*tools)[i], fmt::format("{}[{}]", choice.path("tools"), i));
    const std::string type = tool.string("type").value_or("function");
    if (!is_called_here(type)) continue;
    const auto name = tool.string("name");
    if (!name) bad_field(tool.path("name"), "{} is missing", tool.path("name"));
    job.tool_choice.allowed.push_back(known.function_named(*name, job));
    shown.push_back(json::object{{"type", type}, {"name", *name}});
  }
  if (job.tool_choice.allowed.empty())
    bad_field(choice.path("tools"), "{}: none of them is a function", choice.path("tools"));
  return shown;
}

void read_tool_choice(FieldReader& body, ResponsesRequest& out) {
  Job& job = out.job;
  job.tool_choice.mode = Mode::automatic;
  std::string path = "tool_choice";
  out.echo["tool_choice"] = "auto";
  if (const json::value* value = body.find("tool_choice")) {
    if (value->is_string()) {
      out.echo["tool_choice"] = *value;
      const auto mode = body.one_of("tool_choice", {"none", "auto", "required"});
      if (*mode == "none") job.tool_choice.mode = Mode::none;
      if (*mode == "required") job.tool_choice.mode = Mode::required;
    } else {
      FieldReader choice(*value, path);
      const std::string type = choice.string("type").value_or("");
      if (is_called_here(type)) {
        path = "tool_choice.name";
        const auto name = choice.string("name");
        if (!name) bad_field(path, "{} is missing: which function is to be called", path);
        job.tool_choice.mode = Mode::named;
        job.tool_choice.name = out.tools.function_named(*name, job);
        out.echo["tool_choice"] = json::object{{"type", type}, {"name", *name}};
      } else if (type == "allowed_tools") {
        path = "tool_choice.tools";
        json::array names = read_allowed(choice, out.tools, job);
        const bool required = job.tool_choice.mode == Mode::required;
        out.echo["tool_choice"] = json::object{{"type", "allowed_tools"},
                                               {"mode", required ? "required" : "auto"},
                                               {"tools", std::move(names)}};
      } else {
        bad_field("tool_choice.type",
                  "tool_choice.type: expected function, custom or allowed_tools, found \"{}\"",
                  shortened(type));
      }
    }
  }
  check_tool_choice(job, path);
  job.parallel_tool_calls = body.boolean("parallel_tool_calls").value_or(true);
  out.echo["parallel_tool_calls"] = job.parallel_tool_calls;
}

void read_text(FieldReader& body, ResponsesRequest& out) {
  json::object shown{{"format", json::object{{"type", "text"}}}};
  if (const json::value* value = body.find("text")) {
    FieldReader text(*value, "text");
    if (const auto verbosity = text.one_of("verbosity", {"low", "medium", "high"}))
      shown["verbosity"] = *verbosity;
    if (const json::value* wanted = text.find("format")) {
      FieldReader format(*wanted, "text.format");
      const auto type = format.one_of("type", {"text", "json_object", "json_schema"});
      if (!type) bad_field("text.format.type", "text.format.type is missing");
      ContentFormat& to = out.job.format;
      json::object seen{{"type", *type}};
      to.param = "text.format";
      if (*type == "json_object") to.kind = Format::json_object;
      if (*type == "json_schema") {
        to.kind = Format::json_schema;
        to.param = "text.format.schema";
        const json::object* schema = format.object("schema");
        if (!schema) bad_field(to.param, "{} is missing", to.param);
        to.schema = *schema;
        to.strict = format.boolean("strict").value_or(false);
        seen["name"] = format.string("name", 256).value_or("");
        seen["schema"] = to.schema;
        seen["strict"] = to.strict;
      }
      shown["format"] = std::move(seen);
    }
  }
  out.echo["text"] = std::move(shown);
}

void read_reasoning(FieldReader& body, const RequestContext& context, ResponsesRequest& out) {
  json::object shown{{"effort", nullptr}, {"summary", nullptr}};
  std::optional<std::string> effort;
  std::optional<bool> thinking;
  if (const json::value* value = body.find("reasoning")) {
    FieldReader reasoning(*value, "reasoning");
    effort =
        reasoning.one_of("effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"});
    if (effort) {
      shown["effort"] = *effort;
      thinking = *effort != "none";
    }
    if (const auto summary = reasoning.one_of("summary", {"auto", "concise", "detailed"}))
      shown["summary"] = *summary;
  }
  out.echo["reasoning"] = std::move(shown);
  Job& job = out.job;
  job.chat->kwargs = template_kwargs(body, context, thinking, effort);
  job.thinking_budget = body.integer("thinking_token_budget", -1).value_or(-1);
}

void read_logprobs(FieldReader& body, const RequestContext& context, ResponsesRequest& out) {
  const std::vector<std::string> include = body.strings("include", 64);
  out.logprobs = std::ranges::find(include, "message.output_text.logprobs") != include.end();
  const int top = read_num_logprobs(body, "top_logprobs", context, 0);
  out.echo["top_logprobs"] = top == -2 ? context.vocab_size : std::int64_t{top};
  out.logprobs = out.logprobs || top != 0;
  if (out.logprobs) out.job.sampling.num_logprobs = top;
}

// At most 16 short strings, as OpenAI has it; the response repeats them.
const json::object* read_metadata(FieldReader& body) {
  const json::object* metadata = body.object("metadata");
  if (!metadata) return nullptr;
  if (metadata->size() > 16)
    bad_field("metadata", "metadata: expected at most 16 entries, found {}", metadata->size());
  for (const auto& [key, value] : *metadata)
    if (key.size() > 64 || !value.is_string() || value.get_string().size() > 512)
      bad_field("metadata", "metadata: expected keys of up to 64 bytes and strings of up to 512");
  return metadata;
}

template <typename T>
json::value or_null(const std::optional<T>& value) {
  return value ? json::value(*value) : json::value(nullptr);
}

}  // namespace

ResponsesRequest read_responses_request(const json::value& value, const RequestContext& context) {
  FieldReader body(value, "");
  ResponsesRequest out;
  Job& job = out.job;
  job.chat.emplace();
  job.prompt_param = "input";
  refuse_state(body);
  out.model = body.string("model", 1024);
  out.stream = body.boolean("stream").value_or(false);
  job.max_tokens = body.integer("max_output_tokens", 1);
  read_sampling(body, context, job);

  const auto instructions = body.string("instructions");
  if (instructions)
    job.chat->messages.push_back(json::object{{"role", "system"}, {"content", *instructions}});
  const json::value* input = body.find("input");
  if (!input) bad_field("input", "input is missing: a string or an array of items");
  for (json::value& message : read_responses_input(*input))
    job.chat->messages.push_back(std::move(message));

  out.tools.read(body, job, out.unused);
  out.echo["tools"] = out.tools.take_shown();
  read_tool_choice(body, out);
  read_text(body, out);
  read_reasoning(body, context, out);
  read_logprobs(body, context, out);
  const auto truncation = body.one_of("truncation", {"auto", "disabled"});
  const json::object* metadata = read_metadata(body);
  const auto max_calls = body.integer("max_tool_calls", 1);
  const auto user = body.string("user", 512);
  // Which tokens are the message's can only be told as they come.
  set_common(job, context, out.stream || out.logprobs);

  out.echo["instructions"] = or_null(instructions);
  out.echo["max_output_tokens"] = or_null(job.max_tokens);
  out.echo["max_tool_calls"] = or_null(max_calls);
  out.echo["metadata"] = metadata ? *metadata : json::object();
  out.echo["temperature"] = job.sampling.temperature;
  out.echo["top_p"] = job.sampling.top_p;
  out.echo["truncation"] = truncation.value_or("disabled");
  out.echo["user"] = or_null(user);
  body.ignore({"prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier",
               "stream_options", "client_metadata"});
  for (std::string& name : body.unknown()) out.unused.push_back(std::move(name));
  return out;
}

}  // namespace octet::serve
