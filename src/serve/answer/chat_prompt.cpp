#include "serve/answer/chat_prompt.h"

#include <algorithm>
#include <utility>

#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

constexpr std::string_view kTurnEnd = "<|im_end|>";

std::vector<chat_template::Span> render(const chat_template::ChatTemplate& chat_template,
                                        const ChatInput& input) {
  json::object kwargs = input.kwargs;
  kwargs["add_generation_prompt"] = input.add_generation_prompt;
  const json::value tools = input.tools.empty() ? json::value() : json::value(input.tools);
  try {
    return chat_template.render_marked(input.messages, tools, kwargs);
  } catch (const chat_template::TemplateRaised& e) {
    throw HttpError(400, "the chat template refuses the messages: " + e.message(), "messages");
  } catch (const Error& e) {
    if (e.code() != ErrorCode::invalid_argument) throw;
    // The template's name is a path of this machine: none of the client's business.
    const std::string_view what = e.what();
    const std::size_t line = what.find(", line ");
    throw HttpError(400,
                    "the chat template can't render the messages" +
                        (line == std::string_view::npos ? "" : std::string(what.substr(line))),
                    "messages");
  }
}

// Takes the end of the last turn off again.
void reopen_last_turn(std::vector<chat_template::Span>& spans) {
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->from_user) continue;
    const std::size_t at = span->text.rfind(kTurnEnd);
    if (at == std::string::npos) continue;
    span->text.resize(at);
    spans.erase(span.base(), spans.end());
    return;
  }
  bad_field("continue_final_message",
            "continue_final_message: the chat template closes no turn with {}", kTurnEnd);
}

void check_continues(const ChatInput& input) {
  constexpr const char* kPath = "continue_final_message";
  if (input.add_generation_prompt)
    bad_field(kPath, "{}: can't go with add_generation_prompt; set that to false", kPath);
  const json::object& last = input.messages.back().as_object();
  if (last.at("role").as_string() != "assistant")
    bad_field(kPath, "{}: expected the last message to be the assistant's, found {}", kPath,
              std::string_view(last.at("role").as_string()));
  if (last.contains("tool_calls"))
    bad_field(kPath, "{}: a message with tool calls is complete", kPath);
}

// Scans back for the last think marker. Markers that clients wrote are letters, not tokens.
bool leaves_thinking_open(const tokenizer::Tokenizer& tokenizer,
                          const std::vector<std::int32_t>& ids) {
  const auto begin = tokenizer.find("<think>"), end = tokenizer.find("</think>");
  if (!begin || !end) return false;
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
    if (*id == *begin) return true;
    if (*id == *end) return false;
  }
  return false;
}

// The first line of a turn that begins at `at`.
std::string role_at(const tokenizer::Tokenizer& tokenizer, const std::vector<std::int32_t>& ids,
                    std::size_t at) {
  std::string role;
  while (++at < ids.size() && role.size() < 32) {
    role += tokenizer.bytes(ids[at]);
    if (const std::size_t n = role.find('\n'); n != std::string::npos) return role.substr(0, n);
  }
  return role;
}

std::vector<std::int64_t> find_stable_points(const tokenizer::Tokenizer& tokenizer,
                                             const std::vector<std::int32_t>& ids,
                                             bool generation_prompt) {
  std::vector<std::int64_t> points;
  const auto begin = tokenizer.find("<|im_start|>"), end = tokenizer.find(kTurnEnd);
  if (!begin || !end) return points;
  const auto next_turn = [&](std::size_t from) {
    return static_cast<std::size_t>(
        std::find(ids.begin() + static_cast<std::ptrdiff_t>(from), ids.end(), *begin) -
        ids.begin());
  };
  for (std::size_t at = next_turn(0), next = 0; at < ids.size(); at = next) {
    next = next_turn(at + 1);
    const std::string role = role_at(tokenizer, ids, at);
    const bool closed = std::find(ids.begin() + static_cast<std::ptrdiff_t>(at),
                                  ids.begin() + static_cast<std::ptrdiff_t>(next),
                                  *end) != ids.begin() + static_cast<std::ptrdiff_t>(next);
    if (closed && (role == "system" || role == "user"))
      points.push_back(static_cast<std::int64_t>(next));
    if (generation_prompt && next == ids.size() && role == "assistant")
      points.push_back(static_cast<std::int64_t>(at));
  }
  std::ranges::sort(points);
  points.erase(std::ranges::unique(points).begin(), points.end());
  return points;
}

}  // namespace

std::vector<std::int32_t> encode_prompt(const tokenizer::Tokenizer& tokenizer,
                                        const std::vector<chat_template::Span>& spans) {
  std::vector<tokenizer::Segment> segments;
  for (const auto& span : spans) segments.push_back({span.text, !span.from_user});
  return tokenizer.encode(segments);
}

ChatPrompt make_chat_prompt(const chat_template::ChatTemplate& chat_template,
                            const tokenizer::Tokenizer& tokenizer, const ChatInput& input) {
  if (input.messages.empty()) bad_field("messages", "messages: expected at least one message");
  if (input.continue_final_message) check_continues(input);
  auto spans = render(chat_template, input);
  if (input.continue_final_message) reopen_last_turn(spans);
  ChatPrompt prompt;
  for (const auto& span : spans) prompt.text += span.text;
  prompt.ids = encode_prompt(tokenizer, spans);
  prompt.in_reasoning = leaves_thinking_open(tokenizer, prompt.ids);
  prompt.stable_points =
      find_stable_points(tokenizer, prompt.ids, input.add_generation_prompt);
  return prompt;
}

}  // namespace octet::serve
