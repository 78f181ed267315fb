// Any bytes as a body of /v1/completions: read, or refused with an HttpError of the client's.
#include "serve/api/completion_request.h"

#include "request_reading.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octet;
  const json::value body = fuzz::body_of(data, size);
  fuzz::refused_at_most([&] { serve::read_completion_request(body, fuzz::tiny_context()); });
  return 0;
}
