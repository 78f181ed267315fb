#include "serve/api/dialect_reply.h"

namespace octet::serve {

Headers clamp_headers(std::int64_t max_tokens, bool clamped) {
  if (!clamped) return {};
  return {{"x-octet-clamped-max-tokens", fmt::format("{}", max_tokens)}};
}

std::optional<HttpError> failure_of(const ChoiceEnd& end) {
  if (end.finish_reason == "error")
    return HttpError(500, end.error.empty() ? "the answer failed" : end.error);
  if (end.finish_reason == "abort")
    return HttpError(503, "the server ended the answer; try again");
  return std::nullopt;
}

bool keeps_up(const Exchange& exchange, std::size_t queue_bytes) {
  return exchange.closed() || exchange.queued_bytes() <= queue_bytes;
}

}  // namespace octet::serve
