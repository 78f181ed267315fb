#include "serve/job_prompt.h"

#include <algorithm>

#include "serve/log.h"
#include "serve/service.h"

namespace octet::serve {

namespace {

// Keeps the last (or first) tokens of a prompt, and the points that still lie in it.
void truncate(ChatPrompt& prompt, std::int64_t keep, bool left) {
  const auto size = static_cast<std::int64_t>(prompt.ids.size());
  if (keep <= 0 || size <= keep) return;
  const std::int64_t cut = size - keep;
  if (left)
    prompt.ids.erase(prompt.ids.begin(), prompt.ids.begin() + cut);
  else
    prompt.ids.resize(static_cast<std::size_t>(keep));
  std::vector<std::int64_t> points;
  for (std::int64_t p : prompt.stable_points) {
    if (left) p -= cut;
    if (p > 0 && p <= keep) points.push_back(p);
  }
  prompt.stable_points = std::move(points);
}

HttpError too_long(const Job& job, std::int64_t context, std::int64_t prompt_tokens,
                   const std::string& what) {
  return HttpError(
      400,
      fmt::format("This model's maximum context length is {} tokens. However, {}", context, what),
      job.prompt_param, {{"n_prompt_tokens", prompt_tokens}, {"n_ctx", context}});
}

// With thinking off the generation prompt ends with an empty block, which templates leave out of
// the history: no later prompt would begin as this one and its answer do. serving.md §11.4.
void keep_thinking(const Service& service, ChatInput& input) {
  if (!service.options().keep_history_thinking || input.kwargs.contains("preserve_thinking"))
    return;
  const json::value* enabled = input.kwargs.if_contains("enable_thinking");
  if (enabled && enabled->is_bool() && !enabled->get_bool())
    input.kwargs["preserve_thinking"] = true;
}

}  // namespace

ChatPrompt make_job_prompt(Service& service, Job& job) {
  ChatPrompt prompt;
  if (job.chat) {
    ChatInput& input = *job.chat;
    if (job.tool_choice.mode == ToolChoice::Mode::none &&
        service.options().exclude_tools_when_tool_choice_none)
      input.tools.clear();
    keep_thinking(service, input);
    const bool strict = service.options().strict_template;
    if (job.chat_template.empty()) {
      input.messages = normalize_messages(input.messages, strict, service.content_form());
      prompt = make_chat_prompt(service.chat_template(), service.tokenizer(), input);
    } else {
      try {
        const auto own = chat_template::ChatTemplate::parse(job.chat_template, "chat_template");
        input.messages = normalize_messages(input.messages, strict, service.content_form(own));
        prompt = make_chat_prompt(own, service.tokenizer(), input);
      } catch (const HttpError&) {
        throw;
      } catch (const Error& e) {
        throw HttpError(400, e.what(), "chat_template");
      }
    }
  } else {
    prompt.ids = std::move(job.prompt);
  }
  const std::int64_t keep =
      job.truncate_prompt_tokens < 0 ? service.max_model_len() - 1 : job.truncate_prompt_tokens;
  truncate(prompt, keep, job.truncate_left);
  if (prompt.ids.empty()) throw HttpError(400, "the prompt is empty", job.prompt_param);
  return prompt;
}

TokenRoom token_room(const Service& service, const Job& job, std::int64_t prompt_tokens) {
  const std::int64_t context = service.max_model_len();
  const std::int64_t left = context - prompt_tokens;
  if (left < 1)
    throw too_long(job, context, prompt_tokens,
                   fmt::format("the request has {} input tokens. Please reduce the length of the "
                               "prompt.",
                               prompt_tokens));
  if (!job.max_tokens) {
    const std::int64_t usual = service.defaults().max_new_tokens;
    return {usual > 0 ? std::min(usual, left) : left, false};
  }
  if (*job.max_tokens <= left) return {*job.max_tokens, false};
  if (service.options().strict_max_tokens)
    throw too_long(job, context, prompt_tokens,
                   fmt::format("{} tokens were requested in the completion beside the {} of the "
                               "prompt. Please reduce one of them.",
                               *job.max_tokens, prompt_tokens));
  return {left, true};
}

HttpError job_error(std::exception_ptr error, const std::string& id) {
  std::string what = "unknown exception";
  try {
    std::rethrow_exception(error);
  } catch (const HttpError& e) {
    return e;
  } catch (const Error& e) {
    if (e.code() == ErrorCode::invalid_argument) return HttpError(400, e.what());
    if (e.code() == ErrorCode::overloaded) return busy_error(e.what(), 5);
    what = e.what();
  } catch (const std::bad_alloc&) {
    return busy_error("out of memory for this request", 5);
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
  }
  // The client hears nothing of our inside.
  log(LogLevel::error, what, {{"id", id}});
  return HttpError(500, fmt::format("{} failed inside the server", id));
}

void log_job(const std::string& id, const Job& job, std::int64_t prompt_tokens,
             std::int64_t max_tokens) {
  log(LogLevel::info, "answering",
      {{"id", id},
       {"prompt_tokens", prompt_tokens},
       {"max_tokens", max_tokens},
       {"n", job.n},
       {"temperature", job.sampling.temperature},
       {"top_p", job.sampling.top_p},
       {"tools", static_cast<std::int64_t>(job.tools.size())},
       {"with_format", std::int64_t{job.format.kind != ContentFormat::Kind::text}},
       {"thinking_budget", job.thinking_budget}});
}

}  // namespace octet::serve
