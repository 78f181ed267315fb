#include "serve/api/completion_request.h"

#include "serve/api/format_fields.h"
#include "serve/api/sampling_fields.h"
#include "serve/http/error_body.h"

namespace octet::serve {

namespace {

constexpr std::size_t kMaxPrompts = 1024;
constexpr std::int64_t kDefaultMaxTokens = 16;

}  // namespace

std::vector<std::vector<std::int32_t>> read_prompts(FieldReader& body, std::string_view name,
                                                    const RequestContext& context) {
  const std::string path = body.path(name);
  const json::value* v = body.find(name);
  if (!v) bad_field(path, "{}: missing", path);
  const auto encode = [&](const json::string& text, const std::string& where) {
    if (text.empty()) bad_field(where, "{}: expected text, found an empty string", where);
    return context.tokenizer.encode(text);
  };
  if (v->is_string()) return {encode(v->get_string(), path)};
  const json::array* items = v->if_array();
  if (!items) bad_field(path, "{}: expected a string, token ids, or an array of either", path);
  if (items->empty()) bad_field(path, "{}: expected at least one prompt or token", path);
  if (items->front().is_number()) return {body.token_ids(name, SIZE_MAX, context.vocab_size)};
  if (items->size() > kMaxPrompts)
    bad_field(path, "{}: expected at most {} prompts, found {}", path, kMaxPrompts, items->size());
  std::vector<std::vector<std::int32_t>> prompts;
  for (std::size_t i = 0; i < items->size(); ++i) {
    const json::value& item = (*items)[i];
    const std::string where = fmt::format("{}[{}]", path, i);
    if (item.is_string())
      prompts.push_back(encode(item.get_string(), where));
    else if (item.is_array() && !item.get_array().empty())
      prompts.push_back(read_token_ids(item.get_array(), where, context.vocab_size));
    else
      bad_field(where, "{}: expected text or token ids", where);
  }
  return prompts;
}

CompletionRequest read_completion_request(const json::value& value, const RequestContext& context) {
  FieldReader body(value, "");
  CompletionRequest request;
  request.model = body.string("model", 1024);
  request.request_id = body.string("request_id", 1024).value_or("");
  read_unsupported(body);
  Job& job = request.job;
  job.prompt_param = "prompt";
  job.parse = job.parse_reasoning = job.parse_tools = false;
  request.echo = body.boolean("echo").value_or(false);
  job.max_tokens = read_max_tokens(body, 0);
  if (!job.max_tokens && !body.has("n_predict")) job.max_tokens = kDefaultMaxTokens;
  if (job.max_tokens == 0 && !request.echo)
    bad_field("max_tokens", "max_tokens: expected at least 1 (0 only with echo), found 0");
  job.format = read_format(body);
  read_sampling(body, context, job);
  request.reply = read_reply_options(body, context);
  job.incremental = request.reply.stream;
  if (const int n = read_num_logprobs(body, "logprobs", context, -1); n != -1) {
    request.reply.logprobs = true;
    job.sampling.num_logprobs = n;
  }
  read_logprob_token_ids(body, context, job);
  job.prompt_logprobs = read_prompt_logprobs(body, context, request.reply.stream);
  request.prompt_logprobs = job.prompt_logprobs >= 0;
  // An echoed prompt has log-probabilities like the rest of the text.
  if (request.echo && request.reply.logprobs) {
    const int wanted = job.sampling.num_logprobs;
    job.prompt_logprobs =
        std::max(job.prompt_logprobs, wanted == -2 ? static_cast<int>(context.vocab_size) : wanted);
  }
  // The tokenizer of this family adds no special tokens at the ends.
  body.boolean("add_special_tokens");
  request.prompts = read_prompts(body, "prompt", context);
  request.unknown = body.unknown();
  return request;
}

}  // namespace octet::serve
