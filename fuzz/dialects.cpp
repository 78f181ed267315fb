// Any bytes as a request of the Messages and the Responses API: read, or refused with an HttpError
// of the client's.
#include "request_reading.h"
#include "serve/api/messages_request.h"
#include "serve/api/responses_request.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octet;
  const auto context = fuzz::tiny_context();
  const json::value body = fuzz::body_of(data, size);
  fuzz::refused_at_most([&] { serve::read_messages_request(body, context, false); });
  fuzz::refused_at_most([&] { serve::read_messages_request(body, context, true); });
  fuzz::refused_at_most([&] { serve::read_responses_request(body, context); });
  return 0;
}
