#include "serve/api/messages_request.h"

#include <algorithm>
#include <utility>

#include "serve/api/messages_tools.h"
#include "serve/api/sampling_fields.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

using Mode = ToolChoice::Mode;

void read_tool_choice(FieldReader& body, Job& job) {
  job.tool_choice.mode = Mode::automatic;
  std::string path = "tool_choice";
  if (const json::value* value = body.find("tool_choice")) {
    FieldReader choice(*value, path);
    const auto type = choice.one_of("type", {"auto", "any", "tool", "none"});
    if (!type) bad_field("tool_choice.type", "tool_choice.type is missing");
    job.parallel_tool_calls = !choice.boolean("disable_parallel_tool_use").value_or(false);
    if (*type == "any") job.tool_choice.mode = Mode::required;
    if (*type == "none") job.tool_choice.mode = Mode::none;
    if (*type == "tool") {
      path = "tool_choice.name";
      const auto name = choice.string("name");
      if (!name) bad_field(path, "{} is missing: which tool is to be used", path);
      job.tool_choice.mode = Mode::named;
      job.tool_choice.name = *name;
    }
  }
  check_tool_choice(job, path);
}

void read_stop_sequences(FieldReader& body, Job& job) {
  constexpr std::size_t kMost = 16, kMostBytes = 1024;
  std::vector<std::string> stops = body.strings("stop_sequences", kMost);
  for (std::size_t i = 0; i < stops.size(); ++i) {
    const std::string path = fmt::format("stop_sequences[{}]", i);
    if (stops[i].empty() || stops[i].size() > kMostBytes)
      bad_field(path, "{}: expected a string of 1 to {} bytes, found {}", path, kMostBytes,
                stops[i].size());
    job.stop.push_back(std::move(stops[i]));
  }
}

void read_format(const json::value& value, const std::string& path, Job& job) {
  FieldReader format(value, path);
  if (!format.one_of("type", {"json_schema"}))
    bad_field(format.path("type"), "{} is missing: json_schema", format.path("type"));
  const json::object* schema = format.object("schema");
  if (!schema) bad_field(format.path("schema"), "{} is missing", format.path("schema"));
  job.format.kind = ContentFormat::Kind::json_schema;
  job.format.schema = *schema;
  job.format.strict = true;  // Anthropic promises that the answer follows the schema
  job.format.param = format.path("schema");
}

std::optional<std::string> read_effort(FieldReader& config) {
  return config.one_of("effort", {"low", "medium", "high", "xhigh", "max"});
}

// The effort that a system message after the user's last words asks for this turn.
std::optional<std::string> turn_effort(const json::array& messages) {
  for (std::size_t i = messages.size(); i-- > 0;) {
    FieldReader message(messages[i], fmt::format("messages[{}]", i));
    if (message.string("role") != "system") break;
    const json::value* config = message.find("output_config");
    if (!config) continue;
    FieldReader fields(*config, message.path("output_config"));
    if (const auto effort = read_effort(fields)) return effort;
  }
  return std::nullopt;
}

// `thinking` and `output_config`.
void read_thinking(FieldReader& body, const json::array& messages, const RequestContext& context,
                   Job& job) {
  std::optional<bool> enabled;
  std::optional<std::int64_t> budget;
  if (const json::value* value = body.find("thinking")) {
    FieldReader thinking(*value, "thinking");
    const auto type = thinking.one_of("type", {"enabled", "disabled", "adaptive"});
    if (!type) bad_field("thinking.type", "thinking.type is missing");
    const auto tokens = thinking.integer("budget_tokens", 1);
    if (*type == "enabled") {
      enabled = true;
      budget = tokens;
    }
    if (*type == "disabled") enabled = false;
  }
  std::optional<std::string> effort;
  if (const json::value* value = body.find("output_config")) {
    FieldReader config(*value, "output_config");
    effort = read_effort(config);
    if (const json::value* format = config.find("format"))
      read_format(*format, "output_config.format", job);
  }
  if (const auto own = turn_effort(messages)) effort = own;
  // The same under its older name.
  if (const json::value* format = body.find("output_format"))
    read_format(*format, "output_format", job);
  job.chat->kwargs = template_kwargs(body, context, enabled, effort);
  job.thinking_budget = budget.value_or(-1);
}

// The client has begun the answer: Anthropic's way to steer it.
bool begins_answer(const json::array& messages) {
  if (messages.empty()) return false;
  const json::object& last = messages.back().as_object();
  return last.at("role") == "assistant" && !last.contains("tool_calls") && last.at("content") != "";
}

}  // namespace

MessagesRequest read_messages_request(const json::value& value, const RequestContext& context,
                                      bool counting) {
  FieldReader body(value, "");
  MessagesRequest out;
  Job& job = out.job;
  job.chat.emplace();
  out.model = body.string("model", 1024);
  out.stream = body.boolean("stream").value_or(false);
  job.max_tokens = body.integer("max_tokens", 1);
  if (!job.max_tokens && !counting)
    bad_field("max_tokens", "max_tokens is missing: how many tokens the answer may have");
  body.number("temperature", 0, 1);  // Anthropic's range is half of what read_sampling takes
  read_sampling(body, context, job);
  read_stop_sequences(body, job);

  const json::array* messages = body.array("messages");
  if (!messages) bad_field("messages", "messages is missing");
  if (messages->empty()) bad_field("messages", "messages: expected at least one");
  if (const auto system = read_anthropic_system(body))
    job.chat->messages.push_back(json::object{{"role", "system"}, {"content", *system}});
  OfferedTools tools;
  tools.read(body, out.unused);
  for (json::value& message : read_anthropic_messages(*messages, tools))
    job.chat->messages.push_back(std::move(message));
  if (begins_answer(job.chat->messages)) {
    job.chat->continue_final_message = true;
    job.chat->add_generation_prompt = false;
  }

  std::move(tools).give(job);
  read_tool_choice(body, job);
  read_thinking(body, *messages, context, job);
  set_common(job, context, out.stream);
  body.ignore({"metadata", "service_tier", "container", "context_management", "mcp_servers",
               "cache_control", "betas", "inference_geo"});
  for (std::string& name : body.unknown()) out.unused.push_back(std::move(name));
  return out;
}

bool matches_alias(std::string_view name, const std::vector<std::string>& patterns) {
  return std::ranges::any_of(patterns, [&](std::string_view pattern) {
    if (!pattern.ends_with('*')) return name == pattern;
    return name.starts_with(pattern.substr(0, pattern.size() - 1));
  });
}

}  // namespace octet::serve
