#include "serve/api/reply.h"

namespace octet::serve {

namespace {

double rate(std::int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

double each(std::int64_t count, double seconds) {
  return count > 0 ? seconds * 1e3 / static_cast<double>(count) : 0;
}

}  // namespace

json::object Envelope::head() const {
  return {{"id", id}, {"object", object}, {"created", created}, {"model", model}};
}

json::object usage_json(const Usage& usage) {
  return {
      {"prompt_tokens", usage.prompt_tokens},
      {"completion_tokens", usage.completion_tokens},
      {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
      {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}, {"multimodal_tokens", 0}}},
      {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

json::object timings_json(const generate::AnswerSummary& s) {
  const std::int64_t computed = s.prompt_tokens - s.cached_tokens;
  return {{"cache_n", s.cached_tokens},
          {"prompt_n", computed},
          {"prompt_ms", s.prefill_seconds * 1e3},
          {"prompt_per_token_ms", each(computed, s.prefill_seconds)},
          {"prompt_per_second", rate(computed, s.prefill_seconds)},
          {"predicted_n", s.answer_tokens},
          {"predicted_ms", s.decode_seconds * 1e3},
          {"predicted_per_token_ms", each(s.answer_tokens, s.decode_seconds)},
          {"predicted_per_second", rate(s.answer_tokens, s.decode_seconds)}};
}

json::object metrics_json(const generate::AnswerSummary& s) {
  return {{"time_to_first_token_ms", (s.queue_seconds + s.prefill_seconds) * 1e3},
          {"generation_time_ms", s.decode_seconds * 1e3},
          {"queue_time_ms", s.queue_seconds * 1e3},
          {"mean_itl_ms", each(s.answer_tokens - 1, s.decode_seconds)},
          {"tokens_per_second", rate(s.answer_tokens, s.decode_seconds)}};
}

json::object progress_json(const generate::PromptProgress& p) {
  return {{"total", p.total},
          {"cache", p.cached},
          {"processed", p.processed},
          {"time_ms", static_cast<std::int64_t>(p.seconds * 1e3)}};
}

Headers clamp_headers(std::int64_t max_tokens, bool clamped) {
  if (!clamped) return {};
  return {{"x-octet-clamped-max-tokens", std::to_string(max_tokens)}};
}

}  // namespace octet::serve
